"""Table of ``lbsim validate --leave-out``: errors of held-out observations, by class."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lbsim.cli.tables._layout import Columns

if TYPE_CHECKING:
    # for annotations; importing them here would lengthen start-up
    from lbsim.evaluation.cross_validation.summary import Summary

__all__ = ["leave_out_table"]


def leave_out_table(found: "Iterable[Summary]") -> Columns:
    """Return one row for each class: errors, the target of both, and the coverage and width of the intervals."""
    table = Columns()
    table.column("class", overflow="fold")
    for name in ("rows", "mean", "worst", "target", "inside", "width"):
        table.column(name, justify="right")
    for one in found:
        target = f"{one.target.mean:.1%}/{one.target.worst:.0%}" if one.target else ""
        missed = {None: "", True: "", False: " missed"}[one.reached]
        table.row(
            one.class_,
            f"{one.count - one.outliers}",
            f"{one.mean:.1%}",
            f"{one.worst:.0%} {one.worst_id}",
            target + missed,
            "-" if one.coverage is None else f"{one.coverage:.0%} of {one.count}",
            "-" if one.factor is None else f"x/÷ {1 + one.factor:.2f}",
        )
    return table
