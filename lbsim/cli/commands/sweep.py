"""``lbsim sweep``: a row of results for each of many scenarios.

What the command alone needs is imported where it is used: late, for start-up time alone.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbsim.cli.options import asking_without_a_file, from_here
from lbsim.cli.terminal import print_error, progress
from lbsim.scenario.request import ScenarioRequest
from lbsim.workload.workload_file import SUFFIXES

if TYPE_CHECKING:
    from lbsim.analysis.sweep import Sweep, SweepRow

_INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C ended."""


@asking_without_a_file
def sweep(
    question: Callable[[Path | None], ScenarioRequest],
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE] PATH V1 V2 ... [PATH V1 V2 ...]",
            help="What varies, e.g. gpus 8 64 512 cluster.inter_node.bandwidth '25 Gb/s' '100 Gb/s'. "
            "First, if you like, a scenario file.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Results as .csv or .parquet, in SI units.")],
    sample: Annotated[
        int | None, typer.Option("--random", metavar="N", min=1, help="Of the grid, N scenarios drawn at random.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn at random.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one for each core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Predict on a Dask cluster, e.g. tcp://host:8786.")
    ] = None,
) -> None:
    """Predict every scenario of a grid, or a random sample of it, into a file of results.

    A scenario that cannot be is a row with its error. Stopped and started again, it goes on where it was.

    For example:  lbsim sweep gpus 8 64 512 batch_per_gpu 32 64 128 --cluster mn-1 --out results.csv
    """
    from lbsim.analysis import sweep_workers
    from lbsim.analysis.sweep import Axis
    from lbsim.analysis.sweep_axes import parse_axes
    from lbsim.analysis.sweep_grid import build_sweep
    from lbsim.analysis.sweep_results import SweepResults

    file = Path(words.pop(0)) if words[0].endswith(SUFFIXES) else None
    here = (Axis(axis.path, *2 * (_from_here(axis.path, axis.texts),)) for axis in parse_axes(words))
    asked = build_sweep(question(file), tuple(here), sample, seed)
    with SweepResults(out, asked) as results:
        left = [number for number in asked.numbers if number not in results.done]
        if scheduler and left:
            batches = sweep_workers.run_on_dask(asked, left, scheduler)
        else:
            batches = sweep_workers.run_here(asked, left, workers or sweep_workers.cores())
        try:
            _collect(asked, len(left), batches, results.append)
        except KeyboardInterrupt:
            done = f"{len(results.done):,} of {len(asked.numbers):,} scenarios are in {results.journal}"
            print_error(f"stopped; {done}; run it again to go on")
            raise typer.Exit(_INTERRUPTED) from None
        failed = results.finish()
    earlier = f", {len(asked.numbers) - len(left):,} of them before" if len(left) < len(asked.numbers) else ""
    typer.echo(f"{out}: {len(asked.numbers):,} scenarios{earlier}; {failed:,} cannot be, see the column error")


def _from_here(path: str, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(from_here({path: value})[path] for value in values)


def _collect(
    asked: "Sweep", left: int, batches: "Iterator[list[SweepRow]]", keep: "Callable[[list[SweepRow]], None]"
) -> None:
    with progress(len(asked.numbers), len(asked.numbers) - left) as advance:
        for rows in batches:
            keep(rows)
            advance(len(rows))
