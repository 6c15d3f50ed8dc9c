"""One line of the table of targets."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

EFFICIENCIES = "seed systems: scaling efficiencies"
ANCHORED = "seed systems: absolute, anchored"
NOT_ANCHORED = "seed systems: absolute, not anchored"
HKB = "HKB: fitted on 4 and 8 GPUs, predicted on 16"
SCALING = "scaling from a source's own rate of one GPU, the source left out"
SINGLE_GPU = "one GPU"
ALL_REDUCES = "all-reduce microbenchmarks"
OWN_TRACES = "our own traces, one machine and framework"
TESTBED = "testbed: fitted on 2 and 4 hosts"
INTERVALS = "90 % intervals"
TARGETS = (
    *(EFFICIENCIES, ANCHORED, NOT_ANCHORED, HKB, SCALING),
    *(SINGLE_GPU, ALL_REDUCES, OWN_TRACES, TESTBED, INTERVALS),
)
"""In the order in which they are told."""


@dataclass(frozen=True)
class Line:
    """What was to be reached, and what was; shares and errors are plain numbers, not per cent.

    A line has errors, or a share, or says why it has neither.
    """

    target: str
    """One of `TARGETS`."""
    what: str
    rows: int = 0
    outliers: int = 0
    """Listed ones, that are not among the rows."""
    mean: float | None = None
    """Absolute relative error."""
    mean_aim: float | None = None
    worst: float | None = None
    worst_aim: float | None = None
    worst_id: str = ""
    share: float | None = None
    """Of the rows, that lie inside their interval or are in the right order."""
    share_aim: tuple[float, float] | None = None
    """Lowest and highest."""
    how: str = ""
    """What the words before leave open."""
    missing: str = ""
    """Why there is no number; nothing if there is."""

    @property
    def reached(self) -> bool | None:
        """Whether all that is asked is; none if nothing is asked, or nothing known."""
        pairs = ((self.mean, self.mean_aim), (self.worst, self.worst_aim))
        asked = [value <= aim for value, aim in pairs if value is not None and aim is not None]
        if self.share is not None and self.share_aim is not None:
            asked.append(self.share_aim[0] <= self.share <= self.share_aim[1])
        return all(asked) if asked else None

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.missing:
            return "not here"
        return {None: "no aim", True: "reached", False: "missed"}[self.reached]

    def of_errors(self, errors: Iterable[tuple[str, float]]) -> Self:
        """Return the line with what *errors*, relative and one or more, say; each with the id of its row."""
        found = [(abs(error), name) for name, error in errors]
        worst, name = max(found)
        mean = math.fsum(error for error, _ in found) / len(found)
        return replace(self, rows=len(found), mean=mean, worst=worst, worst_id=name)

    def of_shares(self, insides: Sequence[bool]) -> Self:
        """Return the line with the share of *insides*, one or more, that are true."""
        return replace(self, rows=len(insides), share=sum(insides) / len(insides))

    def not_here(self, why: str) -> Self:
        """Return the line without a number."""
        return replace(self, missing=why)
