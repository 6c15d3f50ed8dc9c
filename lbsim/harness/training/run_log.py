"""Run log: CSV tables in the output folder, and the same values for TensorBoard on request.

The first column is the step. A resumed run removes the rows after its checkpoint and an incomplete last row, so that
the tables are those of an uninterrupted run.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lbsim.atomic_write import write_atomically
from lbsim.errors import InputError

__all__ = ["COLUMNS", "RunLog"]

COLUMNS = {
    "steps": ("step", "epoch", "rate", "loss", "accuracy", "loss_scale", "skipped"),
    "epochs": ("step", "epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "seconds"),
    "layers": ("step", "layer", "weight_norm", "gradient_norm", "update_norm", "update_ratio", "local_rate"),
    "noise_scale": (
        "step",
        "batch",
        "squared_gradient",
        "gradient_variance",
        "average_squared_gradient",
        "average_gradient_variance",
        "noise_scale",
    ),
    "activations": ("step", "layer", "mean", "standard_deviation", "min", "p1", "p25", "p50", "p75", "p99", "max"),
}
"""Columns of each table; the table ``steps`` is in the file ``steps.csv``."""


class RunLog:
    """Appends rows to the tables in *folder*, after *step*; raises OSError if the folder cannot be written to."""

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._files = {name: (folder / f"{name}.csv") for name in COLUMNS}
        for name, file in self._files.items():
            _truncate(file, COLUMNS[name], step)
        self._streams = {name: file.open("a", newline="", encoding="utf-8") for name, file in self._files.items()}
        self._board = _summary_writer(folder, step) if tensorboard else None

    def add(self, table: str, row: Sequence[object]) -> None:
        """Append a row and flush it to the operating system."""
        stream = self._streams[table]
        csv.writer(stream, lineterminator="\n").writerow(row)
        stream.flush()
        if self._board is not None:
            _add_scalars(self._board, table, row)

    def close(self) -> None:
        """Close the files."""
        for stream in self._streams.values():
            stream.close()
        if self._board is not None:
            self._board.close()


def _truncate(file: Path, columns: Sequence[str], step: int) -> None:
    """Remove the rows of *file* after *step*; create the file if there is none."""
    complete = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    rows = [row for row in csv.reader(complete[1:]) if len(row) == len(columns) and int(row[0]) <= step]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_atomically(text.getvalue(), file)


def _add_scalars(board: Any, table: str, row: Sequence[object]) -> None:
    tag = f"{table}/{row[1]}" if COLUMNS[table][1] == "layer" else table
    for column, value in zip(COLUMNS[table][1:], row[1:], strict=True):
        if isinstance(value, int | float):
            board.add_scalar(f"{tag}/{column}", value, row[0])


def _summary_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  an optional library
    except ImportError:
        raise InputError("--tensorboard: needs tensorboard; pip install tensorboard") from None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
