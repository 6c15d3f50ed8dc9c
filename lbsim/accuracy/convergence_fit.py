"""Bayesian fits of the convergence law on a grid: priors times a Student-t likelihood, then draws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lbsim.accuracy.convergence_law import LADDER_EXPONENT, LADDER_SCALE, ConvergenceLaw, FloatArray
from lbsim.accuracy.recipe import PenaltyName
from lbsim.errors import InputError

__all__ = ["DEFAULT_WORK_PRIOR", "WorkPrior", "fit_around", "fit_errors", "fit_work"]

_RUN_POINTS = 0.15
"""Standard deviation of top-1 between runs of one recipe, percentage points; Goyal et al. give 0.08 to 0.12, and 0.27
at 16k and above."""
_RUN_NOISE = 0.1
"""Relative standard deviation of the epochs to a target between runs of one recipe; MLPerf's reference points have 2 to
9 %."""
_DEGREES_OF_FREEDOM = 3
"""Degrees of freedom of Student's t: an outlier (another generation of a recipe) moves the fit little."""
_DRAWS = 2000
_ANY_EPOCHS = (1.0, 1e9)
"""Range of epochs for a law that does not depend on them."""
_PENALTY_PRIORS: dict[PenaltyName, tuple[float, float, tuple[float, ...], tuple[float, ...]]] = {
    "lars": (4.4e4, 2.5, (0.75, 1.0, 1.25), (0.25, 0.5, 0.25)),
    "linear-scaling": (1.5e4, 3.0, (1.0, 1.5, 2.0, 2.5, 3.0), (0.2, 0.2, 0.2, 0.2, 0.2)),
}
"""Prior by penalty: median critical batch, factor of one standard deviation, exponents and their weights. The median is
44k for LARS, from MLPerf's epochs to target, with the factor of 2 to 3 by which sources differ, and McCandlish et al.'s
15k for SGD on ImageNet."""


@dataclass(frozen=True)
class WorkPrior:
    """Prior and noise of the fit of work to a target.

    The exponent is 1, McCandlish et al.'s, unless the evidence is overwhelming: other values have 3 % of the weight. A
    free exponent fits published series slightly better and extrapolates no better.

    The structure is selected by the interval score on held-out batches of one half of the published series and tested
    on the other half (``reports/time_to_accuracy/structure.py``), except for two constants that are wider than
    selected: a noise of 3 % contains too few values of the other half, and a spread of 0.7 is too narrow for series
    that end long before or after their critical batch.
    """

    exponents: tuple[float, ...] = (0.5, 0.75, 1.0, 1.5, 2.0)
    weights: tuple[float, ...] = (0.005, 0.01, 0.97, 0.01, 0.005)
    """Prior probability of each exponent."""
    critical_batch: float = 4.5
    """Median critical batch, in units of the largest batch of the evidence."""
    spread: float = 1.0
    """Standard deviation of the critical batch's logarithm."""
    noise: float = 0.04
    """Relative standard deviation of a published mean around the law."""
    extrapolation: float = 0.05
    """Additional relative standard deviation per factor of e beyond the largest batch of the evidence."""


@dataclass(frozen=True)
class _Grid:
    """Values of the law's three parameters, the axes of the posterior, and the log prior of the first two."""

    critical_batch: FloatArray
    exponent: FloatArray
    floor: FloatArray
    log_prior: FloatArray
    """Per critical batch and exponent."""

    def excess(self, batch: FloatArray) -> FloatArray:
        """Return (B / B_crit)^p, the penalty minus one, per *batch*, critical batch and exponent."""
        ratio = batch[:, None, None] / self.critical_batch[None, :, None]
        return np.asarray(ratio ** self.exponent[None, None, :])


DEFAULT_WORK_PRIOR = WorkPrior()


def fit_work(batches: Sequence[float], works: Sequence[float], prior: WorkPrior = DEFAULT_WORK_PRIOR) -> ConvergenceLaw:
    """Fit the penalty to *works*, epochs or samples to one target, at *batches*, with *prior*.

    E0 may exceed the smallest of *works*, so that an outlier among the smallest batches does not set it.
    """
    batch, logs = np.array(batches, float), np.log(np.array(works, float))
    critical = batch.max() * np.exp(np.linspace(-3, 6, 91))
    log_prior = -0.5 * ((np.log(critical / batch.max()) - math.log(prior.critical_batch)) / prior.spread) ** 2
    floors = np.linspace(logs.min() - 1.5, logs.min() + 1.2, 161)
    grid = _grid(critical, log_prior, prior.exponents, prior.weights, floors)
    law = _posterior(grid, logs, np.log1p(grid.excess(batch)), prior.noise, batch=batch)
    return replace(law, extrapolation=prior.extrapolation / prior.noise)


