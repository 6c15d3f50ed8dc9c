"""What predictions of several GPUs are corrected by, for each family of classes, and by how much profiles are off."""

from collections.abc import Mapping

from lbsim.calibration import Line, moved, value_at
from lbsim.priors import Prior
from lbsim.scenario import Scenario, override

_STEPS = {
    "cluster.intra_node.efficiency": 0.4,
    "cluster.inter_node.efficiency": 0.4,
    "software.straggler_spread": 0.7,
    "software.step_overhead": 0.01,
}
_ALL_REDUCE = {
    "cluster.intra_node.efficiency": 0.4,
    "cluster.inter_node.efficiency": 0.4,
    "software.library.per_step": 0.7,
    "software.library.per_step_inside": 0.7,
    "software.library.per_collective": 0.7,
}
"""What is fitted, and the standard deviation of what it is off by: of a logarithm, in seconds for a constant."""
FAMILIES = {
    "scaling, fp32": _STEPS,
    "scaling, mixed": _STEPS,
    "fusion policies": {**_STEPS, "software.overlap_slowdown": 0.7},
    "all-reduce": _ALL_REDUCE,
}
"""Classes, by how their names begin, whose observations speak of the same numbers: these, by their paths."""
_REACH = 2.0
"""Standard deviations within which a correction is looked for."""


def prior(path: str, deviation: float) -> Prior:
    """Return what is thought of the correction of *path*: that there is none, give or take *deviation*."""
    return Prior(_line(path), 0.0, deviation, -_REACH * deviation, _REACH * deviation)


def corrected(scenario: Scenario, corrections: Mapping[str, float]) -> Scenario:
    """Return *scenario* with each path moved on its line by its correction; no efficiency is above 1.

    >>> scenario = Scenario.of(gpus=16, cluster="mn-1")
    >>> corrected(scenario, {"cluster.inter_node.efficiency": 1.0}).cluster.inter_node.efficiency
    1.0
    """
    changes = {}
    for path, by in corrections.items():
        after = max(0.0, moved(value_at(scenario, path), by, _line(path)))
        changes[path] = min(after, 1.0) if path.endswith("efficiency") else after
    return override(scenario, changes)


def _line(path: str) -> Line:
    """Return the line of *path*: a constant a step may be added where the profile has none."""
    return "linear" if path == "software.step_overhead" else "log"
