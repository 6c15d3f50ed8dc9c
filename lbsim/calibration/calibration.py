"""What a fit to measurements found: values by dotted path, how sure each is, and what they were fitted to.

Values and their covariance are told on their lines (`lbsim.calibration.transforms`). Needs no numpy:
`lbsim.calibration.calibrate` makes what is read here.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from lbsim.calibration.transforms import Transform, shifted, to_unconstrained
from lbsim.errors import InputError
from lbsim.profiles.profile import Profile, Table, Text
from lbsim.scenario.paths import owning_profile, value_at
from lbsim.scenario.scenario import Scenario, override
from lbsim.units import Exponent, Factor, dimension_of

_SAME = 1e-9
"""Relative difference of numbers that were written and read again."""
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Fitted(Table):
    """One quantity of one profile."""

    path: Text
    """Dotted, in a scenario."""
    of: Text
    """The name of the profile that it stands in, e.g. ``ib-edr``: of another it says nothing."""
    value: str | float
    """With its unit, or a plain number."""
    before: str | float
    """What the profile says."""
    line: Transform
    uncertainty: Factor
    """Standard deviation on its line: of a time's logarithm, and so about relative."""
    prior: Factor
    """Standard deviation on its line before anything was measured."""

    @model_validator(mode="after")
    def _on_its_line(self) -> Self:
        try:
            to_unconstrained(si(self.value), self.line)
            si(self.before)
        except (ValueError, OverflowError):
            raise ValueError(f"value: {self.value!r} is no {self.path}: write what `lbsim calibrate` wrote") from None
        return self

    def is_in(self, scenario: Scenario) -> bool:
        """Return whether *scenario* has this quantity of this profile, and its value is the profile's own."""
        try:
            if owning_profile(scenario, self.path) != self.of:
                return False
            now = value_at(scenario, self.path)
        except InputError:
            return False
        return math.isclose(now, si(self.before), rel_tol=_SAME, abs_tol=1e-300)

    def moved(self, distance: float) -> float:
        """Return the value, in SI, that is *distance* from the fitted one on its line."""
        return shifted(si(self.value), distance, self.line)


class Source(Table):
    """A file that was fitted to."""

    file: Text
    sha256: Text
    observations: int = Field(ge=1)


class Calibration(Profile):
    """Values fitted to measurements, to be used instead of those of the profiles they belong to."""

    kind: ClassVar[str] = "calibrations"

    fitted: tuple[Fitted, ...] = ()
    covariance: tuple[tuple[_Finite, ...], ...] = ()
    """Of the fitted values on their lines, in the same order."""
    untold: tuple[Text, ...] = ()
    """``PATH of NAME`` that the measurements could not tell and that therefore stayed as it was."""
    observations: int = Field(ge=1)
    outliers: int = Field(default=0, ge=0)
    """Observations further from their prediction than three standard deviations; they count for less."""
    mean_error: Exponent
    """Mean absolute relative error that remained."""
    max_error: Exponent
    mean_error_before: Exponent
    """The same with the profiles' own values."""
    noise: Exponent
    """Standard deviation of what remained, in the logarithm, beyond what the sources state."""
    date: str = ""
    lbsim: str = ""
    clusters: tuple[Text, ...] = ()
    """That were measured."""
    accelerators: tuple[Text, ...] = ()
    measured: tuple[Source, ...] = ()

    @model_validator(mode="after")
    def _covariance_fits(self) -> Self:
        count = len(self.fitted)
        if len(self.covariance) != count or any(len(row) != count for row in self.covariance):
            raise ValueError(f"covariance: {count} fitted values need {count} rows of {count} numbers")
        if any(self.covariance[i][i] < 0 for i in range(count)):
            raise ValueError("covariance: a variance is less than zero")
        return self

    def said_of(self, scenario: Scenario) -> tuple[Fitted, ...]:
        """Return the values that *scenario* has, and has as the profiles say."""
        return tuple(one for one in self.fitted if one.is_in(scenario))

    def apply(self, scenario: Scenario) -> Scenario:
        """Return *scenario* with the fitted values; what was changed by hand stays as it was changed."""
        return override(scenario, {one.path: si(one.value) for one in self.said_of(scenario)})

    def directions(self, scenario: Scenario) -> list[Scenario]:
        """Return *scenario* a standard deviation away in independent directions, which together are the covariance."""
        said = self.said_of(scenario)
        places = [index for index, one in enumerate(self.fitted) if one in said]
        covariance = [[self.covariance[i][j] for j in places] for i in places]
        return [
            override(scenario, {one.path: one.moved(row[column]) for one, row in zip(said, root, strict=True)})
            for root in [cholesky(covariance)]
            for column in range(len(said))
        ]

    def spread(self, scenario: Scenario, quantities: Callable[[Scenario], Sequence[float]]) -> list[float]:
        """Return by how much in the logarithm *quantities* of *scenario* vary with what the fit leaves open."""
        there = quantities(self.apply(scenario))
        squares = [0.0] * len(there)
        for changed in self.directions(scenario):
            for index, (value, other) in enumerate(zip(there, quantities(changed), strict=True)):
                squares[index] += math.log(other / value) ** 2
        return [math.sqrt(square) for square in squares]


def si(value: str | float) -> float:
    """Return *value* in SI, whatever dimension its unit is of; ValueError if it has none that is known.

    >>> si("2 us"), si(0.5)
    (2e-06, 0.5)
    """
    return dimension_of(value).parse(value) if isinstance(value, str) else float(value)


def cholesky(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    r"""Return the lower triangle L with :math:`L L^T` = *matrix*; what rounding makes less than zero is zero.

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
