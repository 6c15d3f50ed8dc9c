"""Measurements read from files of benchmark tools, with the scenario changes that reproduce each.

`lbsim.measurements.readers` has a module for each format; `read` selects it by the content of the file.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from lbsim.errors import InputError
from lbsim.profiles.module_catalog import find_module, module_names

_MOST_BYTES = 256 * 2**20
_LONGEST = 86_400.0
"""Seconds, a day: longer than any step or message takes."""


__all__ = ["Measurement", "Reading", "checksum", "json_of", "positive", "read", "seconds", "text_of"]


@dataclass(frozen=True)
class Measurement:
    """One measured number: quantity, SI value, and its place in a file."""

    quantity: str
    """``all_reduce_time``, ``message_time``, ``message_rate``, or a key of a prediction's JSON."""
    value: float
    """Value in SI units."""
    where: str = ""
    """Field or line of the file, for errors."""
    message: float | None = None
    """Bytes, for a quantity of a single message or all-reduce."""
    relative_uncertainty: float = 0.0
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the requested scenario, by dotted path, that reproduce the conditions."""
    model: str = ""
    """Model that was trained; empty if the quantity does not depend on it."""
    extremes: tuple[float, float] | None = None
    """Lowest and highest sample, where the value is the median of several."""


@dataclass(frozen=True)
class Reading:
    """Measurements of one file."""

    measurements: tuple[Measurement, ...]
    machine: str = ""
    """Accelerator, or processor, as the tool names it; empty if it does not."""
    machine_where: str = ""
    """Field with the name of the machine."""
    left_out: tuple[str, ...] = ()
    """Entries that cannot be used, each with the reason."""


def read(file: Path) -> Reading:
    """Return the measurements of *file*; InputError names the file, and the field or line that is wrong."""
    text = text_of(file)
    for name in module_names("readers"):
        reader = find_module("readers", name)
        if reader.knows(text):
            reading: Reading = reader.read(text, file)
            if not reading.measurements and not reading.left_out:
                raise InputError(f"{file}: no measurements; a {name.replace('_', '-')} file has some. Is it complete?")
            return reading
    known = ", ".join(name.replace("_", "-") for name in module_names("readers"))
    raise InputError(f"{file}: unknown format; the formats are: {known}. Is the file complete?")


def text_of(file: Path) -> str:
    """Return the content of *file*."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputError(f"{file}: {file.stat().st_size:,} bytes; the limit is {_MOST_BYTES:,}")
        return file.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: byte {error.start} is not UTF-8 text") from None


def checksum(file: Path) -> str:
    """Return the SHA-256 of *file*."""
    return sha256(file.read_bytes()).hexdigest()


def json_of(text: str, file: Path) -> dict[str, Any]:
    """Return the JSON object in *text*."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: {error or 'nested too deep'}") from None
    if not isinstance(content, dict):
        raise InputError(f"{file}: not a JSON object")
    return content


def seconds(value: Any, factor: float, where: str) -> float:
    """Return *value* times *factor* in seconds; InputError, with the field *where*, unless it is positive and short."""
    return positive(value, where, _LONGEST / factor) * factor


def positive(value: Any, where: str, most: float = 1e18) -> float:
    """Return *value* as a float; InputError, with the field *where*, unless it is above 0 and at most *most*."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number <= most:
        raise InputError(f"{where}: {str(value)[:40]!r} is not a valid measurement; it must be more than 0 and finite")
    return number
