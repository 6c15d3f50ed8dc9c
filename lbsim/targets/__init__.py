"""What lbsim is to reach, and what it does: every number worked out from the cases and traces, none quoted."""

from collections.abc import Callable, Iterator
from functools import partial

from lbsim.folds import KINDS
from lbsim.targets import _intervals, _own_traces, _seeds, _several, _single_gpu, _testbed
from lbsim.targets._line import TARGETS, Line
from lbsim.targets._place import Place
from lbsim.targets._reasons import reason

__all__ = ["PARTS", "TARGETS", "Line", "Place", "in_order", "reason"]

PARTS: tuple[Callable[[Place], Iterator[Line]], ...] = (
    _seeds.lines,
    _intervals.lines,
    *(partial(_several.lines, kind) for kind in KINDS),
    _single_gpu.lines,
    _own_traces.lines,
    _testbed.lines,
)
"""What works lines out, some seconds each."""


def in_order(lines: list[Line]) -> list[Line]:
    """Return *lines* target by target."""
    return sorted(lines, key=lambda line: TARGETS.index(line.target))
