r"""Finds the places on their lines that explain observations best, with little regard for outliers.

The places :math:`x` minimise

.. math:: \sum_i ρ\left( \frac{\ln \hat y_i(x) - \ln y_i}{σ_i} \right)
    + \sum_k \left( \frac{x_k - x_k^0}{w_k} \right)^2, \qquad ρ(r) = 2 (\sqrt{1 + r^2} - 1)

with :math:`x_k^0` and :math:`w_k` what is thought of them before. ρ grows linearly, so that outliers pull little.

P. J. Huber, "Robust estimation of a location parameter," Ann. Math. Statist. 35(1), 1964; scipy's least_squares is
imported here alone, late, because it takes half a second to load.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lbsim.priors import Prior

Vector = NDArray[np.float64]

PRIOR_NOISE = 0.02
"""Standard deviation that the model is thought to leave."""
_PRIOR_COUNT = 2.0
"""Observations that this is worth."""
_MOST_EVALUATIONS = 10
_MOST_NOISES = 4


class Problem(Protocol):
    """Predictions as a function of places on lines."""

    def logarithms(self, places: Vector) -> Vector:
        """Return the logarithm of each prediction."""

    def derivatives(self, places: Vector) -> Vector:
        """Return the change of each logarithm, a row each, with each of the places, a column each."""


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
    places = np.array([one.middle for one in priors])
    for _ in range(_MOST_NOISES):
        found = fit(problem, observed, np.hypot(stated, noise), priors, places)
        before, places, noise = noise, found.places, _noise(found.residuals, stated, len(priors))
        if abs(noise - before) < 0.1 * before:
            break
    return found, noise


def inverse(matrix: Vector) -> Vector:
    """Return the inverse of *matrix*."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def fit(problem: Problem, observed: Vector, sigma: Vector, priors: Sequence[Prior], start: Vector) -> RobustFit:
    """Return what explains *observed*, logarithms with standard deviations *sigma*, looked for from *start*."""
    from scipy.optimize import least_squares  # noqa: PLC0415 - late, for start-up time alone

    middle, widths = np.array([one.middle for one in priors]), np.array([one.width for one in priors])

    def residuals(x: Vector) -> Vector:
        return np.concatenate([(problem.logarithms(x) - observed) / sigma, (x - middle) / widths])

    def jacobian(x: Vector) -> Vector:
        return np.vstack([problem.derivatives(x) / sigma[:, None], np.diag(1 / widths)])

    result = least_squares(
        residuals,
        start,
        jac=jacobian,
        bounds=(np.array([one.lowest for one in priors]), np.array([one.highest for one in priors])),
        loss=_loss(len(observed)),  # type: ignore[arg-type]
        x_scale=widths,
        ftol=1e-4,
        xtol=1e-3,
        gtol=1e-4,
        max_nfev=_MOST_EVALUATIONS,
    )
    left = problem.logarithms(result.x) - observed
    weights = 1 / np.sqrt(1 + (left / sigma) ** 2)
    slopes = problem.derivatives(result.x) / sigma[:, None]
    information = slopes.T @ (slopes * weights[:, None]) + np.diag(widths**-2.0)
    return RobustFit(result.x, inverse(information), left)


def _loss(count: int) -> Callable[[Vector], Vector]:
    """Return the loss of squared residuals, with its derivatives: linear in the end for the first *count*."""

    def loss(squares: Vector) -> Vector:
        out = np.vstack([squares, np.ones_like(squares), np.zeros_like(squares)])
        root = np.sqrt(1 + squares[:count])
        out[0, :count], out[1, :count], out[2, :count] = 2 * (root - 1), 1 / root, -0.5 / root**3
        return out

    return loss


def _noise(residuals: Vector, stated: Vector, parameters: int) -> float:
    """Return the standard deviation of *residuals* that their sources do not state, from their median."""
    freedom = max(0, len(residuals) - parameters)
    share = len(residuals) / freedom if freedom else 0.0
    found = (1.4826 * float(np.median(np.abs(residuals)))) ** 2 * share - float(np.median(stated)) ** 2
    known = _PRIOR_COUNT * PRIOR_NOISE**2
    return math.sqrt((freedom * max(0.0, found) + known) / (freedom + _PRIOR_COUNT))
