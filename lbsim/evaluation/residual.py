"""Residual: an observation and its prediction."""

import math
from dataclasses import dataclass

from lbsim.measurements.observation import Observation

__all__ = ["Residual"]


@dataclass(frozen=True)
class Residual:
    """One observation beside the predicted value, both in SI units."""

    observation: Observation
    predicted: float
    low: float | None = None
    """Lower end of the prediction interval; None where a prediction has no interval, as for parts of a step."""
    high: float | None = None
    anchor: Observation | None = None
    """The observation on which the prediction is anchored, in cross-validation."""

    @property
    def observed(self) -> float:
        """Measured value."""
        return self.observation.value

    @property
    def logarithm(self) -> float:
        """ln(predicted / observed)."""
        return math.log(self.predicted / self.observed)

    @property
    def lag(self) -> float:
        """ln(observed / predicted) of the time, positive where the real system was slower than predicted."""
        return -self.logarithm if self.observation.is_time else self.logarithm

    @property
    def relative_error(self) -> float:
        """(predicted - observed) / observed."""
        return self.predicted / self.observed - 1.0

    @property
    def inside(self) -> bool | None:
        """Whether the interval contains the observed value; None if there is no interval."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.observed <= self.high
