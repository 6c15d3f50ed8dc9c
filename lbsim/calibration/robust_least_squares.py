r"""Robust nonlinear least squares with priors and bounds: Gauss-Newton steps of reweighted least squares.

The fit minimises, over unconstrained parameter values :math:`x` between bounds,

.. math:: \sum_i ρ\left( \frac{\ln \hat y_i(x) - \ln y_i}{σ_i} \right)
    + \sum_k \left( \frac{x_k - x_k^0}{w_k} \right)^2, \qquad ρ(r) = 2 (\sqrt{1 + r^2} - 1)

with :math:`x_k^0` and :math:`w_k` the mean and standard deviation of the priors. ρ grows linearly, so that outliers
have little influence; the priors may have the same loss. `Objective.minimise` is iteratively reweighted least squares
(IRLS) of a problem whose Jacobian is cheap; `fit` calls it on linearizations of a problem whose Jacobian is expensive,
which it updates by Broyden's method, and computes again only where the updated one leads to no lower objective.

scipy.optimize.least_squares with loss "soft_l1" was measured in its place: 8 times slower in the fit of
`lbsim.evaluation.single_gpu.fit`, and no better in the objective.

P. J. Huber, "Robust estimation of a location parameter," Ann. Math. Statist. 35(1), 1964; P. W. Holland,
R. E. Welsch, "Robust regression using iteratively reweighted least-squares," Commun. Stat. A 6(9), 1977.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from lbsim.calibration._bounded_quadratic import Vector, bounded_minimum
from lbsim.calibration.priors import Prior

__all__ = ["PRIOR_NOISE", "Linearization", "Objective", "Problem", "RobustFit", "Vector", "fit", "fit_with_noise"]

PRIOR_NOISE = 0.02
"""Prior of the model error's standard deviation, in the logarithm."""
_PRIOR_COUNT = 2.0
"""Observations that this prior is worth."""
_MAX_NOISE_UPDATES = 4
_MAX_STEPS = 20
_STEP_FRACTIONS = (1.0, 0.5, 0.25, 0.125)
"""Fractions of a step to try; the model is piecewise smooth, so that none may reduce the objective."""
_STALE_STEP_FRACTIONS = _STEP_FRACTIONS[:2]
"""Fractions to try with an updated Jacobian, where a new one may give a better step."""
_CONVERGED = 0.01
"""Standard deviations; a shorter step is convergence."""
_LEAST_DECREASE = 0.01
"""Decrease of the objective, whose unit is a squared standard deviation, that is worth a step."""
_MAX_REWEIGHTINGS = 200


class Problem(Protocol):
    """Logarithms of predictions as a function of unconstrained parameter values."""

    def logarithms(self, values: Vector) -> Vector:
        """Return the logarithm of each prediction, shape (observations,)."""

    def derivatives(self, values: Vector) -> Vector:
        """Return the Jacobian of the logarithms, shape (observations, parameters)."""


@dataclass(frozen=True)
class Linearization:
    """First-order approximation of a problem around one point."""

    point: Vector
    at_point: Vector
    """Logarithms of the predictions there."""
    jacobian: Vector
    exact: bool = True
    """Whether the Jacobian was computed at the point, and not updated from another one."""

    @classmethod
    def of(cls, problem: Problem, point: Vector) -> Self:
        """Return the linearization of *problem* around *point*."""
        return cls(point, problem.logarithms(point), problem.derivatives(point))

    def logarithms(self, values: Vector) -> Vector:
        """Return the approximate logarithm of each prediction."""
        return np.asarray(self.at_point + self.jacobian @ (values - self.point))

    def derivatives(self, values: Vector) -> Vector:  # noqa: ARG002 - the same everywhere
        """Return the Jacobian."""
        return self.jacobian

    def updated(self, point: Vector, logarithms: Vector, widths: Vector) -> Self:
        """Return the linearization around *point*, the Jacobian changed least so that it explains *logarithms* there.

        C. G. Broyden, "A class of methods for solving nonlinear simultaneous equations," Math. Comput. 19(92), 1965.
        """
        step = (point - self.point) / widths
        missed = logarithms - self.logarithms(point)
        jacobian = self.jacobian + np.outer(missed, step / widths) / (step @ step)
        return replace(self, point=point, at_point=logarithms, jacobian=jacobian, exact=False)


@dataclass(frozen=True)
class RobustFit:
    """Minimum of the objective."""

    values: Vector
    """Unconstrained parameter values."""
    covariance: Vector
    residuals: Vector
    """ln(predicted / observed) of each observation."""


