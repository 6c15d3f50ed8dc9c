r"""Law of statistical efficiency: epochs to a target and top-1 error as functions of the batch, with uncertainty.

A larger batch needs more epochs, by the *penalty*

.. math:: penalty(B) = 1 + (B / B_{crit})^p

so that the epochs to a target are

.. math:: E(B) = E_0 \, penalty(B)

and the top-1 error after E epochs is that of fewer epochs at a small batch:

.. math:: error(B, E) = e_\infty + 85.1 \, (E / penalty(B))^{-0.967}

The first formula is that of McCandlish et al., arXiv:1812.06162, for p = 1. The evidence does not settle p, so the
fit (`lbsim.accuracy.convergence_fit`) keeps a distribution of it. The two constants of the second formula are fitted to
the epoch ladder of FFCV's ResNet-50 (16 to 88 epochs, largest residual 0.13 percentage points; rows ``FCV`` of the
evidence).
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FAILURE_SHARE",
    "LADDER_EXPONENT",
    "LADDER_SCALE",
    "MOST_EPOCHS",
    "ConvergenceLaw",
    "Estimate",
    "FloatArray",
    "rounded_up",
]

FloatArray = NDArray[np.float64]

LADDER_SCALE, LADDER_EXPONENT = 85.1, -0.967
_FEWEST_EPOCHS = 16.0
"""Epochs of the shortest schedule of the ladder; shorter ones are extrapolations that no plan uses."""
MOST_EPOCHS = 120.0
"""Upper limit on a plan's epochs: a third more than the longest ResNet-50 schedule among the evidence in which only the
batch varies."""
FAILURE_SHARE = 56 / 998
"""Share of runs that end their schedule below the target: MLPerf ResNet-50 logs, v0.7 to v4.0, closed division."""
_EXTRAPOLATION_PER_OCTAVE = 0.53
"""Standard deviation, in percentage points per doubling of the epochs beyond those of the evidence: the difference
between NVIDIA's ResNet-50 at 50, 90 and 250 epochs (rows ``DLE``) and the law."""


@dataclass(frozen=True)
class Estimate:
    """A median and the bounds of its 90 % interval."""

    low: float
    value: float
    high: float


@dataclass(frozen=True, eq=False)
class ConvergenceLaw:
    """Equally likely draws of the law's parameters from their posterior; all arrays share one order."""

    floor: FloatArray
    """Logarithm of E0, or e∞ in percent, per draw."""
    critical_batch: FloatArray
    """Samples at which the penalty is 2, per draw."""
    exponent: FloatArray
    noise: FloatArray
    """Error of one further observation per draw: relative for work, in percentage points for top-1."""
    evidenced_epochs: tuple[float, float]
    """Fewest and most epochs in the evidence."""
    batches: tuple[int, int]
    """Smallest and largest batch in the evidence, samples."""
    extrapolation: float = field(default=0.0, kw_only=True)
    """Additional noise of work per factor of e beyond the largest batch of the evidence, in units of the noise."""

    @property
    def most_epochs(self) -> float:
        """Upper limit on the epochs of a plan."""
        return MOST_EPOCHS

    def penalty(self, batch: float) -> FloatArray:
        """Return draws of the ratio of the epochs at *batch* to those at a small batch."""
        return np.asarray(1 + (batch / self.critical_batch) ** self.exponent)

    def work(self, batch: float) -> Estimate:
        """Return the work to the target at *batch*, in the unit of the fitted values."""
        return _estimate(self.works(batch))

    def works(self, batch: float) -> FloatArray:
        """Return draws of the work to the target at *batch*, in the unit of the fitted values."""
        beyond = max(0.0, math.log(batch / self.batches[1])) if self.extrapolation else 0.0
        noise = self.noise * math.hypot(1, self.extrapolation * beyond)
        return np.asarray(np.exp(self.floor + noise) * self.penalty(batch))

    def errors(self, batch: float, epochs: float) -> FloatArray:
        """Return draws of the top-1 error, in percent, of a run of *epochs* at *batch*."""
        low, high = self.evidenced_epochs
        octaves = max(0.0, math.log2(low / epochs), math.log2(epochs / high))
        extrapolation = _EXTRAPOLATION_PER_OCTAVE * octaves * _standard_normal(len(self.floor))
        effective = epochs / self.penalty(batch)
        return np.asarray(self.floor + LADDER_SCALE * effective**LADDER_EXPONENT + self.noise + extrapolation)

    def top1(self, batch: float, epochs: float) -> Estimate:
        """Return the top-1 accuracy, in percent, of a run of *epochs* at *batch*."""
        return _estimate(100 - self.errors(batch, epochs))

    def epochs_to(self, batch: float, top1: float, share: float = 0.5) -> float | None:
        """Return the fewest epochs after which *share* of runs at *batch* reach *top1* percent; None if none suffice.

        A share of one half means that the expected accuracy is *top1*.
        """
        left = np.maximum(100 - top1 - self.floor - self.noise, 0.0)
        with np.errstate(divide="ignore"):
            needed = self.penalty(batch) * (left / LADDER_SCALE) ** (1 / LADDER_EXPONENT)
        start = float(np.quantile(needed, share, method="higher"))
        if not math.isfinite(start):
            return None
        # epochs beyond the evidence widen the errors, so search upwards until the share is reached
        for epochs in max(_FEWEST_EPOCHS, math.ceil(start)) + np.arange(-8, 40):
            if epochs >= _FEWEST_EPOCHS and self.share_of_runs(batch, float(epochs), top1) >= share:
                return float(epochs)
        return None

    def share_of_runs(self, batch: float, epochs: float, top1: float) -> float:
        """Return the share of runs of *epochs* at *batch* that reach *top1* percent."""
        return float((100 - self.errors(batch, epochs) >= top1).mean())

    def top1_of(self, share: float, batch: float, epochs: float) -> float:
        """Return the top-1 accuracy, in percent, that *share* of runs of *epochs* at *batch* reach."""
        return float(np.quantile(100 - self.errors(batch, epochs), 1 - share))

    def epochs_to_target(self, batch: float) -> Estimate | None:  # noqa: ARG002 - laws of epochs to a target use it
        """Return the epochs to the target at *batch*; None for a law that is fitted to accuracies."""
        return None

    def beyond_evidence(self, batch: float) -> bool:
        """Return whether *batch* is outside the range of the evidence."""
        return not self.batches[0] <= batch <= self.batches[1]


def rounded_up(value: float) -> float:
    """Return *value* rounded up to three digits.

    >>> rounded_up(5.2311), rounded_up(62.37), rounded_up(3.0)
    (5.24, 62.4, 3.0)
    """
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return round(math.ceil(value / unit - 1e-9) * unit, 12)


@lru_cache
def _standard_normal(count: int) -> FloatArray:
    return np.random.default_rng(1).standard_normal(count)


def _estimate(draws: FloatArray) -> Estimate:
    low, value, high = np.quantile(draws, (0.05, 0.5, 0.95))
    return Estimate(float(low), float(value), float(high))
