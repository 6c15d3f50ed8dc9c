"""Writer of a report's folder: figures, numbers and page, each file complete or absent."""

import csv
import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from lbsim.errors import InputError
from lbsim.profiles.module_catalog import find_module, module_names
from lbsim.report.page import ReportFigure, page
from lbsim.report.picture import STYLE, NothingToDraw
from lbsim.report.scenarios import ReportScenarios

__all__ = ["FORMATS", "Report", "draw_all", "save", "write"]

FORMATS = ("png", "svg", "pdf")
_DPI = 110
_COLOURS = 96
"""Colours of a PNG's palette."""
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
    """Write *report* into *folder* and return its files, the page first.

    Files are made in a temporary folder and moved at the end, the page last: an interrupted report changes nothing.
    """
    with _temporary_folder(folder) as made, mpl.rc_context(STYLE):
        drawn, pictures = [], {}
        for one in draw_all(report):
            drawn.append(one)
            if one.picture is not None:
                _lay_out(one.picture.figure)
                for suffix in FORMATS:
                    save(one.picture.figure, made / f"{one.name}.{suffix}")
                pictures[one.name] = (made / f"{one.name}.svg").read_bytes()
        _write_numbers(made / "numbers.csv", drawn)
        text = page(report.title, report.command, report.scenarios, drawn, pictures)
        (made / "index.html").write_text(text, encoding="utf-8")
        names = sorted((file.name for file in made.iterdir()), key=lambda name: name == "index.html")
        for name in names:
            (made / name).replace(folder / name)
    return [folder / name for name in reversed(names)]


def _lay_out(figure: Figure) -> None:
    """Compute the layout of *figure* once, for all formats."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def save(figure: Figure, file: Path) -> None:
    """Write *figure* without a date, so that equal reports are equal files.

    To save space, PNG has a palette, and SVG has two decimals of a point and no blanks between elements.
    """
    if file.suffix == ".png":
        pixels = io.BytesIO()
        figure.savefig(pixels, dpi=_DPI)
        Image.open(pixels).convert("RGB").quantize(_COLOURS).save(file)
    elif file.suffix == ".svg":
        drawing = io.BytesIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None})
        file.write_bytes(re.sub(rb">\s+<", b">\n<", re.sub(rb"(\d\.\d\d)\d+", rb"\1", drawing.getvalue())))
    else:
        figure.savefig(file, metadata={"CreationDate": None})


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """Make *folder*, and yield a temporary folder in it; InputError if either cannot be written to."""
    made: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
        yield made
    except OSError as error:
        raise InputError(f"--out {folder}: {error.strerror}; choose a folder that can be written") from None
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _write_numbers(file: Path, drawn: list[ReportFigure]) -> None:
    """Write every number of the figures; the unit of x is on the figure's axis, that of y in the last column."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(_COLUMNS)
        for one in drawn:
            for number in one.picture.numbers if one.picture else ():
                values = (number.x, number.y, number.low, number.high)
                table.writerow([one.name, number.series, *map(_csv_value, values), number.unit])


def _csv_value(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.6g}"
