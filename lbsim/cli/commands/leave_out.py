"""``lbsim validate --leave-out``: cross-validation, with one system, scale or model held out at a time.

Imports that only this option needs are inside the functions, to keep start-up short.
"""

from dataclasses import asdict
from pathlib import Path

from lbsim.cli.options import RowFormat
from lbsim.cli.terminal import print_csv, print_json, print_table
from lbsim.errors import unknown_name
from lbsim.version import __version__

__all__ = ["print_left_out"]


def print_left_out(text: str, cases: Path, output: RowFormat) -> None:
    """Print the errors of held-out observations, one row for each class.

    *text* is what is held out: system, scale or model. Raises InputError for anything else.
    """
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
        from lbsim.cli.tables.leave_out import leave_out_table

        print_table(leave_out_table(found))
