"""Published convergence results: epochs to a target, or error after a fixed number of epochs, by batch."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Literal

__all__ = ["ConvergenceRow", "Quantity", "convergence_rows", "rows_by_series", "work_by_recipe"]

Quantity = Literal["work_to_target", "top1_error"]
_SAME_RECIPE = {"mlperf-logs-resnet50-lars": "mlperf-resnet50-lars"}
"""Series to pool, with the series of the same recipe; logs of v0.7 and later train as the reference points do."""
_FILE = Path(__file__).parent / "evidence" / "convergence.csv"


@dataclass(frozen=True)
class ConvergenceRow:
    """One published result."""

    id: str
    """Identifier, unique in the file."""
    series: str
    """Name shared by the rows of one model, source and recipe."""
    batch: int
    """Samples per step over all GPUs."""
    quantity: Quantity
    value: float
    """Epochs, samples or tokens to the target, or top-1 error in percent."""
    epochs: float | None
    """Training budget of a top-1 error; None for work to a target."""
    target: str
    source: str


@lru_cache
def convergence_rows() -> tuple[ConvergenceRow, ...]:
    """Return all rows of ``lbsim/accuracy/evidence/convergence.csv``."""
    with _FILE.open(encoding="utf-8") as file:
        return tuple(map(_row, csv.DictReader(file)))


def rows_by_series(quantity: Quantity) -> dict[str, list[ConvergenceRow]]:
    """Return the rows of *quantity* by series name."""
    found: dict[str, list[ConvergenceRow]] = {}
    for row in convergence_rows():
        if row.quantity == quantity:
            found.setdefault(row.series, []).append(row)
    return found


def work_by_recipe() -> dict[str, dict[int, float]]:
    """Return the mean work to the target by recipe and batch, smallest batch first.

    Series of one recipe are pooled: MLPerf's reference points and result logs of ResNet-50 under LARS.
    """
    values: dict[str, dict[int, list[float]]] = {}
    for name, rows in rows_by_series("work_to_target").items():
        for row in rows:
            values.setdefault(_SAME_RECIPE.get(name, name), {}).setdefault(row.batch, []).append(row.value)
    return {name: {batch: fmean(found[batch]) for batch in sorted(found)} for name, found in values.items()}


def _row(cells: dict[str, str]) -> ConvergenceRow:
    return ConvergenceRow(
        cells["id"],
        cells["series"],
        int(cells["batch"]),
        "top1_error" if cells["quantity"] == "top1_error" else "work_to_target",
        float(cells["value"]),
        float(cells["epochs"]) if cells["epochs"] else None,
        cells["target"],
        cells["source"],
    )
