"""Observation: a measurement and the scenario in which it was taken."""

from dataclasses import dataclass
from typing import Literal

from lbsim.measurements.measurement import Measurement
from lbsim.measurements.quantities import QUANTITIES
from lbsim.scenario.scenario import Scenario
from lbsim.units import TIME, Dimension

__all__ = ["CaseLabels", "Observation"]


@dataclass(frozen=True)
class CaseLabels:
    """Labels of a case, by which observations are named, filtered and grouped; empty for a trace."""

    id: str = ""
    quantity: str = ""
    """Quantity as published; the measurement itself may have been converted, e.g. from a rate to seconds."""
    system: str = ""
    source: str = ""
    class_: str = ""
    role: Literal["validate", "calibrate"] = "validate"
    note: str = ""
    fitted_on_this_system: bool = False
    """Whether numbers in the profiles that the scenario uses were fitted to this system."""


@dataclass(frozen=True)
class Observation:
    """One measurement, its scenario and, for a case, its labels."""

    measurement: Measurement
    scenario: Scenario
    relative_to: Scenario | None = None
    """Scenario of the denominator if the value is a ratio of the same quantity in two scenarios."""
    unfitted: Scenario | None = None
    """The scenario with profile values that were not fitted to its own system, where they differ."""
    case: CaseLabels = CaseLabels()

    @property
    def quantity(self) -> str:
        """Key of `lbsim.measurements.quantities.QUANTITIES`, or name of a microbenchmark."""
        return self.measurement.quantity

    @property
    def value(self) -> float:
        """Measured value, SI."""
        return self.measurement.value

    @property
    def message(self) -> float | None:
        """Bytes of the message, for a microbenchmark."""
        return self.measurement.message

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenario; for a ratio, those of numerator and denominator."""
        return (self.scenario,) if self.relative_to is None else (self.scenario, self.relative_to)

    @property
    def dimension(self) -> Dimension | None:
        """Dimension of the value; None if it is dimensionless."""
        return None if self.relative_to is not None else QUANTITIES[self.quantity]

    @property
    def is_time(self) -> bool:
        """Whether a larger value means a slower system: a duration, or a ratio of two."""
        return QUANTITIES[self.quantity] is TIME

    @property
    def anchored(self) -> bool:
        """Whether the scenario has an anchor, a measured throughput that its prediction is scaled to."""
        return self.scenario.anchor is not None
