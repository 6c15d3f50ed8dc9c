r"""How far the next error may go, learnt from errors that were made before, system by system.

Rows of one system err alike. So each of K systems weighs 1/K however many rows it has, and its rows share that. The
bounds hold the share p of the weight, for a *level* and n rows

.. math:: p = level \, (n + 1) / n

which is the rank of split conformal prediction where every system has one row. Where p > 1, n rows are too few to say,
and the largest error, which stands at n/(n + 1), is lengthened as the tail of a normal distribution would be.

Errors may be longer on one side than on the other, so that each is measured by its own side's scale, a root mean square
that is half that side's and half both sides'.

This is CDF pooling: right for many systems, and narrow for few that differ much (of 8 whose means spread three times
as far as their rows, 84 % are inside where 90 % are asked). Weights that guarantee the level for few ask for the
largest error of all as soon as there are fewer than nine; on published rows that is two to four times as wide, and 95
to 100 % are inside (``reports/intervals``).

R. Dunn, L. Wasserman, A. Ramdas, "Distribution-free prediction sets for two-layer hierarchical models," J. Amer. Stat.
Assoc. 118, 2023; Y. Lee, R. F. Barber, R. Willett, "Distribution-free inference with hierarchical data,"
arXiv:2306.06342, 2023, for the weights with a guarantee.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist

_ROUNDING = 1e-9
"""Of sums of weights."""
Groups = Mapping[str, Sequence[float]]
"""Errors by system, or by whatever else was left out together."""


@dataclass(frozen=True)
class Bounds:
    """How far to either side, both zero or more."""

    below: float = 0.0
    above: float = 0.0

    def widened(self, other: "Bounds") -> "Bounds":
        """Return the bounds of the sum of this and an independent error."""
        return Bounds(math.hypot(self.below, other.below), math.hypot(self.above, other.above))

    def covering(self, other: "Bounds") -> "Bounds":
        """Return what is as wide as the wider of both on either side."""
        return Bounds(max(self.below, other.below), max(self.above, other.above))


def bounds(groups: Groups, level: float) -> Bounds:
    """Return within what the error of another system's row lies with probability *level*.

    >>> errors = {"a": [-0.1, 0.3], "b": [0.2], "c": [0.1], "d": [-0.2, 0.1]}
    >>> within = bounds(errors, 0.5)
    >>> within.below < within.above
    True
    """
    weighed = [(error, 1 / (len(groups) * len(errors))) for errors in groups.values() for error in errors]
    below, above = _scale(weighed, -1), _scale(weighed, 1)
    if not below or not above:
        return Bounds()
    reach = _quantile([(error / above if error > 0 else -error / below, weight) for error, weight in weighed], level)
    return Bounds(below * reach, above * reach)


def normal(level: float) -> float:
    """Return within how many standard deviations to either side a normal error lies with probability *level*."""
    return NormalDist().inv_cdf((1 + level) / 2)


def _scale(weighed: Iterable[tuple[float, float]], sign: int) -> float:
    """Return the scale of one side: a root mean square, half its own and half that of both."""
    weighed = list(weighed)
    own = 2 * sum(weight * error**2 for error, weight in weighed if error * sign > 0)
    return math.sqrt((own + sum(weight * error**2 for error, weight in weighed)) / 2)


def _quantile(scores: Sequence[tuple[float, float]], level: float) -> float:
    """Return the score within which the next one lies with probability *level*."""
    ordered, rows = sorted(scores), len(scores)
    share = level * (rows + 1) / rows
    if share > 1:
        return ordered[-1][0] * normal(level) / normal(rows / (rows + 1))
    inside = accumulate(weight for _, weight in ordered)
    return next(score for (score, _), sum_ in zip(ordered, inside, strict=True) if sum_ >= share - _ROUNDING)
