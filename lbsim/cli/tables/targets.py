"""Table of ``lbsim validate --targets``: accuracy targets, 80 columns wide."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding

from lbsim.cli.tables._layout import Columns, heading, paragraph
from lbsim.evaluation.targets.evaluate import TargetRow, reason

__all__ = ["targets_table"]

_Columns = tuple[tuple[str, int], ...]
_ERRORS: _Columns = (
    ("absolute relative errors", 28),
    ("rows", 4),
    *(("mean", 5), ("aim", 4)),
    *(("worst", 5), ("aim", 4)),
    ("in row", 15),
    ("", 8),
)
"""Column names and widths in characters."""
_SHARES: _Columns = (("shares of the rows", 47), ("rows", 4), ("share", 5), ("aim", 10), ("", 8))
_LEFT_ALIGNED = {"absolute relative errors", "shares of the rows", "in row", ""}


def targets_table(lines: Sequence[TargetRow]) -> RenderableType:
    """Return the errors by target, then the shares, then the reason for each target that is missed or not available."""
    errors = [one for one in lines if one.share_aim is None]
    shares = [one for one in lines if one.share_aim is not None]
    return Group(
        *_section(errors, _ERRORS, _error_cells),
        paragraph(""),
        *_section(shares, _SHARES, _share_cells),
        *_reasons(lines),
    )


def _section(
    lines: Sequence[TargetRow], columns: _Columns, cells: Callable[[TargetRow], tuple[str, ...]]
) -> Iterator[RenderableType]:
    yield _table(columns, [tuple(name for name, _ in columns)])
    for target, group in groupby(lines, key=lambda one: one.target):
        yield paragraph(target, "bold")
        yield _table(columns, [cells(one) for one in group])


def _table(columns: _Columns, rows: Sequence[tuple[str, ...]]) -> Columns:
    table = Columns(padding=(0, 1, 0, 0), show_header=False)
    for name, width in columns:
        left = name in _LEFT_ALIGNED
        table.column(width=width, justify="left" if left else "right", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.row(*row)
    return table


def _error_cells(one: TargetRow) -> tuple[str, ...]:
    mean, worst = _percent(one.mean, 1), _percent(one.worst)
    aims = _aim(one.mean_aim), _aim(one.worst_aim)
    return f"  {one.what}", _count(one), mean, aims[0], worst, aims[1], one.worst_id, one.verdict


def _share_cells(one: TargetRow) -> tuple[str, ...]:
    low, high = one.share_aim or (0.0, 1.0)
    aim = _aim(low) if low == high else f"{low:.0%} to {high:.0%}" if high < 1 else f"{low:.0%} up"
    return f"  {one.what}", _count(one), _percent(one.share), aim, one.verdict


def _reasons(lines: Sequence[TargetRow]) -> Iterator[RenderableType]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in lines:
        why = one.missing or reason(one)
        if why:
            reasons.setdefault((one.target, why), []).append(one.what)
    if reasons:
        yield heading("Reasons for missed and missing targets")
    for (target, why), whats in reasons.items():
        yield Padding(paragraph(f"{target} ({'; '.join(whats)}): {why}"), (0, 0, 0, 2))


def _count(one: TargetRow) -> str:
    return str(one.rows) if one.rows else ""


def _percent(share: float | None, digits: int = 0) -> str:
    return "" if share is None else f"{share:.{digits}%}"


def _aim(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.3g}%"
