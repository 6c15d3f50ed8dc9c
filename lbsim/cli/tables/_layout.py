"""Parts of tables: headings, pairs, shares, and numbers with units."""

import math
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from lbsim.units import Dimension

__all__ = ["amount", "counted", "heading", "pairs", "percent", "shares", "significant"]


def heading(text: str) -> Text:
    """Return *text* in bold, after an empty line."""
    return Text(f"\n{text}", style="bold")


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """Return a table of names and values."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(min_width=26)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(f"  {name}"), Text(value))
    return table


def shares(parts: Iterable[tuple[str, float]], total: float) -> Table:
    """Return *parts* in milliseconds, each with its share of the *total*; all arguments are in seconds."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(min_width=26)
    table.add_column(justify="right")
    table.add_column(justify="right")
    for name, seconds in parts:
        table.add_row(f"  {name}", f"{seconds * 1e3:,.2f} ms", f"{seconds / total:.1%}")
    return table


def amount(value: float, dimension: Dimension | None) -> str:
    """Return *value*, in SI units, with a unit of *dimension*; three decimals if it has none."""
    return f"{value:.3f}" if dimension is None else dimension.short(value)


def percent(share: float | None, digits: int = 1) -> str:
    """Return *share* as a percentage, or a hyphen for None."""
    return "-" if share is None else f"{share:.{digits}%}"


def counted(count: int, noun: str) -> str:
    """Return *count* with *noun* in the singular or plural."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def significant(value: float, digits: int = 4) -> str:
    """Return *value* rounded to at least *digits* significant digits, without a power of ten."""
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(value)))}f}" if value > 0 else "0"
