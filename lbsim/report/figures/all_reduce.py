"""What each all-reduce takes, over the size of the message and over GPUs, alone on its links."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from lbsim.communication.collective_time import time_all_reduce
from lbsim.errors import InputError
from lbsim.profiles.module_catalog import module_names
from lbsim.report.picture import LINES, NothingToDraw, Number, Picture, colour, count_gpus, sheet
from lbsim.report.subject import Run, Subject
from lbsim.scenario.scenario import override
from lbsim.units import DATA, TIME

TITLE = "All-reduce algorithms compared"
PLACE = 5
_SIZES = tuple(2.0**power for power in range(10, 31, 2))
"""1 KiB to 1 GiB."""
_CHOOSERS = {"auto", "hybrid"}
"""Which are the quicker of others, message by message."""


def draw(subject: Subject) -> Picture:
    """Draw a line an algorithm, a row of panels for each network among the runs."""
    networks = {
        (run.scenario.cluster.name, run.scenario.software.library.name): run
        for run in reversed(subject.runs)
        if run.scenario.plan.gpus > 1
    }
    if not networks:
        raise NothingToDraw("one GPU has nothing to reduce")
    runs = [run for run in subject.runs if any(run is one for one in networks.values())]
    figure, panels = sheet(9.0, 3.9 * len(runs) + 0.4, len(runs), 2)
    numbers: list[Number] = []
    for place, run in enumerate(runs):
        numbers += _draw(panels[2 * place], panels[2 * place + 1], run)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    says = " ".join(sentence for run in runs for sentence in _says(run))
    note = "Closed forms. hybrid and auto, which choose among the others message by message, are not drawn."
    return Picture(figure, tuple(numbers), "bytes of the message, or GPUs", says, note)


def _algorithms() -> list[str]:
    return [name.replace("_", "-") for name in module_names("all_reduce") if name not in _CHOOSERS]


def _gradients(run: Run) -> float:
    """Return the bytes of all gradients."""
    return sum(buffer.message for buffer in run.prediction.buffers)


def _time(run: Run, algorithm: str, gpus: int, message: float) -> float | None:
    """Return the seconds, or none where *algorithm* does not suit so many GPUs."""
    changes = {"plan.all_reduce": algorithm, "plan.gpus": gpus}
    if gpus != run.scenario.plan.gpus:
        changes["plan.group_size"] = None
    try:
        return time_all_reduce(override(run.scenario, changes), message).time
    except InputError:
        return None


def _over_sizes(run: Run, algorithm: str) -> Iterator[Number]:
    gpus = run.scenario.plan.gpus
    for size in _SIZES:
        seconds = _time(run, algorithm, gpus, size)
        if seconds is not None:
            yield Number(f"{run.scenario.cluster.name}, {gpus:,} GPUs: {algorithm}, over bytes", size, seconds, "s")


def _over_gpus(run: Run, algorithm: str) -> Iterator[Number]:
    message = _gradients(run)
    for gpus in run.scales:
        seconds = _time(run, algorithm, gpus, message) if gpus > 1 else None
        if seconds is not None:
            label = f"{run.scenario.cluster.name}, {DATA.short(message, 3)}: {algorithm}, over GPUs"
            yield Number(label, gpus, seconds, "s")


def _draw(left: Axes, right: Axes, run: Run) -> list[Number]:
    numbers: list[Number] = []
    for place, algorithm in enumerate(_algorithms()):
        for axes, own in ((left, [*_over_sizes(run, algorithm)]), (right, [*_over_gpus(run, algorithm)])):
            axes.plot(
                [float(one.x) for one in own],
                [one.y for one in own],
                color=colour(place),
                ls=LINES[place % len(LINES)],
                marker=".",
                label=algorithm,
            )
            numbers += own
    name, gpus = run.scenario.cluster.name, run.scenario.plan.gpus
    left.set(xscale="log", yscale="log", xlabel="message", ylabel="time", title=f"{name}, {gpus:,} GPUs")
    left.set_xscale("log", base=2)
    left.set_xticks(_SIZES[::5], ["1 KiB", "1 MiB", "1 GiB"])
    count_gpus(right, [scale for scale in run.scales if scale > 1])
    right.set(yscale="log", ylabel="time", title=f"{name}, gradients of {DATA.short(_gradients(run), 3)}")
    for axes, ticks in ((left, (1.0,)), (right, (1.0, 2.0, 5.0))):
        axes.yaxis.set_major_locator(LogLocator(subs=ticks))
        axes.yaxis.set_major_formatter(lambda value, _: TIME.short(value, 1))
        axes.yaxis.set_minor_locator(NullLocator())
    return numbers


def _says(run: Run) -> Iterator[str]:
    gpus, message = run.scenario.plan.gpus, _gradients(run)
    for size in (_SIZES[0], message):
        times = {name: _time(run, name, gpus, size) for name in _algorithms()}
        told = sorted((seconds, name) for name, seconds in times.items() if seconds is not None)
        each = ", ".join(f"{name} {TIME.short(seconds, 3)}" for seconds, name in told)
        yield f"{run.scenario.cluster.name}, {gpus:,} GPUs, {DATA.short(size, 3)}: {each}."
