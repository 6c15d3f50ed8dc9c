"""Calibration profile: fitted values by dotted path, their covariance, and the measurements they were fitted to.

The covariance is of the unconstrained values (`lbsim.calibration.transforms`). `lbsim.calibration.calibrate` writes
these profiles; reading and applying them needs no numpy.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from lbsim.calibration.transforms import Transform, shifted, to_unconstrained
from lbsim.errors import InputError
from lbsim.profiles.profile import Profile, Table, Text
from lbsim.scenario.paths import owning_profile, value_at
from lbsim.scenario.scenario import Scenario, override
from lbsim.simulation.metrics import METRICS, ScenarioMetrics
from lbsim.units import Exponent, Factor, dimension_of

__all__ = ["AppliedCalibration", "Calibration", "Fitted", "Source", "cholesky", "si"]

_SAME = 1e-9
"""Relative difference of a number that was written and read again."""
_OLD_KEY = "untold"
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Fitted(Table):
    """Fitted value of one quantity of one profile."""

    path: Text
    """Dotted path in a scenario."""
    of: Text
    """Name of the profile, e.g. ``ib-edr``; the value does not apply to another one."""
    value: str | float
    """Fitted value with its unit, or a plain number."""
    before: str | float
    """Value of the profile."""
    line: Transform
    """Transform to the unconstrained value."""
    uncertainty: Factor
    """Standard deviation of the unconstrained value; with a log transform, about the relative one."""
    prior: Factor
    """Standard deviation of the prior, of the unconstrained value."""

    @model_validator(mode="after")
    def _has_a_transform(self) -> Self:
        try:
            to_unconstrained(si(self.value), self.line)
            si(self.before)
        except (ValueError, OverflowError):
            raise ValueError(
                f"value: {self.value!r} is not a valid {self.path}; restore the file that `lbsim calibrate` wrote"
            ) from None
        return self

    def is_in(self, scenario: Scenario) -> bool:
        """Return whether *scenario* has this quantity of this profile, with the profile's value."""
        try:
            if owning_profile(scenario, self.path) != self.of:
                return False
            now = value_at(scenario, self.path)
        except InputError:
            return False
        return math.isclose(now, si(self.before), rel_tol=_SAME, abs_tol=1e-300)

    def moved(self, distance: float) -> float:
        """Return the value, in SI, whose unconstrained value is *distance* from the fitted one."""
        return shifted(si(self.value), distance, self.line)


@dataclass(frozen=True)
class AppliedCalibration:
    """A scenario with fitted values, and what the fit leaves uncertain about it."""

    scenario: Scenario
    spread: Mapping[str, float]
    """Standard deviation of the logarithm of each metric, from the covariance of the fitted values."""
    paths: frozenset[str]
    """Paths of the fitted values that the scenario has."""


class Source(Table):
    """Provenance of observations: a file that was fitted to."""

    file: Text
    sha256: Text
    observations: int = Field(ge=1)


