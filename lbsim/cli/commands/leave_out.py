"""``lbsim validate --leave-out``: how well observations are predicted from others that the fit has seen.

What the command alone needs is imported where it is used: late, for start-up time alone.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lbsim.cli.options import RowFormat
from lbsim.cli.terminal import print_csv, print_json, print_table
from lbsim.errors import unknown_name
from lbsim.version import __version__

if TYPE_CHECKING:
    from rich.table import Table

    from lbsim.evaluation.cross_validation.summary import Summary


def left_out(text: str, cases: Path, output: RowFormat) -> None:
    """Leave out each system, scale or model, whichever *text* says, and print one line for each class."""
    from lbsim.evaluation.cross_validation.folds import KINDS
    from lbsim.evaluation.cross_validation.leave_out import leave_out
    from lbsim.evaluation.cross_validation.summary import summaries

    kind = next((kind for kind in KINDS if kind == text), None)
    if kind is None:
        raise unknown_name(text, "--leave-out", KINDS)
    found = summaries(kind, leave_out(kind, cases))
    if output is RowFormat.JSON:
        print_json({"leave_out": kind, "classes": [asdict(one) for one in found], "lbsim": __version__})
    elif output is RowFormat.CSV:
        print_csv(asdict(one) | {"target": one.target and f"{one.target.mean}/{one.target.worst}"} for one in found)
    else:
        print_table(_table(found))


def _table(found: "list[Summary]") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("class")
    for name in ("rows", "mean", "worst", "asked", "inside", "width"):
        table.add_column(name, justify="right")
    for one in found:
        asked = f"{one.target.mean:.1%}/{one.target.worst:.0%}" if one.target else ""
        missed = {None: "", True: "", False: " missed"}[one.reached]
        table.add_row(
            one.class_,
            f"{one.count - one.outliers}",
            f"{one.mean:.1%}",
            f"{one.worst:.0%} {one.worst_id}",
            asked + missed,
            "-" if one.coverage is None else f"{one.coverage:.0%} of {one.count}",
            "-" if one.factor is None else f"x/÷ {1 + one.factor:.2f}",
        )
    return table
