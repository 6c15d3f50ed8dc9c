"""Predicts observations from others, and says how far off that is; how `lbsim validate --leave-out` learns it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbsim.errors import InputError
from lbsim.evaluation.cross_validation.correction_fit import Predictions, fit_corrections
from lbsim.evaluation.cross_validation.folds import Case, Kind, cases, folds
from lbsim.profiles.catalog import PUBLISHED_CASES


@dataclass(frozen=True)
class LeftOut:
    """One observation, and how far off its prediction was when it was left out."""

    case: Case
    residual: float
    """ln(predicted / observed)."""
    as_shipped: float
    """The same with what the profiles say, which is what `lbsim predict` uses."""
    fitted_to: int
    """Observations in the fit."""

    @property
    def outlier(self) -> bool:
        """Whether the case says that something else than lbsim models decides it."""
        return (
            self.case.family != "fusion policies"
            and self.case.observed.role == "validate"
            and bool(self.case.observed.note)
        )


def leave_out(kind: Kind, place: Path = PUBLISHED_CASES) -> list[LeftOut]:
    """Return each observation in *place* that can be predicted from others than its own system, scale or model.

    What is fitted to one `fold <lbsim.evaluation.cross_validation.folds.folds>` corrects the profiles: for ``system``
    all of them alike.
    """
    known, found = Predictions(), []
    for fold in folds(kind, cases(place)):
        if fold.training:
            corrections = fit_corrections(fold.training, known, shared=kind == "system")
            found += [
                LeftOut(case, case.logarithm(corrections.of(case)), known.as_shipped(case), len(fold.training))
                for case in fold.unseen
            ]
    if not found:
        raise InputError(f"--leave-out {kind}: no case in '{place}' can be predicted from the others there")
    return found


def half_width(residuals: Iterable[float], level: float = 0.9) -> float:
    r"""Return the half-width that holds the next one with probability *level*, from the absolute *residuals* so far.

    The :math:`\lceil (n + 1) \, level \rceil`-th smallest of n, or the largest if there are too few.

    J. Lei et al., "Distribution-free predictive inference for regression," J. Amer. Stat. Assoc. 113(523), 2018.

    >>> half_width([0.1, -0.3, 0.2], 0.5)
    0.2
    """
    ordered = sorted(map(abs, residuals))
    return ordered[min(len(ordered), math.ceil((len(ordered) + 1) * level)) - 1]


@dataclass(frozen=True)
class Target:
    """What is to be reached, both relative."""

    mean: float
    worst: float


TARGETS: dict[tuple[Kind, str], Target] = {
    ("system", "scaling, fp32 in a node"): Target(0.04, 0.15),
    ("system", "scaling, fp32 across nodes"): Target(0.04, 0.15),
    ("system", "scaling, mixed in a node"): Target(0.08, 0.25),
    ("system", "scaling, mixed across nodes"): Target(0.15, 0.40),
    ("scale", "fusion policies"): Target(0.025, 0.10),
    ("scale", "all-reduce"): Target(0.08, 0.20),
    ("model", "all-reduce"): Target(0.08, 0.20),
}
"""By what is left out and class."""
COVERAGE = (0.85, 0.95)
"""Share of the left-out observations that 90 % intervals are to hold."""


@dataclass(frozen=True)
class Summary:
    """How well the observations of one class were predicted when they were left out."""

    class_: str
    count: int
    outliers: int
    """Of the count, that the errors leave out; the interval does not."""
    mean: float
    """Absolute relative error."""
    worst: float
    worst_id: str
    coverage: float
    """Share inside 90 % intervals as wide as the residuals of the other systems, or of the other models of one, ask."""
    half_width: float
    """Median of these intervals' half-widths, in the logarithm."""
    coverage_as_shipped: float
    """The same of predictions with what the profiles say."""
    half_width_as_shipped: float
    """What ``hardware_profiles/residuals`` takes."""
    target: Target | None

    @property
    def factor(self) -> float:
        """By how much the upper end of the median interval is above the prediction."""
        return math.expm1(self.half_width)

    @property
    def reached(self) -> bool | None:
        """Whether both errors are; none if nothing is asked."""
        if self.target is None:
            return None
        return self.mean <= self.target.mean and self.worst <= self.target.worst


def summaries(kind: Kind, results: Iterable[LeftOut]) -> list[Summary]:
    """Return one summary for each class."""
    classes: dict[str, list[LeftOut]] = {}
    for result in results:
        classes.setdefault(result.case.observed.class_, []).append(result)
    return [_summary(kind, class_, group) for class_, group in sorted(classes.items())]


def _summary(kind: Kind, class_: str, results: Sequence[LeftOut]) -> Summary:
    inliers = [result for result in results if not result.outlier] or list(results)
    errors = [abs(math.exp(result.residual) - 1) for result in inliers]
    widths, coverage = _intervals(results, [result.residual for result in results])
    shipped, shipped_coverage = _intervals(results, [result.as_shipped for result in results])
    return Summary(
        class_=class_,
        count=len(results),
        outliers=len(results) - len(inliers),
        mean=sum(errors) / len(errors),
        worst=max(errors),
        worst_id=max(inliers, key=lambda one: abs(math.exp(one.residual) - 1)).case.observed.id,
        coverage=coverage,
        half_width=widths,
        coverage_as_shipped=shipped_coverage,
        half_width_as_shipped=shipped,
        target=TARGETS.get((kind, class_)),
    )


def _intervals(results: Sequence[LeftOut], residuals: Sequence[float]) -> tuple[float, float]:
    """Return the median half-width of the results' intervals, each from the others' residuals, and the share inside."""
    several = len({result.case.file.system for result in results}) > 1
    widths = []
    for result in results:
        others = [
            residual
            for one, residual in zip(results, residuals, strict=True)
            if _strangers(one.case, result.case, several=several)
        ]
        widths.append(half_width(others or residuals))
    inside = [abs(residual) <= width for residual, width in zip(residuals, widths, strict=True)]
    return sorted(widths)[len(widths) // 2], sum(inside) / len(inside)


def _strangers(one: Case, other: Case, *, several: bool) -> bool:
    return one.file.system != other.file.system if several else one.what != other.what
