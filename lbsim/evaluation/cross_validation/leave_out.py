"""Predicts observations from others, and says how far off that is; how `lbsim validate --leave-out` learns it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbsim.errors import InputError
from lbsim.evaluation.cross_validation.correction_fit import Predictions, fit_corrections
from lbsim.evaluation.cross_validation.folds import Kind, cases, family, folds, subject
from lbsim.evaluation.residual import Residual
from lbsim.measurements.observation import Observation
from lbsim.profiles.catalog import PUBLISHED_CASES


@dataclass(frozen=True)
class HeldOut:
    """Residuals of observations that were held out of a fit, in two lists of the same order."""

    residuals: tuple[Residual, ...]
    """Predictions by the fit to the other observations."""
    shipped: tuple[Residual, ...]
    """Predictions with the profiles as shipped, which `lbsim predict` uses."""


def is_outlier(observation: Observation) -> bool:
    """Return whether the case notes that something decides *observation* which lbsim does not model."""
    return (
        family(observation) != "fusion policies" and observation.case.role == "validate" and bool(observation.case.note)
    )


def leave_out(kind: Kind, folder: Path = PUBLISHED_CASES) -> HeldOut:
    """Return the residual of each observation in *folder* that can be predicted from the other folds.

    The fit to one `fold <lbsim.evaluation.cross_validation.folds.folds>` corrects the profiles: for ``system``, all of
    them by the same factors. InputError if nothing in *folder* can be held out.
    """
    known = Predictions()
    residuals, shipped = [], []
    for fold in folds(kind, cases(folder)):
        if fold.training:
            corrections = fit_corrections(fold.training, known, shared=kind == "system")
            residuals += [Residual(one, known.predicted(one, corrections.of(one))) for one in fold.unseen]
            shipped += [Residual(one, known.shipped(one)) for one in fold.unseen]
    if not residuals:
        raise InputError(f"--leave-out {kind}: no case in '{folder}' can be predicted from the others there")
    return HeldOut(tuple(residuals), tuple(shipped))


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


def summaries(kind: Kind, held_out: HeldOut) -> list[Summary]:
    """Return one summary for each class."""
    classes: dict[str, list[int]] = {}
    for row, residual in enumerate(held_out.residuals):
        classes.setdefault(residual.observation.case.class_, []).append(row)
    return [
        _summary(kind, class_, [held_out.residuals[row] for row in rows], [held_out.shipped[row] for row in rows])
        for class_, rows in sorted(classes.items())
    ]


def _summary(kind: Kind, class_: str, residuals: Sequence[Residual], shipped: Sequence[Residual]) -> Summary:
    inliers = [one for one in residuals if not is_outlier(one.observation)] or list(residuals)
    errors = [abs(math.exp(one.logarithm) - 1) for one in inliers]
    half_width, coverage = _intervals(residuals)
    half_width_as_shipped, coverage_as_shipped = _intervals(shipped)
    return Summary(
        class_=class_,
        count=len(residuals),
        outliers=len(residuals) - len(inliers),
        mean=sum(errors) / len(errors),
        worst=max(errors),
        worst_id=max(inliers, key=lambda one: abs(math.exp(one.logarithm) - 1)).observation.case.id,
        coverage=coverage,
        half_width=half_width,
        coverage_as_shipped=coverage_as_shipped,
        half_width_as_shipped=half_width_as_shipped,
        target=TARGETS.get((kind, class_)),
    )


def _intervals(residuals: Sequence[Residual]) -> tuple[float, float]:
    """Return the median half-width of intervals, each from the residuals of other groups, and the share inside."""
    several = len({one.observation.case.system for one in residuals}) > 1
    errors = [one.logarithm for one in residuals]
    groups = [one.observation.case.system if several else subject(one.observation) for one in residuals]
    widths = []
    for own in groups:
        others = [error for error, group in zip(errors, groups, strict=True) if group != own]
        widths.append(half_width(others or errors))
    inside = [abs(error) <= width for error, width in zip(errors, widths, strict=True)]
    return sorted(widths)[len(widths) // 2], sum(inside) / len(inside)
