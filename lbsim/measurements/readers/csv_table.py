"""Reader of CSV tables of measurements, whose header names ``quantity``, ``value`` and further columns.

``value`` has its unit (``12.5 ms``); ``message`` too, for what is of a message alone. ``relative_uncertainty`` and
every other column is optional: ``model``, and dotted paths such as ``plan.gpus``, which change the scenario where a
cell is not empty.
Lines that begin with # are comments.
"""

import csv
import io
from pathlib import Path

from lbsim.errors import InputError, unknown_name
from lbsim.measurements.measurement import Measurement, Reading, positive
from lbsim.measurements.quantities import ALL_REDUCES, QUANTITIES
from lbsim.units import DATA, DATA_RATE, TIME, Dimension

_MICROBENCHMARKS: dict[str, Dimension] = ALL_REDUCES | {"message_time": TIME, "message_rate": DATA_RATE}
_OWN = ("quantity", "value", "message", "relative_uncertainty", "model")
_MOST_UNCERTAIN = 10.0


def knows(text: str) -> bool:
    """Return whether the first line of *text* that is no comment names these columns."""
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    columns = [cell.strip() for cell in first.split(",")]
    return "quantity" in columns and "value" in columns


def read(text: str, file: Path) -> Reading:
    """Return the number in each line."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if _counts(line)]
    try:
        rows = list(csv.reader(io.StringIO("\n".join(line for _, line in lines)), strict=True))
    except csv.Error as error:
        raise InputError(f"{file}: {error}") from None
    names = [cell.strip() for cell in rows[0]]
    strange = [name for name in names if name not in _OWN and "." not in name]
    if strange:
        raise unknown_name(strange[0], f"{file}, line 1", _OWN, "a column is a dotted path or one of")
    found = []
    for (number, _), row in zip(lines[1:], rows[1:], strict=False):
        if len(row) != len(names):
            raise InputError(f"{file}: line {number}: {len(row)} cells, where the first line names {len(names)}")
        found.append(_measured(dict(zip(names, (cell.strip() for cell in row), strict=True)), number, file))
    return Reading(tuple(found))


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _measured(row: dict[str, str], number: int, file: Path) -> Measurement:
    where = f"{file}: line {number}"
    quantity = row["quantity"]
    dimensions = QUANTITIES | _MICROBENCHMARKS
    if quantity not in dimensions:
        raise unknown_name(quantity, f"{where}, quantity", dimensions)
    message = None
    if quantity in _MICROBENCHMARKS:
        message = _parsed(row.get("message", ""), DATA, f"{where}, message")
    uncertainty = row.get("relative_uncertainty", "")
    return Measurement(
        quantity,
        _parsed(row["value"], dimensions[quantity], f"{where}, value"),
        f"line {number}",
        message,
        positive(uncertainty, f"{where}, relative_uncertainty", _MOST_UNCERTAIN) if uncertainty else 0.0,
        {name: cell for name, cell in row.items() if name not in _OWN and cell},
        row.get("model", ""),
    )


def _parsed(text: str, dimension: Dimension | None, where: str) -> float:
    try:
        return positive(dimension.parse(text) if dimension else text, where)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
