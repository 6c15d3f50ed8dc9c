"""What differs between two answers, as tables."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lbsim.cli.tables._layout import amount, heading
from lbsim.scenario.scenario import Scenario
from lbsim.units import DATA, SAMPLE_RATE, TIME
from lbsim.version import __version__

if TYPE_CHECKING:
    # for their names alone; they are imported where they are made, for start-up time
    from lbsim.cli.compare import Comparison, Difference

_ASKED = frozenset(Scenario.model_fields)


_WIDEST = 18
"""Characters of a value in a comparison; JSON has it whole."""


def comparison_table(comparison: "Comparison", names: tuple[str, str]) -> RenderableType:
    """Return each difference in what was asked of two scenarios, and each in what is answered."""
    first, second = (Path(name).name for name in names)
    return Group(
        Text(f"{first} against {second} (lbsim {__version__})", style="bold"),
        heading("Asked"),
        _differences(comparison.inputs, first, second),
        heading("Answered"),
        _differences(comparison.outputs, first, second, ratios=True),
    )


def _differences(differences: "Iterable[Difference]", *names: str, ratios: bool = False) -> RenderableType:
    """Return a row a difference, with *ratios* if they say something."""
    rows = [(row.path, _value(row.path, row.first), _value(row.path, row.second), row.ratio) for row in differences]
    if not rows:
        return Text("  no difference")
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("", overflow="fold")
    for name in (*names, "ratio") if ratios else names:
        table.add_column(_cut(name), justify="right", no_wrap=True)
    for path, first, second, ratio in rows:
        last = ["-" if ratio is None else f"{ratio:.3g}"] if ratios else []
        table.add_row(f"  {path}", _cut(first), _cut(second), *last)
    return table


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _value(path: str, value: object) -> str:
    """Return an answer with its unit, and what was asked as it stands."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return Path(value).name if path == "model" else value
    if not isinstance(value, int | float) or path.partition(".")[0] in _ASKED:
        return str(value)
    if path.startswith("memory"):
        return amount(value, DATA)
    if "efficiency" in path or path == "interval.level":
        return amount(value, None)
    return amount(value, SAMPLE_RATE if "throughput" in path else TIME)
