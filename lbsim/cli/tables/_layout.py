"""Parts of tables: text, columns, headings, pairs, shares, and numbers with units.

The tables get every text and every table of rich from here: names are text, never rich's markup, and are escaped.
"""

import math
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from lbsim.printed_text import escaped
from lbsim.units import Dimension

__all__ = [
    "Columns",
    "amount",
    "counted",
    "heading",
    "pairs",
    "paragraph",
    "percent",
    "shares",
    "significant",
    "unwrapped",
]


def paragraph(text: str, style: str = "") -> Text:
    """Return *text* as one paragraph, its control characters escaped; *style* is rich's."""
    return Text(escaped(text), style)


def heading(text: str) -> Text:
    """Return *text* in bold, after an empty line."""
    return Text(f"\n{escaped(text)}", style="bold")


def unwrapped(text: str) -> Text:
    """Return *text* to paste: one line, however long, from the first column on."""
    return Text(escaped(text), no_wrap=True, overflow="ignore")


class Columns:
    """Table without boxes whose cells are text; *options* are those of rich's Table."""

    def __init__(self, **options: Any) -> None:
        self._table = Table(box=None, pad_edge=False, header_style="", **options)

    def column(self, header: str = "", footer: str = "", **options: Any) -> None:
        """Add a column; *options* are those of rich's columns."""
        self._table.add_column(paragraph(header), paragraph(footer), **options)

    def row(self, *cells: str | Text) -> None:
        """Add a row of one cell per column, or fewer."""
        self._table.add_row(*(paragraph(cell) if isinstance(cell, str) else cell for cell in cells))

    def __rich__(self) -> Table:
        return self._table


def pairs(rows: Iterable[tuple[str, str]]) -> Columns:
    """Return a table of names and values."""
    table = Columns(show_header=False)
    table.column(min_width=26, overflow="fold")
    table.column(overflow="fold")
    for name, value in rows:
        table.row(f"  {name}", value)
    return table


def shares(parts: Iterable[tuple[str, float]], total: float) -> Columns:
    """Return *parts* in milliseconds, each with its share of the *total*; all arguments are in seconds."""
    table = Columns(show_header=False)
    table.column(min_width=26)
    table.column(justify="right")
    table.column(justify="right")
    for name, seconds in parts:
        table.row(f"  {name}", f"{seconds * 1e3:,.2f} ms", f"{seconds / total:.1%}")
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
