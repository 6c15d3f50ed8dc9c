"""Predicts observations from others, and says how far off that is; how `lbsim validate --leave-out` learns it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lbsim.errors import InputError
from lbsim.evaluation.coverage import Coverage, by_group, coverage
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
    coverage: float | None
    """Share inside 90 % intervals from the residuals of the other systems; of one system, of its other models or sizes.
    None if there is no other group."""
    half_width: float | None
    """Median half-width of these intervals, in the logarithm."""
    coverage_as_shipped: float | None
    """The same share for predictions with the profiles as shipped."""
    half_width_as_shipped: float | None
    """The same half-width for predictions with the profiles as shipped."""
    target: Target | None

    @property
    def factor(self) -> float | None:
        """Relative distance from the prediction to the upper end of the median interval."""
        return None if self.half_width is None else math.expm1(self.half_width)

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
    fitted, as_shipped = _coverage(residuals), _coverage(shipped)
    return Summary(
        class_=class_,
        count=len(residuals),
        outliers=len(residuals) - len(inliers),
        mean=sum(errors) / len(errors),
        worst=max(errors),
        worst_id=max(inliers, key=lambda one: abs(math.exp(one.logarithm) - 1)).observation.case.id,
        coverage=fitted.share,
        half_width=fitted.half_width,
        coverage_as_shipped=as_shipped.share,
        half_width_as_shipped=as_shipped.half_width,
        target=TARGETS.get((kind, class_)),
    )


def _coverage(residuals: Sequence[Residual]) -> Coverage:
    """Return the coverage with intervals from the other systems; of one system, from its other models or sizes."""
    several = len({one.observation.case.system for one in residuals}) > 1
    return coverage(
        by_group(residuals, lambda one: one.observation.case.system if several else subject(one.observation))
    )
