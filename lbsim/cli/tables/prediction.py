"""Table of ``lbsim predict``: assumptions, prediction with interval, step time and memory; variation over ranks."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from lbsim.cli.json_output import QUANTILES
from lbsim.cli.profile_description import describe
from lbsim.cli.tables._layout import Columns, amount, counted, heading, pairs, paragraph, shares
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.prediction import Prediction, Range
from lbsim.units import DATA, SAMPLE_RATE, TIME, Dimension
from lbsim.version import __version__

if TYPE_CHECKING:
    # for annotations; importing them here would lengthen start-up
    from lbsim.simulation.per_rank import RankRuns

__all__ = ["prediction_table", "ranks_table"]


def prediction_table(prediction: Prediction) -> RenderableType:
    """Return the assumptions of *prediction*, its values with intervals, the breakdown of a step, and the memory."""
    scenario = prediction.scenario
    where = f"{counted(scenario.plan.gpus, 'GPU')} of {scenario.cluster.name}"
    title = f"{Path(scenario.model).name} on {where} (lbsim {__version__})"
    return Group(
        paragraph(title, "bold"),
        heading("Assumptions"),
        pairs(_assumptions(prediction)),
        heading("Prediction"),
        _values(prediction),
        pairs([("interval width", prediction.interval.reason)]),
        heading("Step time"),
        _breakdown(prediction),
        heading("Memory per GPU"),
        _memory(prediction),
    )


def _assumptions(prediction: Prediction) -> Iterator[tuple[str, str]]:
    scenario = prediction.scenario
    cluster, plan = scenario.cluster, scenario.plan
    full, rest = divmod(plan.gpus, cluster.gpus_per_node)
    yield "cluster", f"{cluster.name}: {counted(full + bool(rest), 'node')} of {cluster.gpus_per_node} GPUs"
    yield "accelerator", f"{cluster.accelerator.name}: {describe(cluster.accelerator)}"
    yield "link inside a node", f"{cluster.intra_node.name}: {describe(cluster.intra_node)}"
    nics = f"{cluster.nics} x " if cluster.nics > 1 else ""
    yield "link between nodes", f"{nics}{cluster.inter_node.name}: {describe(cluster.inter_node)}"
    yield "software", f"{scenario.software.name}: {describe(scenario.software)}"
    yield "precision", f"{plan.precision}; gradients are sent as {plan.gradient_precision}"
    yield "batch", f"{plan.batch_per_gpu:,} per GPU, {plan.batch:,} in total"
    yield "fusion", _fusion(prediction)
    yield "all-reduce", _all_reduce(prediction)
    yield "overlap", "communication runs during backward" if plan.overlap else "none: communication after backward"
    yield "optimizer", plan.optimizer
    yield "anchor", _anchor(scenario, prediction.compute_scale)
    if prediction.calibration is not None:
        yield "calibration", f"{prediction.calibration}; its values above replace those of the profiles"


def _fusion(prediction: Prediction) -> str:
    plan = prediction.scenario.plan
    messages = [buffer.message for buffer in prediction.buffers]
    how = f"threshold of {DATA.short(plan.fusion_threshold, 3)}" if plan.fusion == "threshold" else plan.fusion
    if not messages:
        return f"{how}: nothing to send"
    small, large = DATA.short(min(messages), 3), DATA.short(max(messages), 3)
    return f"{how}: {counted(len(messages), 'buffer')} of {small if small == large else f'{small} to {large}'}"


def _all_reduce(prediction: Prediction) -> str:
    chosen = prediction.scenario.plan.all_reduce
    used: dict[str, int] = {}
    for buffer in prediction.buffers:
        used[buffer.algorithm] = used.get(buffer.algorithm, 0) + 1
    if not used or list(used) == [chosen]:
        return chosen
    return f"{chosen}: " + ", ".join(f"{name} for {counted(times, 'buffer')}" for name, times in used.items())


def _anchor(scenario: Scenario, scale: float) -> str:
    if scenario.anchor is None:
        return "none; a measured throughput narrows the interval, e.g. --anchor '218 samples/s'"
    rate = SAMPLE_RATE.short(scenario.anchor.throughput)
    return f"{rate} measured at {counted(scenario.anchor.gpus, 'GPU')}: compute time scaled by {scale:.3g}"


def _values(prediction: Prediction) -> Columns:
    table = Columns()
    table.column(min_width=26)
    table.column(justify="right")
    table.column(f"{100 * prediction.interval.level:.3g}% interval", justify="right")
    rows: list[tuple[str, str, float, Dimension | None]] = [
        ("throughput", "throughput", prediction.throughput, SAMPLE_RATE),
        ("throughput per GPU", "throughput_per_gpu", prediction.throughput_per_gpu, SAMPLE_RATE),
        ("step time", "step_time", prediction.step_time, TIME),
        ("efficiency vs one GPU", "scaling_efficiency", prediction.scaling_efficiency, None),
        ("efficiency vs one node", "scaling_efficiency_vs_node", prediction.scaling_efficiency_vs_node, None),
        (f"{prediction.scenario.plan.epochs:g} epochs", "time_to_train", prediction.time_to_train, TIME),
    ]
    for name, key, value, dimension in rows:
        bounds = prediction.interval.ranges[key]
        table.row(f"  {name}", amount(value, dimension), _range(bounds, dimension))
    return table


def _range(bounds: Range, dimension: Dimension | None) -> str:
    low, high = amount(bounds.low, dimension), amount(bounds.high, dimension)
    unit = high.partition(" ")[2]
    return f"{low.removesuffix(f' {unit}')} to {high}"


def _breakdown(prediction: Prediction) -> Columns:
    breakdown = prediction.breakdown
    parts = [(field.name.replace("_", " "), getattr(breakdown, field.name)) for field in fields(breakdown)]
    table = shares([*parts, ("step", prediction.step_time)], prediction.step_time)
    hidden = max(0.0, prediction.communication_time - breakdown.exposed_communication)
    table.row("  hidden communication", f"{hidden * 1e3:,.2f} ms", "")
    return table


def _memory(prediction: Prediction) -> Columns:
    memory = prediction.memory
    available = prediction.scenario.cluster.accelerator.memory
    parts = [(field.name.replace("_", " "), getattr(memory, field.name)) for field in fields(memory)]
    inside = ", ".join(f"{name} {DATA.short(size, 3)}" for name, size in parts if size)
    share = f"{DATA.short(memory.total, 3)} of {DATA.short(available, 3)}, {memory.total / available:.0%}"
    return pairs([("needed", share), ("of which", inside)])


def ranks_table(runs: "RankRuns") -> RenderableType:
    """Return the distribution of step time over simulated steps, and the ranks that were slowest most often."""
    steps = len(runs.step_times)
    rows = [(f"{share:.0%} of steps within", TIME.short(runs.quantile(share))) for share in QUANTILES]
    mean = f"{TIME.short(runs.mean)}, standard deviation {TIME.short(runs.spread, 2)}"
    slowest = ", ".join(f"GPU {rank} in {counted(times, 'step')}" for rank, times in runs.most_often_slowest(3))
    title = f"{counted(steps, 'step')} simulated rank by rank, seed {runs.seed}"
    return Group(
        heading(title), pairs([("mean", mean), *rows[1:], ("slowest", slowest or "none: all ranks are equal")])
    )
