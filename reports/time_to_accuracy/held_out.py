"""Predictions of larger batches from smaller ones, and their scores: error, coverage, width and interval score."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import log
from statistics import fmean, median

from lbsim.accuracy.convergence_data import work_by_recipe
from lbsim.accuracy.convergence_fit import DEFAULT_WORK_PRIOR, WorkPrior, fit_work

FEWEST = 3
"""Batches that a fit needs."""
_MISS = 20
"""Penalty of the 90 % interval score, 2 / (1 - level), per unit of the distance from the interval to a value outside.
T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction, and estimation," JASA 102, 2007, section 6.2.
"""
Series = Mapping[int, float]
"""Work to the target by batch."""
CUTS: Mapping[str, Callable[[list[int]], list[list[int]]]] = {
    "largest batch": lambda batches: [batches[:-1]],
    "at least twice as large": lambda batches: [[batch for batch in batches if batch <= batches[-1] / 2]],
    "every cut": lambda batches: [batches[:end] for end in range(FEWEST, len(batches))],
}
"""Lists of batches to fit, by name of the split; larger batches of the series are held out."""


@dataclass(frozen=True)
class HeldOut:
    """One held-out batch."""

    largest: int
    """Largest batch of the fit."""
    batch: int
    error: float
    """Relative error of the prediction, signed."""
    inside: bool
    """Whether the 90 % interval contains the value."""
    width: float
    """Ratio of the interval's upper end to its lower end."""
    score: float
    """Interval score of the logarithm; lower is better."""


@dataclass(frozen=True)
class Summary:
    """Scores over series; each series has the same weight."""

    series: int
    error: float
    """Mean absolute relative error."""
    coverage: float
    width: float
    """Median over series."""
    score: float

    def __str__(self) -> str:
        return (
            f"{self.series:2} series: mean error {self.error:6.1%}, inside {self.coverage:4.0%}, median high/low "
            f"{self.width:.2f}, score {self.score:.2f}"
        )


def series(fewest: int = FEWEST + 1) -> dict[str, Series]:
    """Return the series of work to a target that have at least *fewest* batches."""
    return {name: works for name, works in work_by_recipe().items() if len(works) >= fewest}


def held_out(works: Series, cut: str, prior: WorkPrior = DEFAULT_WORK_PRIOR) -> Iterator[HeldOut]:
    """Yield the held-out batches of *works*: the largest, or for every cut all larger batches."""
    batches = sorted(works)
    for fitted in CUTS[cut](batches):
        if len(fitted) < FEWEST - 1:
            continue
        law = fit_work(fitted, [works[batch] for batch in fitted], prior)
        for batch in batches[len(fitted) :] if cut == "every cut" else batches[-1:]:
            estimate, value = law.work(batch), works[batch]
            outside = max(0.0, log(estimate.low / value), log(value / estimate.high))
            yield HeldOut(
                largest=fitted[-1],
                batch=batch,
                error=estimate.value / value - 1,
                inside=not outside,
                width=estimate.high / estimate.low,
                score=log(estimate.high / estimate.low) + _MISS * outside,
            )


def summary(rows: Iterable[Iterable[HeldOut]]) -> Summary:
    """Return the scores over *rows*, the held-out batches of each series."""
    kept = [list(some) for some in rows]
    kept = [some for some in kept if some]
    return Summary(
        series=len(kept),
        error=fmean(fmean(abs(row.error) for row in some) for some in kept),
        coverage=fmean(fmean(row.inside for row in some) for some in kept),
        width=median(median(row.width for row in some) for some in kept),
        score=fmean(fmean(row.score for row in some) for some in kept),
    )
