"""``lbsim validate --targets``: accuracy targets of lbsim, and the accuracy reached.

Imports that only this option needs are inside the functions, to keep start-up short.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbsim.cli.options import RowFormat
from lbsim.cli.terminal import print_csv, print_json, print_table, progress
from lbsim.version import __version__

if TYPE_CHECKING:
    from lbsim.evaluation.targets import Line

__all__ = ["print_targets"]


def print_targets(cases: Path, output: RowFormat) -> None:
    """Print each target with the accuracy reached on *cases* and, in a source checkout, on its traces."""
    from lbsim.cli.tables.targets import targets_table
    from lbsim.evaluation.targets import PARTS, Place, in_order

    place = Place(cases)
    found: list[Line] = []
    with progress(len(PARTS)) as advance:
        for part in PARTS:
            found += part(place)
            advance(1)
    lines = in_order(found)
    if output is RowFormat.JSON:
        print_json({"targets": [_target_json(line) for line in lines], "lbsim": __version__})
    elif output is RowFormat.CSV:
        print_csv(_csv_row(_target_json(line)) for line in lines)
    else:
        print_table(targets_table(lines))


def _target_json(line: "Line") -> dict[str, Any]:
    from lbsim.evaluation.targets import reason

    return asdict(line) | {"reached": line.reached, "why": reason(line)}


def _csv_row(target: dict[str, Any]) -> dict[str, Any]:
    low, high = target.pop("share_aim") or (None, None)
    return target | {"share_aim_low": low, "share_aim_high": high}
