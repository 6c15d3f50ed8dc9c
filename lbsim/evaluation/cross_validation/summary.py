"""Summaries of held-out residuals by class: errors, coverage of intervals, and the aims."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lbsim.evaluation.cross_validation.folds import Kind
from lbsim.evaluation.cross_validation.leave_out import HeldOut, is_outlier
from lbsim.evaluation.held_out_intervals import coverage, half_width
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.targets.target import Aim, aim_of

__all__ = ["Summary", "summaries"]


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
    target: Aim | None
    """Aim of both errors; None if there is none."""

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
    errors = [abs(one.relative_error) for one in inliers]
    return Summary(
        class_=class_,
        count=len(residuals),
        outliers=len(residuals) - len(inliers),
        mean=sum(errors) / len(errors),
        worst=max(errors),
        worst_id=max(inliers, key=lambda one: abs(one.relative_error)).observation.case.id,
        coverage=coverage(residuals),
        half_width=half_width(residuals),
        coverage_as_shipped=coverage(shipped),
        half_width_as_shipped=half_width(shipped),
        target=aim_of(kind, class_),
    )
