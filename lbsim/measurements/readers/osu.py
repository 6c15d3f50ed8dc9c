"""Reader of the OSU micro-benchmarks' tables: osu_allreduce, osu_latency and osu_bw.

mvapich.cse.ohio-state.edu/benchmarks. They do not say how many ranks ran: that is the scenario's ``--gpus``. Times are
in microseconds, averaged over ranks, rates in 10^6 B/s. Of osu_bw, which has 64 messages under way at once, those from
1 MiB up are read: of shorter ones the pace at which they are sent counts, which lbsim does not model. Several tables
may follow one another.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from lbsim.errors import InputError
from lbsim.measurements.measurement import Measurement, Reading, positive, seconds

_TITLE = re.compile(r"^\s*# OSU MPI\S* (.*?) Test(?: v\S+)?\s*$")
_KINDS = {"Allreduce Latency": "all_reduce_time", "Latency": "message_time", "Bandwidth": "message_rate"}
_MICRO, _MEGA = 1e-6, 1e6
_LONG = 2**20
_FASTEST = 1e8
"""10^6 B/s: 100 TB/s."""


def knows(text: str) -> bool:
    """Return whether *text* has the title of an OSU benchmark."""
    return "# OSU MPI" in text


def read(text: str, file: Path) -> Reading:
    """Return the time or rate of each message."""
    found: list[Measurement] = []
    left_out: list[str] = []
    kind = ""
    for number, line in enumerate(text.splitlines(), start=1):
        match = _TITLE.match(line)
        if match:
            kind = _KINDS.get(match[1], "")
            if not kind:
                left_out.append(f"line {number}: {match[1]} is not predicted")
            continue
        cells = line.split()
        if kind and cells and cells[0].isdigit():
            if len(cells) < 2:
                raise InputError(f"{file}: line {number}: a size without a value; is the file cut off?")
            found.extend(_measured(kind, cells, number, file))
    return Reading(tuple(found), left_out=tuple(left_out))


def _measured(kind: str, cells: list[str], number: int, file: Path) -> Iterator[Measurement]:
    where = f"line {number}"
    if cells[0].strip("0") == "" or (kind == "message_rate" and int(cells[0]) < _LONG):
        return
    message = positive(cells[0], f"{file}: {where}, size")
    if kind == "message_rate":
        value = positive(cells[1], f"{file}: {where}, bandwidth", _FASTEST) * _MEGA
    else:
        value = seconds(cells[1], _MICRO, f"{file}: {where}, latency")
    yield Measurement(kind, value, where, message)