class Calibration(Profile):
    """Values fitted to measurements, which override those of the profiles they belong to."""

    kind: ClassVar[str] = "calibrations"

    fitted: tuple[Fitted, ...] = ()
    covariance: tuple[tuple[_Finite, ...], ...] = ()
    """Covariance of the unconstrained fitted values, in the same order."""
    undetermined: tuple[Text, ...] = ()
    """``PATH of NAME`` of each value that the measurements do not determine; it keeps the profile's value."""
    observations: int = Field(ge=1)
    outliers: int = Field(default=0, ge=0)
    """Number of observations more than three standard deviations from their prediction, which have little weight."""
    mean_error: Exponent
    """Mean absolute relative error with the fitted values."""
    max_error: Exponent
    mean_error_before: Exponent
    """Mean absolute relative error with the values of the profiles."""
    noise: Exponent
    """Standard deviation of the residuals in the logarithm, beyond what the sources state."""
    date: str = ""
    lbsim: str = ""
    clusters: tuple[Text, ...] = ()
    """Clusters on which was measured."""
    accelerators: tuple[Text, ...] = ()
    measured: tuple[Source, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _rename_old_keys(cls, given: Any) -> Any:
        """Accept the key that files of lbsim 0.1 have."""
        if isinstance(given, dict) and _OLD_KEY in given:
            return {("undetermined" if key == _OLD_KEY else key): value for key, value in given.items()}
        return given

    @model_validator(mode="after")
    def _covariance_fits(self) -> Self:
        count = len(self.fitted)
        if len(self.covariance) != count or any(len(row) != count for row in self.covariance):
            raise ValueError(f"covariance: {count} fitted values need {count} rows of {count} numbers")
        if any(self.covariance[i][i] < 0 for i in range(count)):
            raise ValueError("covariance: a variance is less than zero")
        return self

    def applicable_to(self, scenario: Scenario) -> tuple[Fitted, ...]:
        """Return the values whose profile *scenario* has, unchanged."""
        return tuple(one for one in self.fitted if one.is_in(scenario))

    def with_values(self, scenario: Scenario) -> Scenario:
        """Return *scenario* with the fitted values; a value that was overridden by hand stays."""
        return override(scenario, {one.path: si(one.value) for one in self.applicable_to(scenario)})

    def apply(self, scenario: Scenario) -> AppliedCalibration:
        """Return *scenario* with the fitted values, and the spread of its metrics that the fit leaves.

        InputError if no fitted value applies to it.
        """
        paths = frozenset(one.path for one in self.applicable_to(scenario))
        if not paths:
            raise InputError(self._not_applicable(scenario))
        spread = dict(zip(METRICS, self.spread(scenario, _metrics), strict=True))
        return AppliedCalibration(self.with_values(scenario), spread, paths)

    def directions(self, scenario: Scenario) -> list[Scenario]:
        """Return *scenario* moved by each column of the covariance's Cholesky factor.

        These are independent directions of one standard deviation.
        """
        applicable = self.applicable_to(scenario)
        rows = [index for index, one in enumerate(self.fitted) if one in applicable]
        root = cholesky([[self.covariance[i][j] for j in rows] for i in rows])
        return [
            override(scenario, {one.path: one.moved(row[column]) for one, row in zip(applicable, root, strict=True)})
            for column in range(len(applicable))
        ]

    def spread(self, scenario: Scenario, quantities: Callable[[Scenario], Sequence[float]]) -> list[float]:
        """Return the standard deviation of the logarithm of each of *quantities* that the covariance leaves."""
        there = quantities(self.with_values(scenario))
        squares = [0.0] * len(there)
        for changed in self.directions(scenario):
            for index, (value, other) in enumerate(zip(there, quantities(changed), strict=True)):
                squares[index] += math.log(other / value) ** 2
        return [math.sqrt(square) for square in squares]

    def _not_applicable(self, scenario: Scenario) -> str:
        profiles = ", ".join(dict.fromkeys(one.of for one in self.fitted)) or "nothing"
        return (
            f"calibration {self.name}: it has values of {profiles}, and none of these is in this scenario on "
            f"{scenario.cluster.name} with the profile's value; leave out --calibration, or run lbsim calibrate on "
            "measurements of this machine"
        )


def _metrics(scenario: Scenario) -> list[float]:
    metrics = ScenarioMetrics(scenario)
    return [metrics.value(quantity) for quantity in METRICS]


def si(value: str | float) -> float:
    """Return *value* in SI, by the dimension of its unit; ValueError if the unit is unknown.

    >>> si("2 us"), si(0.5)
    (2e-06, 0.5)
    """
    return dimension_of(value).parse(value) if isinstance(value, str) else float(value)


def cholesky(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    r"""Return the lower triangle L with :math:`L L^T` = *matrix*; pivots that rounding makes negative count as zero.

    >>> cholesky([[4.0, 2.0], [2.0, 2.0]])
    [[2.0, 0.0], [1.0, 1.0]]
    """
    count = len(matrix)
    lower = [[0.0] * count for _ in range(count)]
    for row in range(count):
        for column in range(row + 1):
            rest = matrix[row][column] - sum(lower[row][k] * lower[column][k] for k in range(column))
            if row == column:
                lower[row][row] = math.sqrt(max(0.0, rest))
            elif lower[column][column] > 0:
                lower[row][column] = rest / lower[column][column]
    return lower
