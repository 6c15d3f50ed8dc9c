r"""What is thought of a value before anything is measured: by how much profiles are off.

On its line (`lbsim.calibration.transforms`) a value is normally distributed around what the profile says, with a
standard deviation by the last word of its path. A factor of two in what a library or a link costs is what fits of
several sources to the same profile differ by (hardware_profiles/libraries, links); 30 % in speed is what cards not in
the fit do.
"""

import math
from dataclasses import dataclass

from lbsim.calibration.transforms import Transform, to_unconstrained

_REACH = 4.0
"""Standard deviations within which a value is looked for."""
_BELOW_ONE = {"input_overhead", "straggler_spread", "node_spread", "overlap_slowdown"}
_SURE = 0.97
_UNKNOWN, _UNKNOWN_WIDTH = 0.8, 1.5
"""Where to look for an efficiency that a profile says is 1, or near it: nothing is known, and 1 is at the end."""


@dataclass(frozen=True)
class Prior:
    """Where a value is thought to be, all on its line."""

    line: Transform
    middle: float
    width: float
    """Standard deviation."""
    lowest: float
    """Where a value is looked for, from here to the highest."""
    highest: float


@dataclass(frozen=True)
class _Word:
    width: float
    line: Transform = "log"
    from_zero: float = 0.0
    """In SI, what is most likely if the profile says 0 and it is not; 0 where nothing is meant by 0 but that."""


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
    """Return what is thought of *path* where the profile says *value*; none if that is 0 and says that there is none.

    >>> link = prior("cluster.inter_node.latency", 1e-6)
    >>> (link.line, link.width, round(link.highest - link.middle, 1))
    ('log', 0.7, 2.8)
    """
    last = path.rpartition(".")[2]
    word = _WORDS.get(last, _ANY_OTHER)
    value, width = value or word.from_zero, word.width
    if not value:
        return None
    if word.line == "logit" and value > _SURE:
        value, width = _UNKNOWN, _UNKNOWN_WIDTH
    middle = to_unconstrained(value, word.line)
    highest = middle + _REACH * width
    if last in _BELOW_ONE:
        highest = min(highest, math.log(0.95))
    return Prior(word.line, middle, width, middle - _REACH * width, highest)
