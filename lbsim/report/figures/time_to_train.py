"""Figure: predicted and published time to train by system: tables 4 and 5 of Jia et al., and later systems."""

from matplotlib.axes import Axes

from lbsim.evaluation.residual import Residual
from lbsim.report.picture import OKABE_ITO, NothingToDraw, Number, Picture, new_figure, plain_numbers, short
from lbsim.report.scenarios import ReportScenarios
from lbsim.scenario.scenario import Scenario

__all__ = ["ORDER", "TITLE", "draw"]

TITLE = "Time to train by system"
ORDER = 4
_TABLES = {"AlexNet": "alexnet", "ResNet-50": "resnet50"}
_COMPLETE = 10
"""Fewest epochs of a complete training run."""
_MINUTE = 60.0


def draw(scenarios: ReportScenarios) -> Picture:
    """Draw one row per system, with the published and the predicted time."""
    times = [one for one in scenarios.published.results if one.observation.quantity == "time_to_train"]
    rows = [one for one in times if one.observation.relative_to is None]
    tables = {name: _rows(rows, model) for name, model in _TABLES.items()}
    tables = {name: found for name, found in tables.items() if found}
    if not tables:
        raise NothingToDraw("no published time to train")
    heights = [len(found) for found in tables.values()]
    figure, panels = new_figure(
        9.0, 0.27 * sum(heights) + 1.6, len(tables), sharex=True, gridspec_kw={"height_ratios": heights}
    )
    for (name, found), axes in zip(tables.items(), panels, strict=True):
        _draw(axes, name, found)
    panels[-1].set_xlabel("time to train, min")
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    numbers = [number for found in tables.values() for row in found for number in _numbers(row)]
    every = [row for found in tables.values() for row in found]
    return Picture(figure, tuple(numbers), "system", " ".join(map(_description, every)), _NOTE)


_NOTE = "Anchored: with one throughput that the same source measured on fewer GPUs. Bars: 90 % intervals."


def _rows(rows: list[Residual], model: str) -> list[Residual]:
    return sorted((one for one in rows if _is_of(one.observation.scenario, model)), key=_order)


def _is_of(scenario: Scenario, model: str) -> bool:
    return scenario.model.startswith(model) and scenario.plan.epochs >= _COMPLETE


def _order(row: Residual) -> tuple[float, str, int, bool]:
    observation = row.observation
    return -row.observed, observation.case.system, observation.scenario.plan.gpus, observation.anchored


def _name(row: Residual) -> str:
    scenario, system = row.observation.scenario, row.observation.case.system
    plan, accelerator = scenario.plan, scenario.cluster.accelerator.name
    name = f"{system}: {plan.gpus:,} {accelerator}, batch {plan.batch:,}, {plan.epochs:g} epochs"
    return name + (", anchored" if row.observation.anchored else "")


def _draw(axes: Axes, title: str, rows: list[Residual]) -> None:
    for anchored, colour, marker in ((False, OKABE_ITO[0], "o"), (True, OKABE_ITO[1], "s")):
        own = [(-place, row) for place, row in enumerate(rows) if row.observation.anchored is anchored]
        for place, row in own:
            low, high = row.low or row.predicted, row.high or row.predicted
            axes.plot([low / _MINUTE, high / _MINUTE], [place, place], "-", color=colour, lw=4, alpha=0.3)
        axes.plot(
            [row.predicted / _MINUTE for _, row in own],
            [place for place, _ in own],
            marker,
            color=colour,
            ms=6,
            label="predicted, anchored" if anchored else "predicted",
        )
    places = [-place for place in range(len(rows))]
    axes.plot([row.observed / _MINUTE for row in rows], places, "kd", ms=7, mfc="none", mew=1.4, label="published")
    axes.set(xscale="log", yticks=places, yticklabels=[_name(row) for row in rows], title=title)
    axes.set_ylim(0.6 - len(rows), 0.6)
    axes.tick_params(axis="y", labelsize=8)
    plain_numbers(axes, "x")


def _numbers(row: Residual) -> list[Number]:
    low, high = (None if end is None else end / _MINUTE for end in (row.low, row.high))
    kind = row.observation.scenario.model
    return [
        Number(f"{kind}: published", _name(row), row.observed / _MINUTE, "min"),
        Number(f"{kind}: predicted", _name(row), row.predicted / _MINUTE, "min", low, high),
    ]


def _description(row: Residual) -> str:
    return (
        f"{row.observation.scenario.model}, {_name(row)}: published {short(row.observed / _MINUTE)} min, predicted "
        f"{short(row.predicted / _MINUTE)} min ({row.relative_error:+.0%})."
    )
