"""Writer of a report's folder: figures, numbers and page, each file complete or absent."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from lbsim.atomic_write import check_writable, write_all_atomically
from lbsim.profiles.module_catalog import find_module, module_names
from lbsim.report.page import ReportFigure, page
from lbsim.report.picture import STYLE, NothingToDraw
from lbsim.report.scenarios import ReportScenarios

__all__ = ["FORMATS", "Report", "draw_all", "figure_file", "write"]

FORMATS = ("png", "svg", "pdf")
_DPI = 110
_COLOURS = 96
"""Colours of a PNG's palette."""
_PAGE = "index.html"
_COLUMNS = ("figure", "series", "x", "y", "low", "high", "unit")


@dataclass(frozen=True)
class Report:
    """Scenarios to draw, with the title and the command that the page shows."""

    title: str
    scenarios: ReportScenarios
    command: str
    only: tuple[str, ...] = ()
    """Names of the figures to draw; empty for all."""


def draw_all(report: Report) -> Iterator[ReportFigure]:
    """Yield the figures of *report* in the order of the page; a figure with nothing to show has a reason instead."""
    modules = [find_module("figures", name) for name in report.only or module_names("figures")]
    for module in sorted(modules, key=lambda module: int(module.ORDER)):
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        try:
            yield ReportFigure(name, module.TITLE, module.draw(report.scenarios), "")
        except NothingToDraw as reason:
            yield ReportFigure(name, module.TITLE, None, str(reason))


def write(report: Report, folder: Path) -> list[Path]:
    """Write *report* into *folder*, which is created, and return its files, the page first.

    The old files are replaced, the page last, after all new ones are complete. InputError if one cannot be written.
    """
    check_writable(folder / _PAGE)
    contents: dict[Path, str | bytes] = {}
    drawn, pictures = [], {}
    with mpl.rc_context(STYLE):
        for one in draw_all(report):
            drawn.append(one)
            if one.picture is not None:
                _lay_out(one.picture.figure)
                files = {suffix: figure_file(one.picture.figure, suffix) for suffix in FORMATS}
                contents |= {folder / f"{one.name}.{suffix}": content for suffix, content in files.items()}
                pictures[one.name] = files["svg"]
    contents[folder / "numbers.csv"] = _numbers(drawn)
    contents = dict(sorted(contents.items()))
    contents[folder / _PAGE] = page(report.title, report.command, report.scenarios, drawn, pictures)
    write_all_atomically(contents)
    return list(reversed(contents))


def _lay_out(figure: Figure) -> None:
    """Compute the layout of *figure* once, for all formats."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def figure_file(figure: Figure, suffix: str) -> bytes:
    """Return *figure* in the format *suffix*, without a date, so that equal reports are equal files.

    To save space, PNG has a palette, and SVG has two decimals of a point and no blanks between elements.
    """
    file = io.BytesIO()
    if suffix == "png":
        pixels = io.BytesIO()
        figure.savefig(pixels, dpi=_DPI)
        Image.open(pixels).convert("RGB").quantize(_COLOURS).save(file, "PNG")
    elif suffix == "svg":
        figure.savefig(file, format="svg", metadata={"Date": None})
        return re.sub(rb">\s+<", b">\n<", re.sub(rb"(\d\.\d\d)\d+", rb"\1", file.getvalue()))
    else:
        figure.savefig(file, format=suffix, metadata={"CreationDate": None})
    return file.getvalue()


def _numbers(drawn: list[ReportFigure]) -> str:
    """Return the numbers of all figures as CSV; the unit of x is on the figure's axis, that of y in the last column."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for one in drawn:
        for number in one.picture.numbers if one.picture else ():
            values = (number.x, number.y, number.low, number.high)
            table.writerow([one.name, number.series, *map(_csv_value, values), number.unit])
    return text.getvalue()


def _csv_value(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.6g}"
