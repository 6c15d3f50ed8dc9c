"""Coverage of prediction intervals, each estimated from the residuals of the other groups."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median_high

from lbsim.evaluation.residual import Residual
from lbsim.uncertainty.conformal import Bounds, Groups, bounds

__all__ = ["LEVEL", "Coverage", "by_group", "coverage", "held_out_bounds"]

LEVEL = 0.9
"""Probability that an interval is to contain the observed value."""


@dataclass(frozen=True)
class Coverage:
    """Which rows lie inside their intervals, and how wide these are."""

    inside: tuple[bool, ...]
    half_widths: tuple[float, ...]
    """Mean of the lower and the upper half-width of each row's interval, in the logarithm."""

    @property
    def share(self) -> float | None:
        """Share of the rows that lie inside; None without rows."""
        return sum(self.inside) / len(self.inside) if self.inside else None

    @property
    def half_width(self) -> float | None:
        """Median half-width; None without rows."""
        return median_high(self.half_widths) if self.half_widths else None


def held_out_bounds(groups: Groups, level: float = LEVEL) -> dict[str, Bounds]:
    """Return the bounds of each group's lags from those of the others, by the rule of `lbsim predict`.

    Nothing for a single group, which has no others.
    """
    if len(groups) < 2:
        return {}
    return {name: bounds({other: lags for other, lags in groups.items() if other != name}, level) for name in groups}


def coverage(groups: Groups, level: float = LEVEL) -> Coverage:
    """Return the coverage of the intervals of all groups, each from the lags of the others."""
    inside: list[bool] = []
    half_widths: list[float] = []
    for name, within in held_out_bounds(groups, level).items():
        inside += [-within.below <= lag <= within.above for lag in groups[name]]
        half_widths += [(within.below + within.above) / 2] * len(groups[name])
    return Coverage(tuple(inside), tuple(half_widths))


def by_group(residuals: Iterable[Residual], group: Callable[[Residual], str]) -> dict[str, Sequence[float]]:
    """Return the lags of *residuals* by *group*."""
    found: dict[str, list[float]] = {}
    for residual in residuals:
        found.setdefault(group(residual), []).append(residual.lag)
    return {**found}
