"""Atomic write of a single figure."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from lbsim.atomic_write import write_atomically
from lbsim.report.picture import STYLE
from lbsim.report.writer import figure_file

__all__ = ["write_one"]


def write_one(draw: Callable[[], Figure], file: Path) -> None:
    """Write the figure that *draw* returns, in the style of a report, to *file*; InputError if that fails."""
    with mpl.rc_context(STYLE):
        write_atomically(figure_file(draw(), file.suffix.lower().removeprefix(".")), file)
