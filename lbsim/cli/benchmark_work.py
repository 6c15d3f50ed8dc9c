"""Work to the target of a benchmark by batch, as a table or JSON, for models without a workload in lbsim."""

from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType

from lbsim.accuracy.benchmark import Benchmark, WorkAtBatch, work_by_batch
from lbsim.cli.tables._layout import Columns, paragraph
from lbsim.version import __version__

__all__ = ["work_json", "work_table"]


def work_json(benchmark: Benchmark, batch: int | None) -> dict[str, Any]:
    """Return the work of *benchmark* at *batch*, or at the published batches and beyond, in the benchmark's unit."""
    return {
        "benchmark": benchmark.name,
        "metric": benchmark.metric,
        "target": benchmark.target,
        "unit": benchmark.unit,
        "batches": [asdict(row) for row in work_by_batch(benchmark, batch)],
        "lbsim": __version__,
    }


def work_table(benchmark: Benchmark, batch: int | None) -> RenderableType:
    """Return a row per batch: published and predicted work, its 90 % interval, and steps."""
    table = Columns()
    for name in ("batch", f"{benchmark.unit} published", "predicted", "90 % interval", "steps"):
        table.column(name, justify="right", no_wrap=True)
    for row in work_by_batch(benchmark, batch):
        table.row(*_cells(row))
    return Group(
        paragraph(f"{benchmark.model} to {benchmark.target_text} (lbsim {__version__})", "bold"),
        table,
        paragraph(""),
        paragraph(f"  evidence    {benchmark.name}, with the learning rate"),
        paragraph("              tuned at each batch"),
        paragraph("  ?           a batch outside the evidence; the interval is wider"),
        paragraph(f"  time        needs a workload of {benchmark.model}: write one with"),
        paragraph("              lbsim workload trace, and pass it as --model FILE"),
        paragraph(f"              with --recipe {benchmark.name}"),
    )


def _cells(row: WorkAtBatch) -> tuple[str, ...]:
    low, value, high = (_number(amount) for amount in (row.work.low, row.work.value, row.work.high))
    return (
        f"{row.batch:,}{'?' if row.beyond_evidence else ''}",
        "-" if row.published is None else _number(row.published),
        value,
        f"{low} to {high}",
        "-" if row.steps is None else f"{row.steps:,.0f}",
    )


def _number(value: float) -> str:
    """Return *value* with three digits.

    >>> _number(0.7071), _number(62.37), _number(2.4e6)
    ('0.707', '62.4', '2,400,000')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
