"""Communication that compute does not hide, over the fusion threshold."""

from matplotlib.axes import Axes

from lbsim.predict import predict
from lbsim.report.picture import MARKERS, NothingToDraw, Number, Picture, colour, sheet
from lbsim.report.subject import Run, Subject
from lbsim.scenario.scenario import override

TITLE = "Exposed communication over the fusion threshold"
PLACE = 6
_MIB = 2.0**20
_THRESHOLDS = tuple(2.0**power for power in range(-4, 9))
"""MiB."""
_BY_SIZE = ("threshold", "ddp", "horovod")
"""Fusion policies that have a threshold."""


def draw(subject: Subject) -> Picture:
    """Draw a line a run, and a mark for what its own plan exposes."""
    runs = [run for run in subject.runs if run.scenario.plan.gpus > 1]
    if not runs:
        raise NothingToDraw("one GPU has nothing to send")
    figure, (axes,) = sheet(8.0, 4.2 + 0.2 * len(runs))
    numbers: list[Number] = []
    for place, run in enumerate(runs):
        own = _numbers(run)
        marker = MARKERS[place % len(MARKERS)]
        x, y = [float(one.x) for one in own], [one.y for one in own]
        axes.plot(x, y, color=colour(place), marker=marker, ms=4, label=f"{run.label}: {_policy(run)}")
        numbers += [*own, _draw_own_plan(axes, run, place)]
    axes.set_xscale("log", base=2)
    axes.set(xlabel="fusion threshold, MiB", ylabel="exposed communication in a step, ms")
    axes.set_xticks(_THRESHOLDS[::2], [f"{size:g}" for size in _THRESHOLDS[::2]])
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2)
    note = "Ring or dashed line: as planned. A run whose plan has no threshold is shown with the policy threshold."
    return Picture(figure, tuple(numbers), "MiB", " ".join(_says(run, numbers) for run in runs), note)


def _draw_own_plan(axes: Axes, run: Run, place: int) -> Number:
    """Mark what the run's own plan exposes: a ring at its threshold, a line across if it has none."""
    exposed, plan = 1e3 * run.prediction.breakdown.exposed_communication, run.scenario.plan
    told = f"{run.label}: its plan, {plan.fusion}"
    if plan.fusion not in _BY_SIZE:
        axes.axhline(exposed, color=colour(place), ls="--", lw=1, label=told)
        return Number(told, "as planned", exposed, "ms")
    size = plan.fusion_threshold / _MIB
    axes.plot([size], [exposed], "o", ms=11, mfc="none", mec=colour(place), mew=1.8, ls="none", label=told)
    return Number(told, size, exposed, "ms")


def _policy(run: Run) -> str:
    own = run.scenario.plan.fusion
    return own if own in _BY_SIZE else _BY_SIZE[0]


def _numbers(run: Run) -> list[Number]:
    exposed = {
        size: predict(
            override(run.scenario, {"plan.fusion": _policy(run), "plan.fusion_threshold": size * _MIB})
        ).breakdown.exposed_communication
        for size in _THRESHOLDS
    }
    return [Number(f"{run.label}: {_policy(run)}", size, 1e3 * seconds, "ms") for size, seconds in exposed.items()]


def _says(run: Run, numbers: list[Number]) -> str:
    own = [one for one in numbers if one.series == f"{run.label}: {_policy(run)}"]
    least = min(own, key=lambda one: one.y)
    return (
        f"{run.label} on {run.scenario.plan.gpus:,} GPUs: {own[0].y:.3g} ms at {own[0].x:g} MiB, "
        f"least at {least.x:g} MiB with {least.y:.3g} ms, {own[-1].y:.3g} ms at {own[-1].x:g} MiB; as planned "
        f"{1e3 * run.prediction.breakdown.exposed_communication:.3g} ms."
    )
