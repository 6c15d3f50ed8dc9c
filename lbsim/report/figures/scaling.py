"""Figure: throughput and scaling efficiency over GPUs, with intervals and published values."""

from collections.abc import Iterator

from matplotlib.axes import Axes

from lbsim.evaluation.residual import Residual
from lbsim.report.picture import MARKERS, Number, Picture, colour, gpu_axis, interval, new_figure, plain_numbers, short
from lbsim.report.scenarios import ReportScenario, ReportScenarios
from lbsim.units import SAMPLE_RATE

__all__ = ["ORDER", "TITLE", "draw"]

TITLE = "Throughput and scaling efficiency"
ORDER = 1
_NODE = "efficiency against one node"


def draw(scenarios: ReportScenarios) -> Picture:
    """Draw one line per scenario, and a dotted line for perfect scaling."""
    figure, (left, right) = new_figure(9.0, 4.6 + 0.15 * len(scenarios.entries), columns=2)
    numbers: list[Number] = []
    for number, entry in enumerate(scenarios.entries):
        published = [*_published(scenarios, entry)]
        predicted = [*_predicted(entry, with_node=any(one.series.endswith(_NODE) for one in published))]
        _draw(left, right, predicted, published, number)
        numbers += predicted + published
    gpus = [int(number.x) for number in numbers]
    for axes in (left, right):
        gpu_axis(axes, gpus)
    left.set(yscale="log", ylabel="throughput, samples/s", title="Throughput")
    plain_numbers(left)
    right.set(ylim=(0, 105), ylabel="scaling efficiency, %", title="Scaling efficiency")
    handles = {
        label: handle for axes in (left, right) for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=2)
    return Picture(figure, tuple(numbers), "GPUs", " ".join(_description(scenarios, numbers)), _NOTE)


_NOTE = (
    "Lines: predicted, with the 90 % interval as a band. Dotted: perfect scaling. "
    "Open points: published; throughputs published as a time to train are samples over time."
)


def _predicted(entry: ReportScenario, *, with_node: bool) -> Iterator[Number]:
    for gpus, one in entry.scales.items():
        rate, share = (one.interval.ranges[name] for name in ("throughput", "scaling_efficiency"))
        yield Number(f"{entry.label}: throughput", gpus, one.throughput, "samples/s", rate.low, rate.high)
        yield Number(
            f"{entry.label}: efficiency", gpus, 100 * one.scaling_efficiency, "%", 100 * share.low, 100 * share.high
        )
        if with_node and gpus >= one.scenario.cluster.gpus_per_node:
            share = one.interval.ranges["scaling_efficiency_vs_node"]
            value = 100 * one.scaling_efficiency_vs_node
            yield Number(f"{entry.label}: {_NODE}", gpus, value, "%", 100 * share.low, 100 * share.high)


def _published(scenarios: ReportScenarios, entry: ReportScenario) -> Iterator[Number]:
    for result in scenarios.published_of(entry):
        system, gpus, rate = result.observation.case.system, result.observation.scenario.plan.gpus, _rate(result)
        if rate is not None:
            yield Number(f"{entry.label}: published ({system}), throughput", gpus, rate, "samples/s")
        share = _share(result)
        if share is not None:
            node = "node" in result.observation.quantity or result.observation.relative_to is not None
            against = _NODE if node else "efficiency"
            yield Number(f"{entry.label}: published ({system}), {against}", gpus, 100 * share, "%")


def _rate(result: Residual) -> float | None:
    """Return the published samples per second, or None if the value does not give them."""
    observation = result.observation
    plan, workload = observation.scenario.plan, observation.scenario.workload
    if observation.relative_to is not None:
        return None
    if observation.quantity == "time_to_train" and not (plan.validate_each_epoch or plan.startup):
        return plan.epochs * workload.samples / result.observed
    if observation.quantity == "step_time":
        return plan.batch / result.observed
    if observation.dimension is SAMPLE_RATE:
        return result.observed * (plan.gpus if observation.quantity == "throughput_per_gpu" else 1)
    return None


def _share(result: Residual) -> float | None:
    """Return the published efficiency; the ratio of step time to that on one node is its inverse."""
    quantity, base = result.observation.quantity, result.observation.relative_to
    if quantity.startswith("scaling_efficiency") and base is None:
        return result.observed
    if quantity == "step_time" and base is not None and base.plan.gpus == base.cluster.gpus_per_node:
        return 1 / result.observed
    return None


def _draw(left: Axes, right: Axes, predicted: list[Number], published: list[Number], number: int) -> None:
    label = predicted[0].series.rpartition(":")[0]
    for axes, ending, line in ((left, "throughput", "-"), (right, "efficiency", "-"), (right, _NODE, "--")):
        own = [one for one in predicted if one.series.endswith(f": {ending}")]
        if not own:
            continue
        gpus = [float(one.x) for one in own]
        name = label + (" against one node" if ending == _NODE else "")
        axes.plot(gpus, [one.y for one in own], line, color=colour(number), marker=MARKERS[number], ms=3, label=name)
        axes.fill_between(
            gpus, [one.low or 0 for one in own], [one.high or 0 for one in own], color=colour(number), alpha=0.13, lw=0
        )
        shown = [one for one in published if one.series.endswith(f", {ending}")]
        axes.plot(
            [float(one.x) for one in shown],
            [one.y for one in shown],
            "o" if ending != _NODE else "s",
            ms=9,
            mfc="none",
            mec=colour(number),
            mew=1.8,
            label=f"published, {name}" if shown else None,
        )
    first = next(one for one in predicted if one.series.endswith(": throughput"))
    most = max(float(one.x) for one in predicted)
    left.plot([1, most], [first.y / float(first.x), first.y / float(first.x) * most], ":", color=colour(number), lw=1)


def _description(scenarios: ReportScenarios, numbers: list[Number]) -> Iterator[str]:
    for entry in scenarios.entries:
        gpus = entry.scenario.plan.gpus
        own = {
            n.series.rpartition(": ")[2]: n for n in numbers if n.series.startswith(f"{entry.label}: ") and n.x == gpus
        }
        rate, share = own["throughput"], own["efficiency"]
        yield (
            f"{entry.label}: predicted {short(entry.at(1).throughput)} samples/s on one GPU and {short(rate.y)} on "
            f"{gpus:,}{interval(rate)}, an efficiency of {share.y:.1f} %."
        )
    for one in numbers:
        if "published" in one.series:
            yield f"{one.series}: {short(one.y)} {one.unit} on {one.x:,} GPUs."
