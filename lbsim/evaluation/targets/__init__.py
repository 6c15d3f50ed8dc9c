"""What lbsim is to reach, and what it does: every number worked out from the cases and traces, none quoted."""

from collections.abc import Callable, Iterator
from functools import partial

from lbsim.evaluation.cross_validation.folds import KINDS
from lbsim.evaluation.targets import interval_coverage, multi_gpu, own_traces, record_systems, single_gpu, testbed
from lbsim.evaluation.targets.dataset import Place
from lbsim.evaluation.targets.explanations import reason
from lbsim.evaluation.targets.result import TARGETS, Line

__all__ = ["PARTS", "TARGETS", "Line", "Place", "in_order", "reason"]

PARTS: tuple[Callable[[Place], Iterator[Line]], ...] = (
    record_systems.lines,
    interval_coverage.lines,
    *(partial(multi_gpu.lines, kind) for kind in KINDS),
    single_gpu.lines,
    own_traces.lines,
    testbed.lines,
)
"""What works lines out, some seconds each."""


def in_order(lines: list[Line]) -> list[Line]:
    """Return *lines* target by target."""
    return sorted(lines, key=lambda line: TARGETS.index(line.target))
