"""Answers as tables that people read: 80 columns wide, without boxes, without colour."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lbsim import __version__
from lbsim.answer import QUANTILES
from lbsim.inventory import describe
from lbsim.metrics import Prediction, Range
from lbsim.scenario import Scenario
from lbsim.units import DATA, DATA_RATE, SAMPLE_RATE, TIME, Dimension

if TYPE_CHECKING:
    # for their names alone; they are imported where they are made, for start-up time
    from lbsim.calibration import Calibration
    from lbsim.comparison import Comparison, Difference
    from lbsim.explain import Explanation
    from lbsim.inventory import Entry
    from lbsim.ranks import RankRuns
    from lbsim.timing import Timing
    from lbsim.tune import Tuning
    from lbsim.validate import Accuracy, Result, Validation

_FP32 = 4
"""Bytes of a number, as nccl-tests counts them unless told otherwise."""


def of_prediction(prediction: Prediction) -> RenderableType:
    """Return *prediction* with what was assumed, the answer and its interval, where the time goes, and memory."""
    scenario = prediction.scenario
    where = f"{_count(scenario.plan.gpus, 'GPU')} of {scenario.cluster.name}"
    title = f"{Path(scenario.model).name} on {where} (lbsim {__version__})"
    return Group(
        Text(title, style="bold"),
        _heading("Assumed"),
        _pairs(_assumptions(prediction)),
        _heading("Predicted"),
        _answers(prediction),
        _pairs([("why so wide", prediction.interval.reason)]),
        _heading("Where a step's time goes"),
        _breakdown(prediction),
        _heading("Memory of a GPU"),
        _memory(prediction),
    )


def of_calibration(calibration: "Calibration") -> RenderableType:
    """Return each fitted value, what stayed as it was, and the error that remained."""
    rows = [
        (f"{one.path} of {one.of}", f"{_fitted(one.value)}  ± {one.uncertainty:.0%}, was {_fitted(one.before)}")
        for one in calibration.fitted
    ]
    errors = f"mean {calibration.mean_error:.1%}, largest {calibration.max_error:.0%}; before, mean "
    outliers = f"{calibration.outliers}, further off than three standard deviations; they count for less"
    about = [
        ("observations", f"{calibration.observations} of {', '.join(calibration.clusters)}"),
        ("remaining error", f"{errors}{calibration.mean_error_before:.1%}"),
        *([("outliers", outliers)] if calibration.outliers else []),
    ]
    parts: list[RenderableType] = [
        _heading("Fitted"),
        _pairs(rows or [("nothing", "the observations tell none of the values asked for")]),
        _heading("Fit"),
        _pairs(about),
    ]
    if calibration.untold:
        untold = _pairs((name, "stays as it was") for name in calibration.untold)
        parts[2:2] = [_heading("What the observations cannot tell"), untold]
    return Group(*parts)


def _fitted(value: str | float) -> str:
    """Return a value to read."""
    if not isinstance(value, str):
        return f"{value:.3g}"
    number, _, unit = value.rpartition(" ")
    return f"{float(number):.3g} {unit}"


def of_ranks(runs: "RankRuns") -> RenderableType:
    """Return the distribution of step time, and who was slowest most often."""
    steps = len(runs.step_times)
    rows = [(f"{share:.0%} of steps within", TIME.short(runs.quantile(share))) for share in QUANTILES]
    mean = f"{TIME.short(runs.mean)}, standard deviation {TIME.short(runs.spread, 2)}"
    slowest = ", ".join(f"GPU {rank} in {_count(times, 'step')}" for rank, times in runs.most_often_slowest(3))
    heading = f"{_count(steps, 'step')} rank by rank, seed {runs.seed}"
    return Group(_heading(heading), _pairs([("mean", mean), *rows[1:], ("slowest", slowest or "none: all alike")]))


def of_explanation(explanation: "Explanation") -> RenderableType:
    """Return where the step goes as a waterfall, and the levers, the most worth first."""
    step = explanation.prediction.step_time
    causes = [(cause.name, cause.seconds) for cause in explanation.causes]
    levers = [(lever.name, f"{lever.gain:+.1%}") for lever in explanation.levers]
    return Group(
        Text(explanation.sentence),
        _heading("Where a step's time goes, cause by cause"),
        _parts([*causes, ("step", step)], step),
        _heading("What each change would be worth"),
        _pairs(levers),
    )


def of_tuning(tuning: "Tuning") -> RenderableType:
    """Return what to change, what that gains and what to paste."""
    changes = [
        (path.removeprefix("plan."), DATA.short(value) if path.endswith("threshold") else str(value))
        for path, value in tuning.changes.items()
    ]
    gains = [
        ("throughput", f"{SAMPLE_RATE.short(tuning.after.throughput)}, {tuning.gain:+.1%}"),
        ("if the network is otherwise", f"{tuning.gain_low:+.1%} to {tuning.gain_high:+.1%}"),
        ("plans tried", f"{tuning.tried:,}"),
    ]
    told = Group(*(Text(f"  {line}") for line in tuning.settings or ("nothing to set",)))
    return Group(
        Text("The quickest plan", style="bold"),
        _pairs(changes or [("as it is", "nothing that was tried is faster")]),
        _heading("What it gains"),
        _pairs(gains),
        _heading("What to set, where it runs"),
        told,
    )


def of_timing(timing: "Timing", done: Sequence[float] = ()) -> RenderableType:
    """Return one all-reduce and its phases; *done* is when each rank is, where that was asked."""
    rows = [
        ("time", TIME.short(timing.time)),
        ("algorithmic bandwidth", DATA_RATE.short(timing.algorithmic_bandwidth)),
        ("bus bandwidth", DATA_RATE.short(timing.bus_bandwidth)),
    ]
    rows += (
        [("rank by rank", f"first done after {TIME.short(min(done))}, last {TIME.short(max(done))}")] if done else []
    )
    title = f"{timing.collective.algorithm} all-reduce of {DATA.short(timing.message)} over {timing.fabric.gpus:,} GPUs"
    return Group(Text(title, style="bold"), _pairs(rows), _heading("Phases"), _phases(timing))


def of_sweep(timings: "Iterable[Timing]") -> RenderableType:
    """Return the columns that nccl-tests prints; it reads as its output does, in fp32 and summed."""
    lines = [
        f"#{'':53}out-of-place",
        f"#{'size':>12}{'count':>14}{'type':>8}{'redop':>8}{'root':>6}{'time':>11}{'algbw':>9}{'busbw':>9}",
        f"#{'(B)':>12}{'(elements)':>14}{'':22}{'(us)':>11}{'(GB/s)':>9}{'(GB/s)':>9}",
    ]
    for timing in timings:
        size, rate = round(timing.message), timing.algorithmic_bandwidth / DATA_RATE.units["GB/s"]
        bus = timing.bus_bandwidth / DATA_RATE.units["GB/s"]
        what = f"{size:>13}{size // _FP32:>14}{'float':>8}{'sum':>8}{'-1':>6}"
        lines.append(f"{what}{timing.time / TIME.units['us']:>11.2f}{rate:>9.2f}{bus:>9.2f}")
    return Text("\n".join(lines))


def of_comparison(comparison: "Comparison", names: tuple[str, str]) -> RenderableType:
    """Return each difference in what was asked of two scenarios, and each in what is answered."""
    first, second = (Path(name).name for name in names)
    return Group(
        Text(f"{first} against {second} (lbsim {__version__})", style="bold"),
        _heading("Asked"),
        _differences(comparison.inputs, first, second),
        _heading("Answered"),
        _differences(comparison.outputs, first, second, ratios=True),
    )


def of_validation(validation: "Validation") -> RenderableType:
    """Return every result, by class, with the mean error of each class and, last, of all."""
    parts: list[RenderableType] = []
    for name, accuracy in validation.by("class").items():
        parts += [Text(name, style="bold"), _results(validation.groups("class")[name], accuracy), Text()]
    return Group(*parts, Text(f"All: {_in_words(validation.accuracy)}", style="bold"))


def of_entries(entries: "Iterable[Entry]") -> RenderableType:
    """Return names with a line of description each, under the name of their kind."""
    table = Table(box=None, show_header=False, pad_edge=False)
    kind = ""
    for entry in entries:
        if entry.kind != kind:
            if kind:
                table.add_row()
            table.add_row(Text(entry.kind, style="bold"))
        kind = entry.kind
        table.add_row(Text(f"  {entry.name}", no_wrap=True), Text(entry.description))
    return table


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _pairs(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(min_width=26)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(f"  {name}"), Text(value))
    return table


def _assumptions(prediction: Prediction) -> Iterator[tuple[str, str]]:
    scenario = prediction.scenario
    cluster, plan = scenario.cluster, scenario.plan
    full, rest = divmod(plan.gpus, cluster.gpus_per_node)
    yield "cluster", f"{cluster.name}: {_count(full + bool(rest), 'node')} of {cluster.gpus_per_node} GPUs"
    yield "accelerator", f"{cluster.accelerator.name}: {describe(cluster.accelerator)}"
    yield "link inside a node", f"{cluster.intra_node.name}: {describe(cluster.intra_node)}"
    nics = f"{cluster.nics} x " if cluster.nics > 1 else ""
    yield "link between nodes", f"{nics}{cluster.inter_node.name}: {describe(cluster.inter_node)}"
    yield "software", f"{scenario.software.name}: {describe(scenario.software)}"
    yield "precision", f"{plan.precision}; gradients travel as {plan.gradient_precision}"
    yield "batch", f"{plan.batch_per_gpu:,} per GPU, {plan.batch:,} in all"
    yield "fusion", _fusion(prediction)
    yield "all-reduce", _all_reduce(prediction)
    yield "overlap", "communication runs during backward" if plan.overlap else "none: communication after backward"
    yield "optimizer", plan.optimizer
    yield "anchor", _anchor(scenario, prediction.compute_scale)


def _fusion(prediction: Prediction) -> str:
    plan = prediction.scenario.plan
    messages = [buffer.message for buffer in prediction.buffers]
    how = f"threshold of {DATA.short(plan.fusion_threshold, 3)}" if plan.fusion == "threshold" else plan.fusion
    if not messages:
        return f"{how}: nothing to send"
    small, large = DATA.short(min(messages), 3), DATA.short(max(messages), 3)
    return f"{how}: {_count(len(messages), 'buffer')} of {small if small == large else f'{small} to {large}'}"


def _all_reduce(prediction: Prediction) -> str:
    chosen = prediction.scenario.plan.all_reduce
    used: dict[str, int] = {}
    for buffer in prediction.buffers:
        used[buffer.algorithm] = used.get(buffer.algorithm, 0) + 1
    if not used or list(used) == [chosen]:
        return chosen
    return f"{chosen}: " + ", ".join(f"{name} for {_count(count, 'buffer')}" for name, count in used.items())


def _anchor(scenario: Scenario, scale: float) -> str:
    if scenario.anchor is None:
        return "none; a measured throughput makes this surer, e.g. --anchor '218 samples/s'"
    rate = SAMPLE_RATE.short(scenario.anchor.throughput)
    return f"{rate} measured at {_count(scenario.anchor.gpus, 'GPU')}: compute takes {scale:.3g} of the time modelled"


def _answers(prediction: Prediction) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("", min_width=26)
    table.add_column("", justify="right")
    table.add_column(f"{100 * prediction.interval.level:.3g}% interval", justify="right")
    rows: list[tuple[str, str, float, Dimension | None]] = [
        ("throughput", "throughput", prediction.throughput, SAMPLE_RATE),
        ("throughput of a GPU", "throughput_per_gpu", prediction.throughput_per_gpu, SAMPLE_RATE),
        ("step", "step_time", prediction.step_time, TIME),
        ("efficiency vs one GPU", "scaling_efficiency", prediction.scaling_efficiency, None),
        ("efficiency vs one node", "scaling_efficiency_vs_node", prediction.scaling_efficiency_vs_node, None),
        (f"{prediction.scenario.plan.epochs:g} epochs", "time_to_train", prediction.time_to_train, TIME),
    ]
    for name, key, value, dimension in rows:
        bounds = prediction.interval.ranges[key]
        table.add_row(f"  {name}", _number(value, dimension), _range(bounds, dimension))
    return table


def _number(value: float, dimension: Dimension | None) -> str:
    return f"{value:.3f}" if dimension is None else dimension.short(value)


def _range(bounds: Range, dimension: Dimension | None) -> str:
    low, high = _number(bounds.low, dimension), _number(bounds.high, dimension)
    unit = high.partition(" ")[2]
    return f"{low.removesuffix(f' {unit}')} to {high}"


def _breakdown(prediction: Prediction) -> Table:
    breakdown = prediction.breakdown
    parts = [(field.name.replace("_", " "), getattr(breakdown, field.name)) for field in fields(breakdown)]
    table = _parts([*parts, ("step", prediction.step_time)], prediction.step_time)
    hidden = max(0.0, prediction.communication_time - breakdown.exposed_communication)
    table.add_row("  hidden communication", f"{hidden * 1e3:,.2f} ms", "")
    return table


def _parts(parts: Iterable[tuple[str, float]], whole: float) -> Table:
    """Return *parts*, in seconds, each with its share of the *whole*."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(min_width=26)
    table.add_column(justify="right")
    table.add_column(justify="right")
    for name, seconds in parts:
        table.add_row(f"  {name}", f"{seconds * 1e3:,.2f} ms", f"{seconds / whole:.1%}")
    return table


