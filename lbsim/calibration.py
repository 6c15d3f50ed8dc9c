r"""What a fit to measurements found: values by dotted path, how sure each is, and what they were fitted to.

A value lives on a line without ends, on which the fit moves and its covariance is told: the logarithm of a time or a
factor, :math:`\ln (e / (1 - e))` of an efficiency, itself of what is added. Needs no scipy nor numpy: `lbsim.calibrate`
makes what is read here.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lbsim.errors import InputError
from lbsim.profile import Profile, Table, Text
from lbsim.scenario import Scenario, override
from lbsim.units import COMPUTE_RATE, DATA, DATA_RATE, SAMPLE_RATE, TIME, Exponent, Factor

Line = Literal["log", "logit", "linear"]
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
    line: Line
    uncertainty: Factor
    """Standard deviation on its line: of a time's logarithm, and so about relative."""
    prior: Factor
    """Standard deviation on its line before anything was measured."""

    @model_validator(mode="after")
    def _on_its_line(self) -> Self:
        try:
            coordinate(si(self.value), self.line)
            si(self.before)
        except (ValueError, OverflowError):
            raise ValueError(f"value: {self.value!r} is no {self.path}: write what `lbsim calibrate` wrote") from None
        return self

    def is_in(self, scenario: Scenario) -> bool:
        """Return whether *scenario* has this quantity of this profile, and its value is the profile's own."""
        try:
            if owner(scenario, self.path) != self.of:
                return False
            now = value_at(scenario, self.path)
        except InputError:
            return False
        return math.isclose(now, si(self.before), rel_tol=_SAME, abs_tol=1e-300)

    def moved(self, distance: float) -> float:
        """Return the value, in SI, that is *distance* from the fitted one on its line."""
        return moved(si(self.value), distance, self.line)


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
        for moved in self.directions(scenario):
            for index, (value, other) in enumerate(zip(there, quantities(moved), strict=True)):
                squares[index] += math.log(other / value) ** 2
        return [math.sqrt(square) for square in squares]


def coordinate(value: float, line: Line) -> float:
    """Return where *value* is on its line."""
    if line == "linear":
        return value
    return math.log(value) if line == "log" else math.log(value / (1 - value))


def on(place: float, line: Line) -> float:
    """Return the value at *place* on its line."""
    if line == "linear":
        return place
    if line == "log":
        return math.exp(place)
    return 1 / (1 + math.exp(-place)) if place > 0 else math.exp(place) / (1 + math.exp(place))


def moved(value: float, distance: float, line: Line) -> float:
    """Return the value *distance* from *value* on its line; of the logarithm's, which 0 is not on, 0 stays.

    >>> moved(2.0, 0.5, "linear"), moved(0.0, 0.5, "log")
    (2.5, 0.0)
    """
    return value * math.exp(distance) if line == "log" else on(coordinate(value, line) + distance, line)


def si(value: str | float) -> float:
    """Return *value* in SI, whatever dimension its unit is of; ValueError if it has none that is known.

    >>> si("2 us"), si(0.5)
    (2e-06, 0.5)
    """
    if not isinstance(value, str):
        return float(value)
    unit = value.strip().rpartition(" ")[2]
    for dimension in (TIME, DATA, DATA_RATE, COMPUTE_RATE, SAMPLE_RATE):
        if unit in dimension.units:
            return dimension.parse(value)
    raise ValueError(f"'{value}' has no unit that is known")


def owner(scenario: Scenario, path: str) -> str:
    """Return the name of the profile of *scenario* in which *path* stands; InputError if nothing does.

    One that stands inline has its owner's name before it: ``hkbu-ib: inter_node, inline``.
    """
    found: Any = None
    for end in range(1, path.count(".") + 2):
        at = _attribute(scenario, ".".join(path.split(".")[:end]), path)
        if isinstance(at, Profile):
            found = f"{found}: {at.name}" if at.name.endswith(", inline") else at.name
    if found is None:
        raise InputError(f"'{path}' is part of no profile, so that nothing can be learnt about it")
    return str(found)


def value_at(scenario: Scenario, path: str) -> float:
    """Return the number at *path* of *scenario*; InputError if there is none."""
    found = _attribute(scenario, path, path)
    if isinstance(found, bool) or not isinstance(found, float | int):
        raise InputError(f"'{path}' is no number in {owner(scenario, path)}, so that it cannot be fitted")
    return float(found)


def _attribute(scenario: Scenario, part: str, path: str) -> Any:
    try:
        return reduce(getattr, part.split("."), scenario)
    except AttributeError:
        # the same words, with the nearest name, as for any path that does not exist
        override(scenario, {path: 1.0})
        raise InputError(f"no '{path}' in a scenario") from None


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
