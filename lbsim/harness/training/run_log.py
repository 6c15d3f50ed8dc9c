"""What a run leaves to be read: tables as CSV, in its output folder, and the same to TensorBoard if wanted.

The first column is always the step. A run that goes on from a checkpoint drops the rows after it, and a row that a
kill cut short, so that the tables read as if the run had never stopped.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lbsim.errors import InputError
from lbsim.harness.training.checkpoint import replace_with

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
"""The tables, each a file: ``steps.csv`` and so on."""


class Journal:
    """Adds rows to the tables in *folder*, from *step* on."""

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._files = {name: (folder / f"{name}.csv") for name in COLUMNS}
        for name, file in self._files.items():
            _cut(file, COLUMNS[name], step)
        self._streams = {name: file.open("a", newline="", encoding="utf-8") for name, file in self._files.items()}
        self._board = _board(folder, step) if tensorboard else None

    def add(self, table: str, row: Sequence[object]) -> None:
        """Add a row, and give it to the operating system at once."""
        stream = self._streams[table]
        csv.writer(stream, lineterminator="\n").writerow(row)
        stream.flush()
        if self._board is not None:
            _to_board(self._board, table, row)

    def close(self) -> None:
        """Close the files."""
        for stream in self._streams.values():
            stream.close()
        if self._board is not None:
            self._board.close()


def _cut(file: Path, columns: Sequence[str], step: int) -> None:
    """Leave the rows of *file* up to *step*; begin it if there is none."""
    whole = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    rows = [row for row in csv.reader(whole[1:]) if len(row) == len(columns) and int(row[0]) <= step]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    replace_with(file, text.getvalue().encode())


def _to_board(board: Any, table: str, row: Sequence[object]) -> None:
    where = f"{table}/{row[1]}" if COLUMNS[table][1] == "layer" else table
    for column, value in zip(COLUMNS[table][1:], row[1:], strict=True):
        if isinstance(value, int | float):
            board.add_scalar(f"{where}/{column}", value, row[0])


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  an optional library
    except ImportError:
        raise InputError("--tensorboard: needs tensorboard; pip install tensorboard") from None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
