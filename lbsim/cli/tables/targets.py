"""Table of ``lbsim validate --targets``: accuracy targets, 80 columns wide."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

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
    errors = [line for line in lines if line.share_aim is None]
    shares = [line for line in lines if line.share_aim is not None]
    return Group(
        *_section(errors, _ERRORS, _error_cells), Text(), *_section(shares, _SHARES, _share_cells), *_reasons(lines)
    )


def _section(
    lines: Sequence[TargetRow], columns: _Columns, cells: Callable[[TargetRow], tuple[str, ...]]
) -> Iterator[RenderableType]:
    yield _table(columns, [tuple(name for name, _ in columns)])
    for target, group in groupby(lines, key=lambda line: line.target):
        yield Text(target, style="bold")
        yield _table(columns, [cells(line) for line in group])


def _table(columns: _Columns, rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    for name, width in columns:
        left = name in _LEFT_ALIGNED
        table.add_column(width=width, justify="left" if left else "right", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    return table


def _error_cells(line: TargetRow) -> tuple[str, ...]:
    mean, worst = _percent(line.mean, 1), _percent(line.worst)
    aims = _aim(line.mean_aim), _aim(line.worst_aim)
    return f"  {line.what}", _count(line), mean, aims[0], worst, aims[1], line.worst_id, line.verdict


def _share_cells(line: TargetRow) -> tuple[str, ...]:
    low, high = line.share_aim or (0.0, 1.0)
    aim = _aim(low) if low == high else f"{low:.0%} to {high:.0%}" if high < 1 else f"{low:.0%} up"
    return f"  {line.what}", _count(line), _percent(line.share), aim, line.verdict


def _reasons(lines: Sequence[TargetRow]) -> Iterator[RenderableType]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        why = line.missing or reason(line)
        if why:
            reasons.setdefault((line.target, why), []).append(line.what)
    if reasons:
        yield Text("\nReasons for missed and missing targets", style="bold")
    for (target, why), whats in reasons.items():
        yield Padding(Text(f"{target} ({'; '.join(whats)}): {why}"), (0, 0, 0, 2))


def _count(line: TargetRow) -> str:
    return str(line.rows) if line.rows else ""


def _percent(share: float | None, digits: int = 0) -> str:
    return "" if share is None else f"{share:.{digits}%}"


def _aim(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.3g}%"
