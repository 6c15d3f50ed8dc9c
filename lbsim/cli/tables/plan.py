"""A plan for a target accuracy as a table that people read."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lbsim.accuracy.launch_command import harness_command
from lbsim.accuracy.noise_scale_law import MeasuredRecipe
from lbsim.accuracy.training_option import TimeToAccuracy, TrainingOption
from lbsim.accuracy.training_run import node_mtbf
from lbsim.units import TIME
from lbsim.version import __version__

_COLUMNS = ("GPUs", "batch", "epochs", "top-1 %", "time", "GPU-h", "cost", "goodput", "")
_RUNS_NAMED = 2
_MARKS = {(False, False): "", (True, False): "*", (False, True): "<-", (True, True): "* <-"}


def of_choices(choices: TimeToAccuracy) -> RenderableType:
    """Return a row for each number of GPUs, what is chosen and how to run it."""
    scenario = choices.chosen.prediction.scenario
    title = (
        f"{Path(scenario.model).name} to {choices.request.target:g} % on {scenario.cluster.name} (lbsim {__version__})"
    )
    table = Table(box=None, pad_edge=False, header_style="")
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for choice in choices.options:
        table.add_row(*_row(choice, chosen=choice.gpus == choices.chosen.gpus))
    notes = [Text(f"  {line}") for line in _notes(choices)]
    command = textwrap.wrap(harness_command(choices.chosen), 72, break_long_words=False, break_on_hyphens=False)
    told = Text(" \\\n    ".join(command))
    return Group(
        Text(title, style="bold"), table, Text(), *notes, Text("\nTo run it, on each node:", style="bold"), told
    )


def _row(choice: TrainingOption, *, chosen: bool) -> Iterator[str]:
    yield f"{choice.gpus:,}"
    yield f"{choice.batch:,}{'?' if choice.beyond_evidence else ''}"
    if choice.epochs_to_target is None:
        yield f"{choice.epochs:g}"
        yield f"{choice.top1.value:.1f} ({choice.top1.low:.1f}-{choice.top1.high:.1f})"
    else:
        yield f"{choice.epochs:g} ({_short(choice.epochs_to_target.low)}-{_short(choice.epochs_to_target.high)})"
        yield f"{choice.top1.value:.1f}"
    yield f"{TIME.short(choice.run.time.value, 3)}"
    yield f"{choice.gpu_hours:.3g}"
    yield "-" if choice.cost is None else f"{choice.cost:,.3g}"
    yield f"{choice.goodput / 1e3:,.1f}k"
    yield _MARKS[choice.on_front, chosen]


def _short(epochs: float) -> str:
    return f"{epochs:.1f}" if epochs < 10 else f"{epochs:.0f}"


def _notes(choices: TimeToAccuracy) -> Iterator[str]:
    best = choices.chosen
    run = best.run
    yield "*           on the time-cost front: no other row is both quicker and cheaper"
    yield f"<-          chosen: {best.gpus:,} GPU{'' if best.gpus == 1 else 's'}, {best.recipe.name},"
    yield f"            which is at or above the target in {best.probability:.0%} of runs"
    yield f"epochs      the fewest after which {_aim(choices)}"
    yield f"time        {TIME.short(run.time.low, 3)} to {TIME.short(run.time.high, 3)} for 90 % of simulated runs;"
    checkpoints = TIME.short(run.checkpoint_time, 2)
    yield f"            {run.expected_failures:.2g} node failures expected, checkpoints {checkpoints}"
    cluster = best.prediction.scenario.cluster
    whose = "assumed, as the profile does not say" if cluster.node_mtbf is None else "by the profile"
    yield f"            (a node fails every {TIME.short(node_mtbf(cluster), 3)}, {whose})"
    yield "GPU-h, cost expected, runs that never arrive run again"
    yield f"goodput     samples/s x (fewest epochs / epochs); highest at {choices.gpus_of_highest_goodput:,} GPUs"
    if isinstance(best.recipe, MeasuredRecipe):
        yield from _of_runs(best.recipe)
    if any(choice.beyond_evidence for choice in choices.options):
        yield "?           a batch outside the recipe's evidence; the interval is wider"
    for gpus, why in choices.refused.items():
        yield f"left out    {gpus:,} GPUs: {why}"


def _aim(choices: TimeToAccuracy) -> str:
    if choices.request.confidence is None:
        return "the target is the expected top-1"
    return f"{choices.request.confidence:.0%} of all runs have the target"


def _of_runs(recipe: MeasuredRecipe) -> Iterator[str]:
    measured = ", ".join(f"{row.epochs:.3g} at batch {row.batch:,}" for row in recipe.evidence[:_RUNS_NAMED])
    more = len(recipe.evidence) - _RUNS_NAMED
    others = f" and {more} more" if more > 0 else ""
    scale, critical = f"{recipe.noise_scale:,.3g}", f"{recipe.critical_batch:,.3g}"
    yield f"your runs   took {measured}{others} to the target;"
    yield f"            noise scale {scale}, critical batch {critical}. With the rate tuned at"
    yield "            each batch (the one below is a start), epochs to the target lie in"
    yield "            the brackets in 90 % of cases; the time takes them for known"
    yield "top-1       at these epochs; above what your runs reached nothing is known"
