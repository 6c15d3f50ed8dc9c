"""``lbsim validate --targets``: what lbsim was to reach, and what it does.

What the command alone needs is imported where it is used: late, for start-up time alone.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbsim.cli.options import RowFormat
from lbsim.cli.terminal import print_csv, print_json, print_table, progress
from lbsim.version import __version__

if TYPE_CHECKING:
    from lbsim.evaluation.targets.evaluate import Outcomes, TargetRow


def targets(cases: Path, output: RowFormat) -> None:
    """Work out each target's line from *cases*, and from the traces of a source checkout, and print them."""
    from lbsim.cli.tables.targets import of_lines
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
        print_json({"targets": [_answer(line) for line in lines], "lbsim": __version__})
    elif output is RowFormat.CSV:
        print_csv(_flat(_answer(line)) for line in lines)
    else:
        print_table(of_lines(lines))


def _answer(line: "TargetRow") -> dict[str, Any]:
    from lbsim.evaluation.targets.evaluate import reason

    return asdict(line) | {"reached": line.reached, "why": reason(line)}


def _flat(answer: dict[str, Any]) -> dict[str, Any]:
    low, high = answer.pop("share_aim") or (None, None)
    return answer | {"share_aim_low": low, "share_aim_high": high}
