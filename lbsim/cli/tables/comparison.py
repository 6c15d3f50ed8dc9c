"""Table of ``lbsim compare``: differences in inputs and in predictions."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from lbsim.cli.tables._layout import Columns, amount, heading, paragraph
from lbsim.scenario.scenario import Scenario
from lbsim.units import DATA, SAMPLE_RATE, TIME
from lbsim.version import __version__

if TYPE_CHECKING:
    # for annotations; importing them here would lengthen start-up
    from lbsim.cli.compare import Comparison, Difference

__all__ = ["comparison_table"]

_INPUTS = frozenset(Scenario.model_fields)
"""First parts of the paths of inputs."""


_WIDEST = 18
"""Characters of a value; the JSON output is not cut."""


def comparison_table(comparison: "Comparison", names: tuple[str, str]) -> RenderableType:
    """Return the differences between two scenarios, and between their predictions; *names* are their files."""
    first, second = (Path(name).name for name in names)
    return Group(
        paragraph(f"{first} against {second} (lbsim {__version__})", "bold"),
        heading("Inputs"),
        _differences(comparison.inputs, first, second),
        heading("Predictions"),
        _differences(comparison.outputs, first, second, ratios=True),
    )


def _differences(differences: "Iterable[Difference]", *names: str, ratios: bool = False) -> RenderableType:
    """Return one row for each difference, with *ratios* of second to first if wanted."""
    rows = [(row.path, _value(row.path, row.first), _value(row.path, row.second), row.ratio) for row in differences]
    if not rows:
        return paragraph("  no difference")
    table = Columns()
    table.column(overflow="fold")
    for name in (*names, "ratio") if ratios else names:
        table.column(_cut(name), justify="right", no_wrap=True)
    for path, first, second, ratio in rows:
        last = ["-" if ratio is None else f"{ratio:.3g}"] if ratios else []
        table.row(f"  {path}", _cut(first), _cut(second), *last)
    return table


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _value(path: str, value: object) -> str:
    """Return a predicted value with its unit, and an input as it is written."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return Path(value).name if path == "model" else value
    if not isinstance(value, int | float) or path.partition(".")[0] in _INPUTS:
        return str(value)
    if path.startswith("memory"):
        return amount(value, DATA)
    if "efficiency" in path or path == "interval.level":
        return amount(value, None)
    return amount(value, SAMPLE_RATE if "throughput" in path else TIME)
