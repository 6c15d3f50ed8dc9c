r"""Finds the places on their lines that explain observations best, with little regard for outliers.

The places :math:`x` minimise

.. math:: \sum_i ρ\left( \frac{\ln \hat y_i(x) - \ln y_i}{σ_i} \right)
    + \sum_k \left( \frac{x_k - x_k^0}{w_k} \right)^2, \qquad ρ(r) = 2 (\sqrt{1 + r^2} - 1)

within bounds, with :math:`x_k^0` and :math:`w_k` what is thought of them before. ρ grows linearly, so that outliers
pull little. By Gauss and Newton: the logarithms are taken for linear where the fit is, and the least of the sum is then
where least squares, each weighted by :math:`1 / \sqrt{1 + r^2}`, no longer change their weights. The slopes are
corrected by what each step finds, and taken anew only where they lead no further down.

P. J. Huber, "Robust estimation of a location parameter," Ann. Math. Statist. 35(1), 1964; P. W. Holland,
R. E. Welsch, "Robust regression using iteratively reweighted least-squares," Commun. Stat. A 6(9), 1977.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lbsim.calibration.priors import Prior

Vector = NDArray[np.float64]

PRIOR_NOISE = 0.02
"""Standard deviation that the model is thought to leave."""
_PRIOR_COUNT = 2.0
"""Observations that this is worth."""
_MOST_NOISES = 4
_MOST_STEPS = 20
_SHARES = (1.0, 0.5, 0.25, 0.125)
"""Of a step, until one leads down; the model has steps of its own, over which none may."""
_STALE_SHARES = _SHARES[:2]
"""The same where new slopes may show a better way."""
_NEAR = 0.01
"""Standard deviations; what is nearer than that is there."""
_LITTLE = 0.01
"""Of the sum, whose unit a standard deviation is, too little to be worth a step."""
_MOST_WEIGHTINGS = 200


class Problem(Protocol):
    """Predictions as a function of places on lines."""

    def logarithms(self, places: Vector) -> Vector:
        """Return the logarithm of each prediction."""

    def derivatives(self, places: Vector) -> Vector:
        """Return the change of each logarithm, a row each, with each of the places, a column each."""


@dataclass(frozen=True)
class Linear:
    """A problem whose logarithms are linear: *there* where the places are *around*."""

    around: Vector
    there: Vector
    slopes: Vector
    fresh: bool = True
    """Whether the slopes are the problem's own there, and not corrected ones of another place."""

    @classmethod
    def of(cls, problem: Problem, around: Vector) -> Self:
        """Return *problem* as it is around some places."""
        return cls(around, problem.logarithms(around), problem.derivatives(around))

    def logarithms(self, places: Vector) -> Vector:
        """Return the logarithm of each prediction."""
        return np.asarray(self.there + self.slopes @ (places - self.around))

    def told(self, places: Vector, logarithms: Vector, widths: Vector) -> Self:
        """Return the problem around *places*, its slopes changed by no more than what *logarithms* there ask for.

        C. G. Broyden, "A class of methods for solving nonlinear simultaneous equations," Math. Comput. 19(92), 1965.
        """
        step = (places - self.around) / widths
        missed = logarithms - self.logarithms(places)
        slopes = self.slopes + np.outer(missed, step / widths) / (step @ step)
        return replace(self, around=places, there=logarithms, slopes=slopes, fresh=False)

    def derivatives(self, places: Vector) -> Vector:  # noqa: ARG002  the same everywhere
        """Return the slopes."""
        return self.slopes


@dataclass(frozen=True)
class RobustFit:
    """Where a fit came to."""

    places: Vector
    covariance: Vector
    residuals: Vector
    """Logarithm of predicted over observed."""


def fit_with_noise(
    problem: Problem, observed: Vector, stated: Vector, priors: Sequence[Prior], noise: float = PRIOR_NOISE
) -> tuple[RobustFit, float]:
    """Fit, learn from what is left how much *noise* there is, and fit again until that changes little; return it too.

    *observed* are logarithms, *stated* the standard deviations that their sources state; noise is beside them.
    """
    start = None
    for _ in range(_MOST_NOISES):
        found = fit(problem, observed, np.hypot(stated, noise), priors, start)
        before, start, noise = noise, found.places, _noise(found.residuals, stated, len(priors))
        if abs(noise - before) < 0.1 * before:
            break
    return found, noise


