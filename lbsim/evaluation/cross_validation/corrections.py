"""What predictions of several GPUs are corrected by, for each family of classes, and by how much profiles are off."""

from collections.abc import Mapping
from dataclasses import dataclass

from lbsim.calibration.priors import Prior
from lbsim.calibration.transforms import Transform, shifted
from lbsim.measurements.case_class import CaseClass
from lbsim.scenario.paths import value_at
from lbsim.scenario.scenario import Scenario, override

CONSTANT = "software.step_overhead"
"""Of each model's own: fits to HKBU's rates find 50 to 100 ms for BERT with Adam, and nothing for ResNet-50."""
_REACH = 2.0
"""Standard deviations within which a correction is looked for."""


@dataclass(frozen=True)
class Family:
    """Classes whose observations speak of the same numbers."""

    deviations: Mapping[str, float]
    """Of what is corrected, by its path, what it is off by: the standard deviation of a logarithm, or seconds of a
    constant."""
    noise: float = 0.03
    """What a prediction leaves, in the logarithm, beside the spread of the figure itself."""
    linear: bool = True
    """Whether logarithms are taken for linear in the corrections around what the profiles say, not predicted anew."""

    def paths(self, scenario: Scenario) -> list[str]:
        """Return what is corrected in *scenario*, whose library may say nothing of its own of steps inside a node."""
        inside = scenario.software.library.per_step_inside
        return [path for path in self.deviations if inside is not None or not path.endswith("per_step_inside")]

    def prior(self, path: str) -> Prior:
        """Return what is thought of the correction of *path*: that there is none, give or take what it is off by."""
        deviation = self.deviations[path]
        return Prior(_line(path), 0.0, deviation, -_REACH * deviation, _REACH * deviation)


_LINKS = {"cluster.intra_node.efficiency": 0.4, "cluster.inter_node.efficiency": 0.4}
_STEPS = {**_LINKS, "software.straggler_spread": 0.7, CONSTANT: 0.01}
_FUSION = {**_STEPS, "cluster.inter_node.latency": 0.7, "software.overlap_slowdown": 0.7, CONSTANT: 0.05}
_ALL_REDUCE = {
    **_LINKS,
    "software.library.per_step": 0.7,
    "software.library.per_step_inside": 0.7,
    "software.library.per_collective": 0.7,
}
FAMILIES = {
    "scaling, fp32": Family(_STEPS),
    "scaling, mixed": Family(_STEPS),
    # overlap makes their predictions nonlinear
    "fusion policies": Family(_FUSION, linear=False),
    # links and protocols differ by so much from size to size; quick to time
    "all-reduce": Family(_ALL_REDUCE, noise=0.08, linear=False),
}
"""Families by name."""
FAMILY_OF = {
    CaseClass.SCALING_FP32_IN_NODE: "scaling, fp32",
    CaseClass.SCALING_FP32_ACROSS_NODES: "scaling, fp32",
    CaseClass.SCALING_MIXED_IN_NODE: "scaling, mixed",
    CaseClass.SCALING_MIXED_ACROSS_NODES: "scaling, mixed",
    CaseClass.FUSION_POLICIES: "fusion policies",
    CaseClass.ALL_REDUCE: "all-reduce",
}
"""Name of the family of each class that can be held out."""


def corrected(scenario: Scenario, corrections: Mapping[str, float]) -> Scenario:
    """Return *scenario* with each path moved on its line by its correction; no efficiency is above 1.

    >>> scenario = Scenario.of(gpus=16, cluster="mn-1")
    >>> corrected(scenario, {"cluster.inter_node.efficiency": 1.0}).cluster.inter_node.efficiency
    1.0
    """
    changes = {}
    for path, by in corrections.items():
        after = max(0.0, shifted(value_at(scenario, path), by, _line(path)))
        changes[path] = min(after, 1.0) if path.endswith("efficiency") else after
    return override(scenario, changes)


def _line(path: str) -> Transform:
    """Return the line of *path*: a constant a step may be added where the profile has none."""
    return "linear" if path == CONSTANT else "log"
