"""Draws every figure of a report and writes its folder: whole files or none."""

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
from lbsim.report.page import Drawn, page
from lbsim.report.picture import STYLE, NothingToDraw
from lbsim.report.subject import Subject

FORMATS = ("png", "svg", "pdf")
_DPI = 110
_COLOURS = 96
"""Of a PNG."""
_COLUMNS = ("figure", "series", "x", "y", "low", "high", "unit")


@dataclass(frozen=True)
class Report:
    """What is drawn, and the command and the words above it."""

    title: str
    subject: Subject
    command: str
    only: tuple[str, ...] = ()
    """Figures by name; all if none is named."""


def draw_all(report: Report) -> Iterator[Drawn]:
    """Yield each figure of *report*, or why there is none, in the order in which they are read."""
    modules = [find_module("figures", name) for name in report.only or module_names("figures")]
    for module in sorted(modules, key=lambda module: int(module.PLACE)):
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        try:
            yield Drawn(name, module.TITLE, module.draw(report.subject), "")
        except NothingToDraw as reason:
            yield Drawn(name, module.TITLE, None, str(reason))


def write(report: Report, folder: Path) -> list[Path]:
    """Write *report* into *folder* and return its files, the page first.

    All is made in a folder beside it and moved at the end, the page last: who interrupts leaves what was there.
    """
    with _made_beside(folder) as made, mpl.rc_context(STYLE):
        drawn, pictures = [], {}
        for one in draw_all(report):
            drawn.append(one)
            if one.picture is not None:
                _lay_out(one.picture.figure)
                for suffix in FORMATS:
                    save(one.picture.figure, made / f"{one.name}.{suffix}")
                pictures[one.name] = (made / f"{one.name}.svg").read_bytes()
        _write_numbers(made / "numbers.csv", drawn)
        text = page(report.title, report.command, report.subject, drawn, pictures)
        (made / "index.html").write_text(text, encoding="utf-8")
        names = sorted((file.name for file in made.iterdir()), key=lambda name: name == "index.html")
        for name in names:
            (made / name).replace(folder / name)
    return [folder / name for name in reversed(names)]


def _lay_out(figure: Figure) -> None:
    """Place what is on *figure* now, once for all formats."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def save(figure: Figure, file: Path) -> None:
    """Write *figure* without a date, so that the same report is the same files.

    For size, PNG has a palette and SVG no more than two decimals, of a point, and no blanks between its elements.
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
def _made_beside(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside *folder*, which is made too; InputError if either cannot be written to."""
    made: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
        yield made
    except OSError as error:
        raise InputError(f"--out {folder}: {error.strerror}; write the path of a folder that can be written") from None
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _write_numbers(file: Path, drawn: list[Drawn]) -> None:
    """Write every number that was drawn; x is as the figure's axis says, times in the unit that stands beside."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(_COLUMNS)
        for one in drawn:
            for number in one.picture.numbers if one.picture else ():
                values = (number.x, number.y, number.low, number.high)
                table.writerow([one.name, number.series, *map(_told, values), number.unit])


def _told(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.6g}"
