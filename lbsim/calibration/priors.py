r"""Prior distributions of the fitted parameters.

In unconstrained space (`lbsim.calibration.transforms`) a parameter is normally distributed around the profile's value,
with a standard deviation by the last word of its path. Fits of several sources to the same profile differ by a factor
of two in what a library or a link costs (hardware_profiles/libraries, links); cards that were not in the fit are off by
30 % in speed.
"""

import math
from dataclasses import dataclass

from lbsim.calibration.transforms import Transform, to_unconstrained

__all__ = ["Prior", "prior"]

_REACH = 4.0
"""Standard deviations from the mean to the bounds."""
_BELOW_ONE = {"input_overhead", "straggler_spread", "node_spread", "overlap_slowdown"}
_SURE = 0.97
_UNKNOWN, _UNKNOWN_WIDTH = 0.8, 1.5
"""Mean and width of the prior of an efficiency that is 1, or nearly, in the profile: unknown, and logit(1) infinite."""


@dataclass(frozen=True)
class Prior:
    """Normal prior with bounds, all in unconstrained space."""

    transform: Transform
    middle: float
    """Mean."""
    width: float
    """Standard deviation."""
    lowest: float
    """Lower bound."""
    highest: float
    """Upper bound."""


@dataclass(frozen=True)
class _Word:
    width: float
    transform: Transform = "log"
    from_zero: float = 0.0
    """Mean, in SI units, if the profile has 0; 0 if a zero in the profile is certain."""


_WORDS = {
    "latency": _Word(0.7, from_zero=1e-6),
    "efficiency": _Word(0.8, "logit"),
    "per_collective": _Word(0.7, from_zero=2e-5),
    "per_step": _Word(0.7, from_zero=2e-6),
    "per_step_inside": _Word(0.7, from_zero=2e-6),
    "launch_overhead": _Word(0.7, from_zero=1e-6),
    "kernel_time": _Word(0.5, from_zero=2e-6),
    "step_overhead": _Word(1.0, from_zero=1e-3),
    "input_overhead": _Word(0.7, from_zero=0.02),
    "straggler_spread": _Word(0.7, from_zero=0.01),
    "node_spread": _Word(0.7, from_zero=0.01),
    "overlap_slowdown": _Word(0.7, from_zero=0.05),
    "vector_efficiency": _Word(0.4, "logit"),
    "tensor_efficiency": _Word(0.4, "logit"),
    "memory_efficiency": _Word(0.4, "logit"),
    "backward_efficiency": _Word(0.4, "logit"),
    "vector": _Word(0.3),
    "tf32": _Word(0.3),
    "tensor": _Word(0.3),
}
_ANY_OTHER = _Word(0.3)


def prior(path: str, value: float) -> Prior | None:
    """Return the prior of the parameter at *path*, around the profile's *value*; None if that is a certain zero.

    >>> link = prior("cluster.inter_node.latency", 1e-6)
    >>> (link.transform, link.width, round(link.highest - link.middle, 1))
    ('log', 0.7, 2.8)
    """
    last = path.rpartition(".")[2]
    word = _WORDS.get(last, _ANY_OTHER)
    value, width = value or word.from_zero, word.width
    if not value:
        return None
    if word.transform == "logit" and value > _SURE:
        value, width = _UNKNOWN, _UNKNOWN_WIDTH
    middle = to_unconstrained(value, word.transform)
    highest = middle + _REACH * width
    if last in _BELOW_ONE:
        highest = min(highest, math.log(0.95))
    return Prior(word.transform, middle, width, middle - _REACH * width, highest)
