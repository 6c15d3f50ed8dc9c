"""Convergence law of a benchmark: epochs to its one target by batch."""

import math
from dataclasses import dataclass

import numpy as np

from lbsim.accuracy.convergence_law import ConvergenceLaw, Estimate, FloatArray, rounded_up

__all__ = ["BenchmarkLaw"]

_RUN_SPREAD = 0.05
"""Standard deviation of the logarithm of a run's epochs to a target; MLPerf's reference points have 2 to 9 %."""


@dataclass(frozen=True, eq=False)
class BenchmarkLaw(ConvergenceLaw):
    """A law whose E0 is epochs to one target; it does not predict another target."""

    target: float
    """Value of the metric, in percent if it is a share."""

    @property
    def most_epochs(self) -> float:
        """No upper limit: the target was reached in every row of the evidence."""
        return math.inf

    def errors(self, batch: float, epochs: float) -> FloatArray:  # noqa: ARG002 - laws of accuracies use both
        """Return 100 minus the target, the only value that the evidence contains, per draw."""
        return np.full(self.floor.shape, 100 - self.target)

    def epochs_to(self, batch: float, top1: float, share: float = 0.5) -> float | None:
        """Return the epochs, rounded up to three digits, after which *share* of runs reach the target.

        None if *top1* is another target.
        """
        if not math.isclose(top1, self.target):
            return None
        return rounded_up(float(np.quantile(self._runs(batch), share)))

    def share_of_runs(self, batch: float, epochs: float, top1: float) -> float:  # noqa: ARG002 - as above
        """Return the share of runs of *epochs* at *batch* that reach the target."""
        return float((self._runs(batch) <= epochs).mean())

    def epochs_to_target(self, batch: float) -> Estimate:
        """Return the mean epochs to the target at *batch*."""
        return self.work(batch)

    def _runs(self, batch: float) -> FloatArray:
        """Return draws of the epochs that a single run needs at *batch*."""
        between_runs = np.random.default_rng(2).standard_normal(self.floor.size) * _RUN_SPREAD
        return np.asarray(self.works(batch) * np.exp(between_runs))
