"""Corrections of profile numbers for several GPUs, by family of classes, with their priors."""

from collections.abc import Mapping
from dataclasses import dataclass

from lbsim.calibration.priors import Prior
from lbsim.calibration.transforms import Transform, shifted
from lbsim.measurements.case_class import CaseClass
from lbsim.scenario.paths import value_at
from lbsim.scenario.scenario import Scenario, override

CONSTANT = "software.step_overhead"
"""Path of the constant per step, one of each model: fits to HKBU's rates find 50 to 100 ms for BERT with Adam, and 0
for ResNet-50."""
_REACH = 2.0
"""Standard deviations from the mean of a prior to its bounds."""


@dataclass(frozen=True)
class Family:
    """Classes whose observations depend on the same numbers."""

    deviations: Mapping[str, float]
    """Standard deviation of each corrected number's prior, by path: of its logarithm; of a constant, seconds."""
    noise: float = 0.03
    """Standard deviation of the model error in the logarithm, beyond the uncertainty of the measurement."""
    linear: bool = True
    """Whether the fit linearizes the logarithms of predictions around the profiles' values."""

    def paths(self, scenario: Scenario) -> list[str]:
        """Return the corrected paths of *scenario*; a library without a cost of steps inside a node has none there."""
        inside = scenario.software.library.per_step_inside
        return [path for path in self.deviations if inside is not None or not path.endswith("per_step_inside")]

    def prior(self, path: str) -> Prior:
        """Return the prior of the correction of *path*, around no correction."""
        deviation = self.deviations[path]
        return Prior(_transform(path), 0.0, deviation, -_REACH * deviation, _REACH * deviation)


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
    """Return *scenario* with each path shifted by its correction in unconstrained space; efficiencies stay at most 1.

    >>> scenario = Scenario.of(gpus=16, cluster="mn-1")
    >>> corrected(scenario, {"cluster.inter_node.efficiency": 1.0}).cluster.inter_node.efficiency
    1.0
    """
    changes = {}
    for path, by in corrections.items():
        after = max(0.0, shifted(value_at(scenario, path), by, _transform(path)))
        changes[path] = min(after, 1.0) if path.endswith("efficiency") else after
    return override(scenario, changes)


def _transform(path: str) -> Transform:
    """Return the transform of *path*: linear for the constant per step, which may be 0 in the profile."""
    return "linear" if path == CONSTANT else "log"