def _phases(timing: "Timing") -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("  name", min_width=26)
    for name in ("steps", "message", "links", "time"):
        table.add_column(name, justify="left" if name == "links" else "right")
    for phase in timing.collective.phases:
        links = ", ".join(link.replace("_", "-") for link in phase.links)
        time = TIME.short(timing.fabric.phase_time(phase))
        table.add_row(f"  {phase.name}", f"{phase.steps:,}", DATA.short(phase.message), links, time)
    return table


def _memory(prediction: Prediction) -> Table:
    memory = prediction.memory
    available = prediction.scenario.cluster.accelerator.memory
    parts = [(field.name.replace("_", " "), getattr(memory, field.name)) for field in fields(memory)]
    inside = ", ".join(f"{name} {DATA.short(size, 3)}" for name, size in parts if size)
    share = f"{DATA.short(memory.total, 3)} of {DATA.short(available, 3)}, {memory.total / available:.0%}"
    return _pairs([("needed", share), ("of which", inside)])


def _results(results: "Iterable[Result]", accuracy: "Accuracy") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="", show_footer=True)
    table.add_column("  system", width=15, no_wrap=True, overflow="ellipsis")
    table.add_column("id", width=9, overflow="fold")
    table.add_column("quantity", "mean, share inside", width=22)
    table.add_column("observed", justify="right", width=8)
    table.add_column("predicted", justify="right", width=9)
    table.add_column("error", _share(accuracy.mean_absolute_relative_error), justify="right", width=7)
    table.add_column("in", _share(accuracy.interval_coverage, 0), justify="right", width=4)
    for result in results:
        table.add_row(*_result(result))
    return table