def fit(
    problem: Problem, observed: Vector, sigma: Vector, priors: Sequence[Prior], start: Vector | None = None
) -> RobustFit:
    """Return what explains *observed*, logarithms with standard deviations *sigma*.

    It is looked for from *start*, or from what is thought most likely.
    """
    sought = _Sum(observed, sigma, priors)
    here = Linear.of(problem, sought.middle if start is None else start)
    for _ in range(_MOST_STEPS):
        there = _downhill(problem, here, sought)
        if there is not None:
            here = there
        elif here.fresh:
            break
        else:
            here = Linear.of(problem, here.around)
    if not here.fresh:
        here = Linear.of(problem, here.around)
    return RobustFit(here.around, inverse(sought.information(here, here.there)), here.there - observed)


def inverse(matrix: Vector) -> Vector:
    """Return the inverse of *matrix*."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _downhill(problem: Problem, here: Linear, sought: "_Sum") -> Linear | None:
    """Return *problem* a step further down, or none if that is as near as *here* can tell."""
    step, now = sought.least(here) - here.around, sought.value(here.around, here.there)
    if step @ sought.information(here, here.there) @ step < _NEAR**2:
        return None
    for share in _SHARES if here.fresh else _STALE_SHARES:
        places = here.around + share * step
        logarithms = problem.logarithms(places)
        if now - sought.value(places, logarithms) > _LITTLE:
            return here.told(places, logarithms, sought.widths)
    return None


class _Sum:
    """What the places are to make small."""

    def __init__(self, observed: Vector, sigma: Vector, priors: Sequence[Prior]) -> None:
        self.observed, self.sigma = observed, sigma
        self.middle = np.array([one.middle for one in priors])
        self.widths = np.array([one.width for one in priors])
        self.ends = (
            np.array([one.lowest for one in priors]) - self.middle,
            np.array([one.highest for one in priors]) - self.middle,
        )

    def value(self, places: Vector, logarithms: Vector) -> float:
        """Return the sum where the predictions' *logarithms* are these."""
        off = (logarithms - self.observed) / self.sigma
        return float(np.sum(2 * (np.sqrt(1 + off**2) - 1)) + np.sum(((places - self.middle) / self.widths) ** 2))

    def weights(self, logarithms: Vector) -> Vector:
        """Return what each observation counts for: less, the further off it is."""
        return np.asarray(1 / np.sqrt(1 + ((logarithms - self.observed) / self.sigma) ** 2) / self.sigma**2)

    def information(self, here: Linear, logarithms: Vector) -> Vector:
        """Return half the second derivatives of the sum, with the weights that *logarithms* have."""
        weighted = here.slopes.T * self.weights(logarithms)
        return np.asarray(weighted @ here.slopes + np.diag(self.widths**-2.0))

    def least(self, here: Linear) -> Vector:
        """Return the places at which the sum is least if the logarithms are linear."""
        places, left = here.around, here.logarithms(self.middle) - self.observed
        for _ in range(_MOST_WEIGHTINGS):
            logarithms = here.logarithms(places)
            information = self.information(here, logarithms)
            pull = -here.slopes.T @ (self.weights(logarithms) * left)
            step = self.middle + _within(information, pull, *self.ends) - places
            places = places + step
            if step @ information @ step < (_NEAR / 100) ** 2:
                break
        return places


def _within(curvature: Vector, pull: Vector, lowest: Vector, highest: Vector) -> Vector:
    r"""Return the x between *lowest* and *highest* at which :math:`x^T C x / 2 - p^T x` is least, of a definite C.

    That is bounded least squares of :math:`L^T x - L^{-1} p`, with :math:`C = L L^T`.
    """
    from scipy.optimize import lsq_linear  # noqa: PLC0415 - late, for start-up time alone

    lower = np.linalg.cholesky(curvature)
    found = lsq_linear(lower.T, np.linalg.solve(lower, pull), (lowest, highest), method="bvls").x
    return np.asarray(found, dtype=np.float64)


def _noise(residuals: Vector, stated: Vector, parameters: int) -> float:
    """Return the standard deviation of *residuals* that their sources do not state, from their median."""
    freedom = max(0, len(residuals) - parameters)
    share = len(residuals) / freedom if freedom else 0.0
    found = (1.4826 * float(np.median(np.abs(residuals)))) ** 2 * share - float(np.median(stated)) ** 2
    known = _PRIOR_COUNT * PRIOR_NOISE**2
    return math.sqrt((freedom * max(0.0, found) + known) / (freedom + _PRIOR_COUNT))
