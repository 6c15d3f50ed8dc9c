"""Output to the terminal or a pipe: results on standard output, errors, notes and progress on standard error.

Names are text: no escape sequence in them reaches the terminal, no markup in them reaches rich.

rich is imported inside the functions that print tables, to keep start-up short.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from lbsim.cli.standard_output import discard
from lbsim.printed_text import escaped, spreadsheet_cell

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["print_csv", "print_error", "print_json", "print_line", "print_note", "print_table", "progress"]


def print_json(content: dict[str, Any]) -> None:
    """Print *content* as JSON."""
    typer.echo(json.dumps(content, indent=2, allow_nan=False))


def print_line(text: str) -> None:
    """Print *text*, a result, as one line."""
    typer.echo(escaped(text))


def print_csv(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one or more *rows* with the same keys as CSV, with a header; None is an empty cell.

    No text is a formula to a spreadsheet, see `lbsim.printed_text.spreadsheet_cell`.
    """
    rows = list(rows)
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _csv_cell(value) for key, value in row.items()} for row in rows)
    typer.echo(sheet.getvalue(), nl=False)


def _csv_cell(value: Any) -> Any:
    return spreadsheet_cell(value) if isinstance(value, str) else value


def print_table(table: "RenderableType") -> None:
    """Print *table*, without colours or trailing blanks if standard output is a pipe; a line to paste is not cut."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table, crop=False)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_error(error: object) -> None:
    """Print *error* as one line on standard error."""
    print_note(str(error))


def print_note(text: str) -> None:
    """Print *text* as one line on standard error, beside a result that is valid; nothing if that cannot be written."""
    try:
        typer.echo(f"lbsim: {escaped(' '.join(text.split()))}", err=True)
    except OSError:
        discard(sys.stderr)


@contextmanager
def progress(total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error if that is a terminal; yield a function that advances it by a number."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        bar = bars.add_task("", total=total, completed=done)
        yield lambda more: bars.update(bar, advance=more)
