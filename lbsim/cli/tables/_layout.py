"""What tables are made of: headings, pairs, shares and numbers with their units."""

import math
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from lbsim.units import Dimension


def heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(min_width=26)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(f"  {name}"), Text(value))
    return table


def shares(parts: Iterable[tuple[str, float]], whole: float) -> Table:
    """Return *parts*, in seconds, each with its share of the *whole*."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(min_width=26)
    table.add_column(justify="right")
    table.add_column(justify="right")
    for name, seconds in parts:
        table.add_row(f"  {name}", f"{seconds * 1e3:,.2f} ms", f"{seconds / whole:.1%}")
    return table


def amount(value: float, dimension: Dimension | None) -> str:
    return f"{value:.3f}" if dimension is None else dimension.short(value)


def percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{share:.{digits}%}"


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def significant(value: float, digits: int = 4) -> str:
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(value)))}f}" if value > 0 else "0"
