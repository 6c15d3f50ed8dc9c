"""Table of ``lbsim profiles list``."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    # for annotations; importing them here would lengthen start-up
    from lbsim.cli.profile_listing import Entry

__all__ = ["entries_table"]


def entries_table(entries: "Iterable[Entry]") -> RenderableType:
    """Return names and descriptions, grouped by kind."""
    table = Table(box=None, show_header=False, pad_edge=False)
    kind = ""
    for entry in entries:
        if entry.kind != kind:
            if kind:
                table.add_row()
            table.add_row(Text(entry.kind, style="bold"))
        kind = entry.kind
        table.add_row(Text(f"  {entry.name}", no_wrap=True), Text(entry.description))
    return table
