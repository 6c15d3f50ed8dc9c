"""Physical quantities: text with a unit in files and options, SI floats in code.

Only this module holds unit prefixes and the eight bits of a byte.
"""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AllowInfNan, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

__all__ = [
    "COMPUTE_RATE",
    "DATA",
    "DATA_RATE",
    "PRICE",
    "SAMPLE_RATE",
    "TIME",
    "Bytes",
    "BytesPerSecond",
    "Dimension",
    "Efficiency",
    "Exponent",
    "Factor",
    "FlopsPerSecond",
    "Quantity",
    "SamplesPerSecond",
    "Seconds",
    "Share",
    "dimension_of",
]

_NUMBER_AND_UNIT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*")
_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
_BITS = 8


@dataclass(frozen=True, eq=False)
class Dimension:
    """A dimension such as time or data size: the accepted units, each with its factor to SI."""

    name: str
    units: dict[str, float]
    example: str

    def parse(self, text: str) -> float:
        """Return the value of *text*, a number and a unit, in SI.

        ValueError if the text is not a number, or its unit is missing or unknown; the message names the valid units.

        >>> DATA_RATE.parse("100 Gb/s")
        12500000000.0
        """
        match = _NUMBER_AND_UNIT.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' is not a {self.name}; write it as e.g. '{self.example}'")
        number, unit = match.groups()
        if not unit:
            raise ValueError(f"{number} has no unit; write it as e.g. '{self.example}'")
        if unit not in self.units:
            raise ValueError(f"'{unit}' is not a unit of {self.name}; there are: {', '.join(self.units)}")
        return float(number) * self.units[unit]

    def text(self, value: float) -> str:
        """Return *value*, in SI, as text that parses back to the same float, in the most readable unit.

        >>> DATA_RATE.text(12.5e9), TIME.text(2e-6)
        ('12.5 GB/s', '2 us')
        """
        for unit in self._by_readability(value):
            text = f"{value / self.units[unit]:.15g} {unit}"
            if self.parse(text) == value:
                return text
        base = next(unit for unit, factor in self.units.items() if factor == 1.0)
        return f"{value!r} {base}"

    def short(self, value: float, digits: int = 4) -> str:
        """Return *value*, in SI, as text rounded to *digits* significant digits, for display only.

        >>> TIME.short(0.0184213), DATA.short(104857600)
        ('18.42 ms', '104.9 MB')
        """
        unit = self._by_readability(value)[0]
        scaled = value / self.units[unit]
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(scaled)))) if scaled else 0
        return f"{scaled:,.{decimals}f} {unit}"

    def _by_readability(self, value: float) -> list[str]:
        """Return the decimal ASCII units: first those in which *value* is at least 1, the largest first."""
        shown = [unit for unit in self.units if "i" not in unit.split("/")[0] and "b" not in unit and unit.isascii()]
        shown.sort(key=lambda unit: self.units[unit], reverse=True)
        fits = [unit for unit in shown if abs(value) >= self.units[unit]]
        return [*fits, *reversed([unit for unit in shown if unit not in fits])]


DATA = Dimension("size", {f"{p}B": f for p, f in (_DECIMAL | _BINARY).items()}, "64 MiB")
DATA_RATE = Dimension(
    "bandwidth",
    {f"{p}B/s": f for p, f in (_DECIMAL | _BINARY).items()} | {f"{p}b/s": f / _BITS for p, f in _DECIMAL.items()},
    "25 GB/s",
)
TIME = Dimension(
    "time",
    {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
    "5 us",
)
COMPUTE_RATE = Dimension("compute rate", {f"{p}FLOP/s": f for p, f in _DECIMAL.items()}, "9.3 TFLOP/s")
SAMPLE_RATE = Dimension("throughput", {"samples/s": 1.0, "images/s": 1.0}, "218 samples/s")
PRICE = Dimension("price of a GPU", {"/s": 1.0, "/h": 1 / 3600.0, "/d": 1 / 86400.0}, "2.5 /h")


def dimension_of(value: str) -> Dimension:
    """Return the dimension (time, size, bandwidth, compute rate or throughput) of the unit in *value*.

    ValueError if the text has no known unit.

    >>> dimension_of("2 us").name
    'time'
    """
    unit = value.strip().rpartition(" ")[2]
    for dimension in (TIME, DATA, DATA_RATE, COMPUTE_RATE, SAMPLE_RATE):
        if unit in dimension.units:
            return dimension
    raise ValueError(f"'{value}' has no known unit; write it as e.g. '5 us' or '25 GB/s'")


@dataclass(frozen=True)
class Quantity:
    """Marker of a pydantic float field as a quantity: text is parsed, a bare number in a file is an error.

    Validation without a context is for Python code, which may pass SI floats. Validation of file content has a
    context; there a number without a unit is an error. *zero_allowed* accepts 0; negative and infinite values are
    always errors.
    """

    dimension: Dimension
    zero_allowed: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(
            self._from_text,
            core_schema.float_schema(allow_inf_nan=False),
            serialization=core_schema.plain_serializer_function_ser_schema(
                self.dimension.text, when_used="json", return_schema=core_schema.str_schema()
            ),
        )

    def _from_text(self, given: Any, info: ValidationInfo) -> float:
        if isinstance(given, str):
            value = self.dimension.parse(given)
        elif isinstance(given, bool) or not isinstance(given, int | float):
            raise ValueError(f"{given!r} is not a {self.dimension.name}; write it as e.g. '{self.dimension.example}'")
        elif info.context is not None:
            raise ValueError(f"{given} has no unit; write it as e.g. '{self.dimension.example}'")
        else:
            value = float(given)
        if not math.isfinite(value) or value < 0 or (value == 0 and not self.zero_allowed):
            bound = "zero or more" if self.zero_allowed else "more than zero"
            raise ValueError(f"{given!r} is not a valid {self.dimension.name}; it must be {bound} and finite")
        return value


Bytes = Annotated[float, Quantity(DATA)]
BytesPerSecond = Annotated[float, Quantity(DATA_RATE)]
Seconds = Annotated[float, Quantity(TIME, zero_allowed=True)]
FlopsPerSecond = Annotated[float, Quantity(COMPUTE_RATE)]
SamplesPerSecond = Annotated[float, Quantity(SAMPLE_RATE)]

Factor = Annotated[float, Gt(0), AllowInfNan(False)]
"""Multiplier above 0; 1 changes nothing."""
Efficiency = Annotated[float, Gt(0), Le(1)]
"""Fraction of a rated figure that is reached: above 0, at most 1."""
Share = Annotated[float, Ge(0), Lt(1)]
"""Fraction from 0 up to, but not including, 1."""
Exponent = Annotated[float, Ge(0), AllowInfNan(False)]