class Objective:
    """Robust loss of the residuals plus the penalty of the priors."""

    def __init__(
        self, observed: Vector, sigma: Vector, priors: Sequence[Prior], *, robust_priors: bool = False
    ) -> None:
        """Take logarithms *observed* with standard deviations *sigma*; *robust_priors* are linear far from the mean."""
        self.observed, self.sigma, self.robust_priors = observed, sigma, robust_priors
        self.middle = np.array([one.middle for one in priors])
        self.widths = np.array([one.width for one in priors])
        self.lowest = np.array([one.lowest for one in priors])
        self.highest = np.array([one.highest for one in priors])

    def value(self, values: Vector, logarithms: Vector) -> float:
        """Return the objective at *values*, where the predictions are *logarithms*."""
        loss = _soft_l1((logarithms - self.observed) / self.sigma)
        distance = (values - self.middle) / self.widths
        penalty = _soft_l1(distance) if self.robust_priors else distance**2
        return float(np.sum(loss) + np.sum(penalty))

    def curvature(self, jacobian: Vector, values: Vector, logarithms: Vector) -> Vector:
        """Return half the Hessian of the objective, with the IRLS weights of this point."""
        weighted = jacobian.T * self._weights(logarithms)
        return np.asarray(weighted @ jacobian + np.diag(self._prior_weights(values)))

    def minimise(self, problem: Problem, start: Vector) -> Vector:
        """Return the values between the bounds that minimise the objective of *problem*, from *start*, by IRLS."""
        values = np.clip(start, self.lowest, self.highest)
        for _ in range(_MAX_REWEIGHTINGS):
            logarithms, jacobian = problem.logarithms(values), problem.derivatives(values)
            curvature = self.curvature(jacobian, values, logarithms)
            pull = jacobian.T @ (self._weights(logarithms) * (self.observed - logarithms))
            pull += self._prior_weights(values) * (self.middle - values)
            down, up = self.lowest - values, self.highest - values
            step = bounded_minimum(curvature, pull, down, up)
            values = np.where(step <= down, self.lowest, np.where(step >= up, self.highest, values + step))
            if step @ curvature @ step < (_CONVERGED / 100) ** 2:
                break
        return values

    def _weights(self, logarithms: Vector) -> Vector:
        """Return the IRLS weight of each observation."""
        return np.asarray(1 / np.sqrt(1 + ((logarithms - self.observed) / self.sigma) ** 2) / self.sigma**2)

    def _prior_weights(self, values: Vector) -> Vector:
        if not self.robust_priors:
            return np.asarray(self.widths**-2.0)
        return np.asarray(1 / np.sqrt(1 + ((values - self.middle) / self.widths) ** 2) / self.widths**2)


def fit_with_noise(
    problem: Problem, observed: Vector, stated: Vector, priors: Sequence[Prior], noise: float = PRIOR_NOISE
) -> tuple[RobustFit, float]:
    """Return the fit to *observed* and the standard deviation of the model error, estimated from its residuals.

    Both are updated in turn until the noise changes little, from *noise*. *observed* are logarithms; *stated* are the
    standard deviations that their sources state, independent of the noise.
    """
    start = None
    for _ in range(_MAX_NOISE_UPDATES):
        found = fit(problem, observed, np.hypot(stated, noise), priors, start)
        before, start, noise = noise, found.values, _noise(found.residuals, stated, len(priors))
        if abs(noise - before) < 0.1 * before:
            break
    return found, noise


def fit(
    problem: Problem, observed: Vector, sigma: Vector, priors: Sequence[Prior], start: Vector | None = None
) -> RobustFit:
    """Return the parameters that explain *observed*, logarithms with standard deviations *sigma*, best.

    The search begins at *start*, or at the means of the priors.
    """
    objective = Objective(observed, sigma, priors)
    here = Linearization.of(problem, objective.middle if start is None else start)
    for _ in range(_MAX_STEPS):
        there = _damped_step(problem, here, objective)
        if there is not None:
            here = there
        elif here.exact:
            break
        else:
            here = Linearization.of(problem, here.point)
    if not here.exact:
        here = Linearization.of(problem, here.point)
    covariance = inverse(objective.curvature(here.jacobian, here.point, here.at_point))
    return RobustFit(here.point, covariance, here.at_point - observed)


def inverse(matrix: Vector) -> Vector:
    """Return the inverse of *matrix*."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _damped_step(problem: Problem, here: Linearization, objective: Objective) -> Linearization | None:
    """Take one damped Gauss-Newton step; None if it has converged, or no fraction of it reduces the objective."""
    step = objective.minimise(here, here.point) - here.point
    now = objective.value(here.point, here.at_point)
    if step @ objective.curvature(here.jacobian, here.point, here.at_point) @ step < _CONVERGED**2:
        return None
    for fraction in _STEP_FRACTIONS if here.exact else _STALE_STEP_FRACTIONS:
        point = here.point + fraction * step
        logarithms = problem.logarithms(point)
        if now - objective.value(point, logarithms) > _LEAST_DECREASE:
            return here.updated(point, logarithms, objective.widths)
    return None


def _soft_l1(scaled: Vector) -> Vector:
    return np.asarray(2 * (np.sqrt(1 + scaled**2) - 1))


def _noise(residuals: Vector, stated: Vector, parameters: int) -> float:
    """Return the standard deviation of *residuals* beyond what their sources state, from their median."""
    freedom = max(0, len(residuals) - parameters)
    share = len(residuals) / freedom if freedom else 0.0
    excess = (1.4826 * float(np.median(np.abs(residuals)))) ** 2 * share - float(np.median(stated)) ** 2
    prior = _PRIOR_COUNT * PRIOR_NOISE**2
    return math.sqrt((freedom * max(0.0, excess) + prior) / (freedom + _PRIOR_COUNT))
