"""Reader of the table and the JSON of NVIDIA nccl-tests' ``all_reduce_perf``.

github.com/NVIDIA/nccl-tests, src/common.cu and src/util.cu. The time of the reduction in place is taken, as training
reduces gradients, or out of place if that is all there is. Microseconds.
"""

import re
from pathlib import Path
from typing import Any

from lbsim.errors import InputError
from lbsim.measurements.measurement import Measurement, Reading, json_of, positive, seconds

_MICRO = 1e-6
_RANK = re.compile(r"^#\s+Rank\s+(\d+)\s.*\]\s+(\S.*?)\s*$", re.MULTILINE)
_COLUMNS = 13
"""Of a line: size, count, type, operation, root and twice time, two bandwidths and errors."""


def knows(text: str) -> bool:
    """Return whether *text* is a table of nccl-tests, or its JSON."""
    if text.lstrip().startswith("{"):
        return '"nccl_version"' in text and '"out_of_place"' in text
    return "#" in text and "busbw" in text and "algbw" in text


def read(text: str, file: Path) -> Reading:
    """Return the time of each message."""
    return _of_json(json_of(text, file), file) if text.lstrip().startswith("{") else _of_table(text, file)


def _of_table(text: str, file: Path) -> Reading:
    if any(other in text for other in ("alltoall_perf", "all_gather_perf", "broadcast_perf", "reduce_scatter_perf")):
        raise InputError(f"{file}: of nccl-tests only all_reduce_perf is read")
    ranks = {int(rank): name for rank, name in _RANK.findall(text)}
    gpus = {"plan.gpus": len(ranks)} if ranks else {}
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells or not cells[0].isdigit() or line.lstrip().startswith("#"):
            continue
        where = f"line {number}"
        if len(cells) < _COLUMNS - 1 or "sum" not in cells:
            raise InputError(f"{file}: {where}: {len(cells)} columns, where nccl-tests prints {_COLUMNS}")
        time = cells[-4] if cells[-4] != "N/A" else cells[-8]
        if int(cells[0]) == 0:
            continue
        message = positive(cells[0], f"{file}: {where}, size")
        found.append(_measured(time, message, where, f"{file}: {where}, time", gpus))
    return Reading(tuple(found), next(iter(ranks.values()), ""), "the line of rank 0")


def _of_json(content: dict[str, Any], file: Path) -> Reading:
    rows, config = content.get("results"), content.get("config")
    if not isinstance(rows, list):
        raise InputError(f"{file}: results: no list")
    devices = config.get("devices") if isinstance(config, dict) else None
    ranks = [one for one in devices if isinstance(one, dict)] if isinstance(devices, list) else []
    gpus = {"plan.gpus": len(ranks)} if ranks else {}
    found = []
    for number, row in enumerate(rows):
        where = f"results.{number}"
        body = (row.get("in_place") or row.get("out_of_place")) if isinstance(row, dict) else None
        if not isinstance(body, dict) or "time" not in body:
            raise InputError(f"{file}: {where}: neither in_place.time nor out_of_place.time")
        if row.get("size") == 0:
            continue
        message = positive(row.get("size"), f"{file}: {where}.size")
        found.append(_measured(body["time"], message, where, f"{file}: {where}.time", gpus))
    machine = next((str(rank.get("device_info", "")) for rank in ranks), "")
    return Reading(tuple(found), machine, "config.devices.0.device_info")


def _measured(time: Any, message: float, where: str, field: str, changes: dict[str, int]) -> Measurement:
    return Measurement("all_reduce_time", seconds(time, _MICRO, field), where, message, 0.0, changes)
