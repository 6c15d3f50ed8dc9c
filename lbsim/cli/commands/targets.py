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
    from lbsim.evaluation.targets.evaluate import Outcomes, TargetRow

__all__ = ["print_targets"]


def print_targets(cases: Path, output: RowFormat) -> None:
    """Print each target with the accuracy reached on *cases* and, in a source checkout, on its traces."""
    from lbsim.cli.tables.targets import targets_table
    from lbsim.evaluation.targets.data import TargetData
    from lbsim.evaluation.targets.evaluate import rows
    from lbsim.evaluation.targets.experiments import EXPERIMENTS

    data = TargetData(cases)
    outcomes: dict[str, Outcomes] = {}
    with progress(len(EXPERIMENTS)) as advance:
        for name, experiment in EXPERIMENTS.items():
            outcomes[name] = experiment(data)
            advance(1)
    lines = rows(outcomes, str(cases))
    if output is RowFormat.JSON:
        print_json({"targets": [_target_json(line) for line in lines], "lbsim": __version__})
    elif output is RowFormat.CSV:
        print_csv(_csv_row(_target_json(line)) for line in lines)
    else:
        print_table(targets_table(lines))


def _target_json(line: "TargetRow") -> dict[str, Any]:
    from lbsim.evaluation.targets.evaluate import reason

    return asdict(line) | {"reached": line.reached, "why": reason(line)}


def _csv_row(target: dict[str, Any]) -> dict[str, Any]:
    low, high = target.pop("share_aim") or (None, None)
    return target | {"share_aim_low": low, "share_aim_high": high}
