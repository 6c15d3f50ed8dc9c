"""Atomic write of a single figure."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from lbsim.errors import InputError
from lbsim.report.picture import STYLE
from lbsim.report.writer import save

__all__ = ["write_one"]


def write_one(draw: Callable[[], Figure], file: Path) -> None:
    """Write the figure that *draw* returns, in the style of a report, to *file*; InputError if that fails."""
    with mpl.rc_context(STYLE):
        figure = draw()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as made:
                saved = Path(made) / f"figure{file.suffix.lower()}"
                save(figure, saved)
                saved.chmod(0o644)
                saved.replace(file)
        except OSError as error:
            raise InputError(f"--figure {file}: {error.strerror}; choose a file that can be written") from None
