"""Figure: time to train over GPUs, and cost over time to train."""

from typing import Any

from lbsim.report.picture import MARKERS, Number, Picture, colour, gpu_axis, new_figure, plain_numbers, short
from lbsim.report.scenarios import ReportScenario, ReportScenarios

__all__ = ["ORDER", "TITLE", "draw"]

TITLE = "Time against cost"
ORDER = 8
_HOUR = 3600.0
_MINUTE = 60.0


def draw(scenarios: ReportScenarios) -> Picture:
    """Draw time over GPUs, and cost over time with the number of GPUs at each point."""
    figure, (left, right) = new_figure(9.0, 4.2, columns=2)
    numbers: list[Number] = []
    for place, entry in enumerate(scenarios.entries):
        times, costs = _times(entry), _costs(entry)
        style: dict[str, Any] = {"color": colour(place), "marker": MARKERS[place % len(MARKERS)], "ms": 4}
        left.plot([float(one.x) for one in times], [one.y for one in times], label=entry.label, **style)
        left.fill_between(
            [float(one.x) for one in times],
            [one.low or 0 for one in times],
            [one.high or 0 for one in times],
            color=colour(place),
            alpha=0.13,
            lw=0,
        )
        right.plot([float(one.x) for one in costs], [one.y for one in costs], label=entry.label, **style)
        for gpus, one in list(zip(entry.scales, costs, strict=True))[:: len(costs) // -6]:
            right.annotate(f"{gpus:,}", (float(one.x), one.y), xytext=(0, 6), textcoords="offset points", fontsize=7)
        numbers += times + costs
    gpu_axis(left, [gpus for entry in scenarios.entries for gpus in entry.scales])
    left.set(yscale="log", ylabel="time to train, min", title="Time")
    units = {one.unit for one in numbers if one.unit != "min"}
    right.set(xscale="log", xlabel="time to train, min", ylabel=f"cost, {' or '.join(sorted(units))}", title="Cost")
    right.set_ylim(0, 1.15 * max(one.y for one in numbers if one.unit != "min"))
    for axes, which in ((left, "y"), (right, "x"), (right, "y")):
        plain_numbers(axes, which)
    left.legend()
    return Picture(figure, tuple(numbers), "GPUs, or min", " ".join(map(_description, scenarios.entries)), _NOTE)


_NOTE = (
    "Numbers at points are GPUs. The batch grows with the GPUs and the epochs are constant: "
    "the effect on accuracy is not modelled."
)


def _times(entry: ReportScenario) -> list[Number]:
    ends = {gpus: one.interval.ranges["time_to_train"] for gpus, one in entry.scales.items()}
    return [
        Number(
            f"{entry.label}: time over GPUs",
            gpus,
            one.time_to_train / _MINUTE,
            "min",
            ends[gpus].low / _MINUTE,
            ends[gpus].high / _MINUTE,
        )
        for gpus, one in entry.scales.items()
    ]


def _costs(entry: ReportScenario) -> list[Number]:
    amount, unit = (entry.price.amount, entry.price.currency) if entry.price else (1.0, "GPU-hours")
    costs = []
    for gpus, one in entry.scales.items():
        each, ends = gpus * amount / _HOUR, one.interval.ranges["time_to_train"]
        minutes, cost = one.time_to_train / _MINUTE, one.time_to_train * each
        costs.append(Number(f"{entry.label}: cost over time", minutes, cost, unit, ends.low * each, ends.high * each))
    return costs


def _description(entry: ReportScenario) -> str:
    costs = dict(zip(entry.scales, _costs(entry), strict=True))
    costs_text = "; ".join(
        f"{gpus:,} GPUs {short(float(costs[gpus].x))} min and {short(costs[gpus].y)} {costs[gpus].unit}"
        for gpus in dict.fromkeys((1, entry.scenario.plan.gpus, max(costs)))
    )
    return f"{entry.label}, {entry.scenario.plan.epochs:g} epochs: {costs_text}."