def fit_around(
    batches: Sequence[float], epochs: Sequence[float], critical_batch: float, doubt: float, freedom: int
) -> ConvergenceLaw:
    """Fit E0 to the *epochs* to one target of single runs at *batches*, given an estimate of the critical batch.

    The prior of the critical batch's logarithm is Student's t around *critical_batch* with scale *doubt* and *freedom*
    degrees of freedom. Runs at different batches narrow it.
    """
    batch, logs = np.array(batches, float), np.log(np.array(epochs, float))
    steps = np.linspace(-6, 6, 121)
    critical = critical_batch * np.exp(steps * doubt)
    prior = -(freedom + 1) / 2 * np.log1p(steps**2 / freedom)
    _, _, exponents, weights = _PENALTY_PRIORS["lars"]
    grid = _grid(critical, prior, exponents, weights, np.zeros(1))
    model = np.log1p(grid.excess(batch))
    floors = np.arange(logs.min() - model.max() - 1, logs.max() + 1, _RUN_NOISE / 5)
    return _posterior(replace(grid, floor=floors), logs, model, _RUN_NOISE, batch=batch)


def fit_errors(
    rows: Sequence[tuple[float, float, float]], penalty: PenaltyName, floor: tuple[float, float] | None = None
) -> ConvergenceLaw:
    """Fit the law of errors to *rows* of (batch, epochs, top-1 error in percent).

    *floor* is the prior of e∞ from other sources of the model: mean and standard deviation, in percent. InputError if
    there are neither rows nor a floor.
    """
    if not rows and floor is None:
        raise InputError("no evidence to fit; give rows of (batch, epochs, error) or the prior of e∞ of other sources")
    batch, epochs, error = np.array(rows, float).reshape(-1, 3).T
    centre, factor, exponents, weights = _PENALTY_PRIORS[penalty]
    critical = centre * np.exp(np.linspace(-3.5, 3.5, 61) * math.log(factor))
    prior = -0.5 * (np.log(critical / centre) / math.log(factor)) ** 2
    lowest = float((error - LADDER_SCALE * epochs**LADDER_EXPONENT).min()) if rows else (floor or (0.0, 0.0))[0]
    floors = np.linspace(lowest - 6, lowest + (3 if rows else 6), 181)
    grid = _grid(critical, prior, exponents, weights, floors)
    model = LADDER_SCALE * (epochs[:, None, None] / (1 + grid.excess(batch))) ** LADDER_EXPONENT
    floor_prior = None if floor is None else -0.5 * ((floors - floor[0]) / floor[1]) ** 2
    return _posterior(grid, error, model, _RUN_POINTS, batch=batch, epochs=epochs, floor_prior=floor_prior)


def _grid(
    critical: FloatArray, prior: FloatArray, exponents: Sequence[float], weights: Sequence[float], floors: FloatArray
) -> _Grid:
    """Return the grid for *prior*, the log prior per critical batch, and *weights*, the prior per exponent."""
    log_prior = prior[:, None] + np.log(np.array(weights))[None, :]
    return _Grid(critical, np.array(exponents), floors, log_prior)


def _posterior(
    grid: _Grid,
    observed: FloatArray,
    model: FloatArray,
    scale: float,
    *,
    batch: FloatArray,
    epochs: FloatArray | None = None,
    floor_prior: FloatArray | None = None,
) -> ConvergenceLaw:
    """Return draws from the posterior of *grid*, given values *observed* at *batch* and *model*, theirs less the floor.

    Residuals have Student's t distribution of *scale*, as one further observation has.
    """
    residual = observed[:, None, None, None] - model[..., None] - grid.floor
    tail = np.log1p((residual / scale) ** 2 / _DEGREES_OF_FREEDOM)
    weight = -(_DEGREES_OF_FREEDOM + 1) / 2 * tail.sum(axis=0) + grid.log_prior[:, :, None]
    if floor_prior is not None:
        weight += floor_prior
    share = np.exp(weight - weight.max()).ravel()
    generator = np.random.default_rng(0)
    picked = np.unravel_index(generator.choice(share.size, _DRAWS, p=share / share.sum()), weight.shape)
    return ConvergenceLaw(
        floor=grid.floor[picked[2]],
        critical_batch=grid.critical_batch[picked[0]],
        exponent=grid.exponent[picked[1]],
        noise=generator.standard_t(_DEGREES_OF_FREEDOM, _DRAWS) * scale,
        evidenced_epochs=_ANY_EPOCHS
        if epochs is None or not epochs.size
        else (float(epochs.min()), float(epochs.max())),
        batches=(int(batch.min()), int(batch.max())) if batch.size else (0, 0),
    )
