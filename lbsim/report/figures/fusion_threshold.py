"""Figure: exposed communication over the fusion threshold."""

from matplotlib.axes import Axes

from lbsim.predict import predict
from lbsim.report.picture import MARKERS, NothingToDraw, Number, Picture, colour, new_figure
from lbsim.report.scenarios import ReportScenario, ReportScenarios
from lbsim.scenario.scenario import override

__all__ = ["ORDER", "TITLE", "draw"]

TITLE = "Exposed communication over the fusion threshold"
ORDER = 6
_MIB = 2.0**20
_THRESHOLDS = tuple(2.0**power for power in range(-4, 9))
"""Fusion thresholds in MiB."""
_BY_SIZE = ("threshold", "ddp", "horovod")
"""Fusion policies that have a threshold."""


def draw(scenarios: ReportScenarios) -> Picture:
    """Draw one line per scenario, and a mark at its own plan."""
    entries = [entry for entry in scenarios.entries if entry.scenario.plan.gpus > 1]
    if not entries:
        raise NothingToDraw("one GPU has no communication")
    figure, (axes,) = new_figure(8.0, 4.2 + 0.2 * len(entries))
    numbers: list[Number] = []
    for place, entry in enumerate(entries):
        own = _numbers(entry)
        marker = MARKERS[place % len(MARKERS)]
        x, y = [float(one.x) for one in own], [one.y for one in own]
        axes.plot(x, y, color=colour(place), marker=marker, ms=4, label=f"{entry.label}: {_policy(entry)}")
        numbers += [*own, _draw_own_plan(axes, entry, place)]
    axes.set_xscale("log", base=2)
    axes.set(xlabel="fusion threshold, MiB", ylabel="exposed communication in a step, ms")
    axes.set_xticks(_THRESHOLDS[::2], [f"{size:g}" for size in _THRESHOLDS[::2]])
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2)
    note = "Ring or dashed line: the scenario's plan. A plan without a threshold is drawn with the policy threshold."
    return Picture(figure, tuple(numbers), "MiB", " ".join(_description(entry, numbers) for entry in entries), note)


def _draw_own_plan(axes: Axes, entry: ReportScenario, place: int) -> Number:
    """Mark the scenario's own plan: a ring at its threshold, a horizontal line if it has none."""
    exposed, plan = 1e3 * entry.prediction.breakdown.exposed_communication, entry.scenario.plan
    label = f"{entry.label}: its plan, {plan.fusion}"
    if plan.fusion not in _BY_SIZE:
        axes.axhline(exposed, color=colour(place), ls="--", lw=1, label=label)
        return Number(label, "as planned", exposed, "ms")
    size = plan.fusion_threshold / _MIB
    axes.plot([size], [exposed], "o", ms=11, mfc="none", mec=colour(place), mew=1.8, ls="none", label=label)
    return Number(label, size, exposed, "ms")


def _policy(entry: ReportScenario) -> str:
    own = entry.scenario.plan.fusion
    return own if own in _BY_SIZE else _BY_SIZE[0]


def _numbers(entry: ReportScenario) -> list[Number]:
    exposed = {
        size: predict(
            override(entry.scenario, {"plan.fusion": _policy(entry), "plan.fusion_threshold": size * _MIB})
        ).breakdown.exposed_communication
        for size in _THRESHOLDS
    }
    return [Number(f"{entry.label}: {_policy(entry)}", size, 1e3 * seconds, "ms") for size, seconds in exposed.items()]


def _description(entry: ReportScenario, numbers: list[Number]) -> str:
    own = [one for one in numbers if one.series == f"{entry.label}: {_policy(entry)}"]
    least = min(own, key=lambda one: one.y)
    return (
        f"{entry.label} on {entry.scenario.plan.gpus:,} GPUs: {own[0].y:.3g} ms at {own[0].x:g} MiB, "
        f"least at {least.x:g} MiB with {least.y:.3g} ms, {own[-1].y:.3g} ms at {own[-1].x:g} MiB; as planned "
        f"{1e3 * entry.prediction.breakdown.exposed_communication:.3g} ms."
    )
