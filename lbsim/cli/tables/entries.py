"""Table of ``lbsim profiles list``."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import RenderableType

from lbsim.cli.tables._layout import Columns, paragraph

if TYPE_CHECKING:
    # for annotations; importing them here would lengthen start-up
    from lbsim.cli.profile_listing import Entry

__all__ = ["entries_table"]

_NAME = 40
"""Characters of a name before it is wrapped."""


def entries_table(entries: "Iterable[Entry]") -> RenderableType:
    """Return names and descriptions, grouped by kind."""
    table = Columns(show_header=False)
    table.column(overflow="fold", max_width=_NAME)
    table.column(overflow="fold")
    kind = ""
    for entry in entries:
        if entry.kind != kind:
            if kind:
                table.row()
            table.row(paragraph(entry.kind, "bold"))
        kind = entry.kind
        table.row(f"  {entry.name}", entry.description)
    return table
