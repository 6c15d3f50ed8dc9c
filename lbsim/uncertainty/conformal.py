r"""Conformal bounds on the error of a prediction, from held-out errors grouped by system.

Errors of one system are similar. So each of K systems has weight 1/K whatever its number of rows, shared equally among
its rows. The bounds contain the share p of the weight, for a *level* and n rows

.. math:: p = level \, (n + 1) / n

which is the rank of split conformal prediction if every system has one row. If p > 1, n rows are too few for the level,
and the largest error, which is at level n/(n + 1), is scaled as the tail of a normal distribution.

Errors may be larger on one side than on the other, so each is divided by its own side's scale: a root mean square that
is half that side's and half both sides'.

This is CDF pooling: valid for many systems, and too narrow for few that differ much (of 8 systems whose means spread
three times as far as their rows, the 90 % bounds contain 84 %). Weights that guarantee the level for few systems use
the largest error of all below nine systems; on published rows they are two to four times as wide and contain 95 to
100 % (``reports/intervals``).

R. Dunn, L. Wasserman, A. Ramdas, "Distribution-free prediction sets for two-layer hierarchical models," J. Amer. Stat.
Assoc. 118, 2023; Y. Lee, R. F. Barber, R. Willett, "Distribution-free inference with hierarchical data,"
arXiv:2306.06342, 2023, for the weights with a guarantee.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist

__all__ = ["Bounds", "Groups", "bounds", "normal_quantile"]

_ROUNDING = 1e-9
"""Rounding error allowed in sums of weights."""
Groups = Mapping[str, Sequence[float]]
"""Errors by system, or by another unit that was held out at once."""


@dataclass(frozen=True)
class Bounds:
    """Largest error to either side, in the logarithm; both are zero or more."""

    below: float = 0.0
    above: float = 0.0

    def widened(self, other: "Bounds") -> "Bounds":
        """Return the bounds of the sum of two independent errors: either side's quadrature sum."""
        return Bounds(math.hypot(self.below, other.below), math.hypot(self.above, other.above))

    def covering(self, other: "Bounds") -> "Bounds":
        """Return the element-wise maximum of two bounds."""
        return Bounds(max(self.below, other.below), max(self.above, other.above))


def bounds(groups: Groups, level: float) -> Bounds:
    """Return bounds that contain the error of a new system's row with probability *level*.

    >>> errors = {"a": [-0.1, 0.3], "b": [0.2], "c": [0.1], "d": [-0.2, 0.1]}
    >>> within = bounds(errors, 0.5)
    >>> within.below < within.above
    True
    """
    weighted = [(error, 1 / (len(groups) * len(errors))) for errors in groups.values() for error in errors]
    below, above = _scale(weighted, -1), _scale(weighted, 1)
    if not below or not above:
        return Bounds()
    scores = [(error / above if error > 0 else -error / below, weight) for error, weight in weighted]
    factor = _quantile(scores, level)
    return Bounds(below * factor, above * factor)


def normal_quantile(level: float) -> float:
    """Return the half-width, in standard deviations, of the central interval of a normal distribution at *level*."""
    return NormalDist().inv_cdf((1 + level) / 2)


def _scale(weighted: Iterable[tuple[float, float]], sign: int) -> float:
    """Return the scale of the side with *sign*: a root mean square, half of that side and half of both sides."""
    weighted = list(weighted)
    side = 2 * sum(weight * error**2 for error, weight in weighted if error * sign > 0)
    return math.sqrt((side + sum(weight * error**2 for error, weight in weighted)) / 2)


def _quantile(scores: Sequence[tuple[float, float]], level: float) -> float:
    """Return the score below which the next one lies with probability *level*; *scores* are pairs with their weight."""
    ordered, rows = sorted(scores), len(scores)
    share = level * (rows + 1) / rows
    if share > 1:
        return ordered[-1][0] * normal_quantile(level) / normal_quantile(rows / (rows + 1))
    inside = accumulate(weight for _, weight in ordered)
    return next(score for (score, _), sum_ in zip(ordered, inside, strict=True) if sum_ >= share - _ROUNDING)
