"""What the readers make of a file: measured numbers, and what a scenario must be changed by to predict each.

`lbsim.measurements.readers` has a file for each tool; `read` finds the one that knows a file by its content.
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
"""Seconds: no step or message takes a day."""


@dataclass(frozen=True)
class Measurement:
    """One number."""

    quantity: str
    """``all_reduce_time``, ``message_time``, ``message_rate``, or a key of a prediction."""
    value: float
    """SI."""
    where: str = ""
    """Field or line of the file, for errors."""
    message: float | None = None
    """Bytes."""
    relative_uncertainty: float = 0.0
    changes: Mapping[str, Any] = field(default_factory=dict)
    """By dotted path, of the scenario asked about."""
    model: str = ""
    """That was trained; nothing if it does not matter."""
    extremes: tuple[float, float] | None = None
    """Lowest and highest sample, where the value is the median of several."""


@dataclass(frozen=True)
class Reading:
    """All that one file says."""

    measurements: tuple[Measurement, ...]
    machine: str = ""
    """The accelerator, or the processor, in the tool's words; nothing if it does not say."""
    machine_where: str = ""
    """The field that says so."""
    left_out: tuple[str, ...] = ()
    """What cannot be used, and why."""


def read(file: Path) -> Reading:
    """Return what *file* says; InputError names the file, and the field or line that is wrong."""
    text = text_of(file)
    for name in module_names("readers"):
        reader = find_module("readers", name)
        if reader.knows(text):
            reading: Reading = reader.read(text, file)
            if not reading.measurements and not reading.left_out:
                raise InputError(f"{file}: no measurement in it that {name.replace('_', '-')} files have")
            return reading
    known = ", ".join(name.replace("_", "-") for name in module_names("readers"))
    raise InputError(f"{file}: no trace that is known, which are: {known}; it may be cut off")


def text_of(file: Path) -> str:
    """Return the content of *file*."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputError(f"{file}: {file.stat().st_size:,} bytes are more than the {_MOST_BYTES:,} that are read")
        return file.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: byte {error.start} is no UTF-8 text") from None


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
        raise InputError(f"{file}: no JSON object")
    return content


def seconds(value: Any, factor: float, where: str) -> float:
    """Return *value* times *factor*, seconds that can have been measured; InputError names *where* it stands."""
    return positive(value, where, _LONGEST / factor) * factor


def positive(value: Any, where: str, most: float = 1e18) -> float:
    """Return *value*, a number above zero and no more than *most*; InputError names *where* it stands."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number <= most:
        raise InputError(f"{where}: {str(value)[:40]!r} cannot have been measured; it must be more than 0 and finite")
    return number