def _result(result: "Result") -> tuple[str, ...]:
    observed, _, unit = _number(result.observed, result.dimension).partition(" ")
    factor = result.dimension.units[unit] if result.dimension else 1.0
    quantity = f"{'ratio of ' if result.relative else ''}{result.quantity.replace('_', ' ')}{unit and f', {unit}'}"
    return (
        f"  {result.system}",
        result.id,
        quantity,
        observed,
        _digits(result.predicted / factor) if result.dimension else f"{result.predicted:.3f}",
        f"{result.relative_error:+.1%}",
        {True: "yes", False: "no", None: "-"}[result.inside],
    )


def _digits(value: float, digits: int = 4) -> str:
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def _share(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{share:.{digits}%}"


def _in_words(accuracy: "Accuracy") -> str:
    error, largest = _share(accuracy.mean_absolute_relative_error), _share(accuracy.max_absolute_relative_error)
    covered = accuracy.interval_coverage
    inside = "" if covered is None else f", {_share(covered, 0)} inside their interval"
    return f"mean error {error}, largest {largest}{inside}, over {_count(accuracy.count, 'observed figure')}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


_ASKED = frozenset(Scenario.model_fields)
_WIDEST = 18
"""Characters of a value in a comparison; JSON has it whole."""


def _differences(differences: "Iterable[Difference]", *names: str, ratios: bool = False) -> RenderableType:
    """Return a row a difference, with *ratios* if they say something."""
    rows = [(row.path, _value(row.path, row.first), _value(row.path, row.second), row.ratio) for row in differences]
    if not rows:
        return Text("  no difference")
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("", overflow="fold")
    for name in (*names, "ratio") if ratios else names:
        table.add_column(_cut(name), justify="right", no_wrap=True)
    for path, first, second, ratio in rows:
        last = ["-" if ratio is None else f"{ratio:.3g}"] if ratios else []
        table.add_row(f"  {path}", _cut(first), _cut(second), *last)
    return table


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _value(path: str, value: object) -> str:
    """Return an answer with its unit, and what was asked as it stands."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return Path(value).name if path == "model" else value
    if not isinstance(value, int | float) or path.partition(".")[0] in _ASKED:
        return str(value)
    if path.startswith("memory"):
        return _number(value, DATA)
    if "efficiency" in path or path == "interval.level":
        return _number(value, None)
    return _number(value, SAMPLE_RATE if "throughput" in path else TIME)
