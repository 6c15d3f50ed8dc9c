"""Prediction intervals of held-out residuals, each estimated from the residuals of the other groups."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import median_high

from lbsim.evaluation.residual import Residual
from lbsim.uncertainty.conformal import Bounds, Groups, bounds

__all__ = ["LEVEL", "coverage", "half_width", "held_out_bounds", "with_intervals"]

LEVEL = 0.9
"""Probability that an interval is to contain the observed value."""


def held_out_bounds(groups: Groups, level: float = LEVEL) -> dict[str, Bounds]:
    """Return the bounds of each group's lags from those of the others, by the rule of `lbsim predict`.

    Nothing for a single group, which has no others.
    """
    if len(groups) < 2:
        return {}
    return {name: bounds({other: lags for other, lags in groups.items() if other != name}, level) for name in groups}


def with_intervals(
    residuals: Sequence[Residual], group: Callable[[Residual], str], level: float = LEVEL
) -> list[Residual]:
    """Return *residuals* with the interval that the lags of every other *group* give; without one for a single group.

    Residuals of a group that was held out together are not independent.
    """
    groups: dict[str, list[float]] = {}
    for one in residuals:
        groups.setdefault(group(one), []).append(one.lag)
    within = held_out_bounds(groups, level)
    return [_with_interval(one, within[group(one)]) if within else one for one in residuals]


def _with_interval(one: Residual, within: Bounds) -> Residual:
    quick, slow = math.exp(within.below), math.exp(within.above)
    if one.observation.is_time:
        return replace(one, low=one.predicted / quick, high=one.predicted * slow)
    return replace(one, low=one.predicted / slow, high=one.predicted * quick)


def coverage(residuals: Iterable[Residual]) -> float | None:
    """Return the share of *residuals* inside their interval, of those that have one; None if none has."""
    inside = [one.inside for one in residuals if one.inside is not None]
    return sum(inside) / len(inside) if inside else None


def half_width(residuals: Iterable[Residual]) -> float | None:
    """Return the median half-width of the intervals, in the logarithm; None if there are none."""
    ends = [(one.low, one.high) for one in residuals if one.low is not None and one.high is not None]
    return median_high(math.log(high / low) / 2 for low, high in ends) if ends else None
