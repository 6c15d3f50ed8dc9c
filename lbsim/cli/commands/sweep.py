"""``lbsim sweep``: predictions of a grid of scenarios, one row of results each.

Imports that only this command needs are inside the function, to keep start-up short.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbsim.cli.options import absolute_paths, request_options_without_file
from lbsim.cli.terminal import print_error, print_line, print_note, progress
from lbsim.scenario.request import ScenarioRequest
from lbsim.workload.workload_file import SUFFIXES

if TYPE_CHECKING:
    from lbsim.analysis.sweep import Sweep, SweepRow

__all__ = ["sweep"]

_INTERRUPTED = 130
"""Exit code of a program that Ctrl-C ended, as in a shell."""


@request_options_without_file
def sweep(
    request_of: Callable[[Path | None], ScenarioRequest],
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE] PATH V1 V2 ... [PATH V1 V2 ...]",
            help="Values to vary, e.g. gpus 8 64 512 cluster.inter_node.bandwidth '25 Gb/s' '100 Gb/s'; before them, "
            "optionally, a scenario file.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Output file, .csv or .parquet, in SI units.")],
    sample: Annotated[
        int | None,
        typer.Option("--random", metavar="N", min=1, help="Predict N scenarios drawn at random from the grid."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of --random.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes. Default: one per core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Predict on a Dask cluster, e.g. tcp://host:8786.")
    ] = None,
) -> None:
    """Predict every scenario of a grid, or a random sample of it, and write a table of results.

    An invalid scenario becomes a row with its error. An interrupted sweep resumes when the same command is run again.

    For example:  lbsim sweep gpus 8 64 512 batch_per_gpu 32 64 128 --cluster mn-1 --out results.csv
    """
    from lbsim.analysis import sweep_workers
    from lbsim.analysis.sweep import Axis
    from lbsim.analysis.sweep_axes import parse_axes
    from lbsim.analysis.sweep_grid import build_sweep
    from lbsim.analysis.sweep_results import SweepResults

    file = Path(words.pop(0)) if words[0].endswith(SUFFIXES) else None
    here = (Axis(axis.path, *2 * (_absolute_values(axis.path, axis.texts),)) for axis in parse_axes(words))
    grid = build_sweep(request_of(file), tuple(here), sample, seed)
    with SweepResults(out, grid, lambda: print_note(f"{out}: waiting for the sweep that is writing it")) as results:
        left = [number for number in grid.numbers if number not in results.done]
        if scheduler and left:
            batches = sweep_workers.run_on_dask(grid, left, scheduler)
        else:
            batches = sweep_workers.run_here(grid, left, workers or sweep_workers.cores())
        try:
            _collect(grid, len(left), batches, results.append)
        except (KeyboardInterrupt, SystemExit) as stopped:
            done = f"{len(results.done):,} of {len(grid.numbers):,} scenarios are in {results.journal}"
            print_error(f"stopped; {done}; run it again to resume")
            raise typer.Exit(int(stopped.code or 0) if isinstance(stopped, SystemExit) else _INTERRUPTED) from None
        failed = results.finish()
    earlier = f", {len(grid.numbers) - len(left):,} from an earlier run" if len(left) < len(grid.numbers) else ""
    print_line(f"{out}: {len(grid.numbers):,} scenarios{earlier}; {failed:,} invalid, see the column error")


def _absolute_values(path: str, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(absolute_paths({path: value})[path] for value in values)


def _collect(
    grid: "Sweep", left: int, batches: "Iterator[list[SweepRow]]", keep: "Callable[[list[SweepRow]], None]"
) -> None:
    with progress(len(grid.numbers), len(grid.numbers) - left) as advance:
        for rows in batches:
            keep(rows)
            advance(len(rows))
