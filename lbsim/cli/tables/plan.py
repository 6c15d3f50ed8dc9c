"""Table of ``lbsim plan``: options for each number of GPUs, and the command of the chosen one."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Group, RenderableType

from lbsim.accuracy.benchmark import BenchmarkRecipe
from lbsim.accuracy.launch_command import harness_command
from lbsim.accuracy.noise_scale_law import MeasuredRecipe
from lbsim.accuracy.training_option import TimeToAccuracy, TrainingOption
from lbsim.accuracy.training_run import node_mtbf
from lbsim.cli.tables._layout import Columns, heading, paragraph, unwrapped
from lbsim.units import TIME
from lbsim.version import __version__

__all__ = ["choices_table"]

_TOP1 = "top-1 %"
_COLUMNS = ("GPUs", "batch", "epochs", _TOP1, "time", "GPU-h", "cost", "goodput", "")
_RUNS_NAMED = 2
_MARKS = {(False, False): "", (True, False): "*", (False, True): "<-", (True, True): "* <-"}


def choices_table(choices: TimeToAccuracy) -> RenderableType:
    """Return one row for each number of GPUs, notes on the chosen one, and the command that trains it."""
    scenario = choices.chosen.prediction.scenario
    recipe = choices.chosen.recipe
    target = recipe.benchmark.target_text if isinstance(recipe, BenchmarkRecipe) else f"{choices.request.target:g} %"
    title = f"{Path(scenario.model).name} to {target} on {scenario.cluster.name} (lbsim {__version__})"
    table = Columns()
    for name in _COLUMNS:
        is_target = name == _TOP1 and isinstance(recipe, BenchmarkRecipe)
        table.column("target" if is_target else name, justify="right", no_wrap=True)
    for choice in choices.options:
        table.row(*_row(choice, chosen=choice.gpus == choices.chosen.gpus))
    notes = [paragraph(f"  {note}") for note in _notes(choices)]
    return Group(paragraph(title, "bold"), table, paragraph(""), *notes, *_command(choices.chosen))


def _command(choice: TrainingOption) -> Iterator[RenderableType]:
    command = harness_command(choice)
    if command is not None:
        yield heading("To run it, on each node:")
        yield unwrapped(command)


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
    return f"{epochs:.2g}" if epochs < 10 else f"{epochs:.0f}"


def _notes(choices: TimeToAccuracy) -> Iterator[str]:
    best = choices.chosen
    run = best.run
    yield "*           on the time-cost front: no other row is both faster and cheaper"
    yield f"<-          chosen: {best.gpus:,} GPU{'' if best.gpus == 1 else 's'}, {best.recipe.name},"
    yield f"            reaches the target in {best.probability:.0%} of runs"
    yield f"epochs      fewest epochs after which {_aim(choices)}"
    yield f"time        {TIME.short(run.time.low, 3)} to {TIME.short(run.time.high, 3)} for 90 % of simulated runs;"
    checkpoints = TIME.short(run.checkpoint_time, 2)
    yield f"            {run.expected_failures:.2g} node failures expected, checkpoints {checkpoints}"
    cluster = best.prediction.scenario.cluster
    whose = "assumed: the profile has no value" if cluster.node_mtbf is None else "from the profile"
    yield f"            (a node fails every {TIME.short(node_mtbf(cluster), 3)}, {whose})"
    yield "GPU-h, cost expected values; runs that miss the target are repeated"
    yield f"goodput     samples/s x (fewest epochs / epochs); highest at {choices.gpus_of_highest_goodput:,} GPUs"
    if isinstance(best.recipe, MeasuredRecipe):
        yield from _measured_recipe_notes(best.recipe)
    if isinstance(best.recipe, BenchmarkRecipe):
        yield f"brackets    mean epochs to {best.recipe.benchmark.target_text} in 90 % of cases,"
        yield f"            from {len(best.recipe.evidence)} published batches, with the rate tuned at each;"
        yield "            the time takes the median as certain"
    if any(choice.beyond_evidence for choice in choices.options):
        yield "?           batch outside the recipe's evidence; the interval is wider"
    for gpus, why in choices.refused.items():
        yield f"omitted     {gpus:,} GPUs: {why}"


def _aim(choices: TimeToAccuracy) -> str:
    if choices.request.confidence is None:
        single = isinstance(choices.chosen.recipe, BenchmarkRecipe)
        return "half of the runs reach the target" if single else "the expected top-1 is the target"
    return f"{choices.request.confidence:.0%} of all runs reach the target"


def _measured_recipe_notes(recipe: MeasuredRecipe) -> Iterator[str]:
    measured = ", ".join(f"{row.epochs:.3g} at batch {row.batch:,}" for row in recipe.evidence[:_RUNS_NAMED])
    more = len(recipe.evidence) - _RUNS_NAMED
    others = f" and {more} more" if more > 0 else ""
    scale, critical = f"{recipe.noise_scale:,.3g}", f"{recipe.critical_batch:,.3g}"
    yield f"your runs   took {measured}{others} to the target;"
    yield f"            noise scale {scale}, critical batch {critical}. If the learning rate is"
    yield "            tuned at each batch (start with the one below), 90 % of runs need the"
    yield "            epochs in brackets; the time does not include this uncertainty"
    yield "top-1       after these epochs; unknown above what your runs reached"
