"""Figure: time of each all-reduce algorithm over message size and over GPUs, without other traffic."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from lbsim.communication.collective_time import time_all_reduce
from lbsim.errors import InputError
from lbsim.profiles.module_catalog import module_names
from lbsim.report.picture import LINE_STYLES, NothingToDraw, Number, Picture, colour, gpu_axis, new_figure
from lbsim.report.scenarios import ReportScenario, ReportScenarios
from lbsim.scenario.scenario import override
from lbsim.units import DATA, TIME

__all__ = ["ORDER", "TITLE", "draw"]

TITLE = "All-reduce algorithms compared"
ORDER = 5
_SIZES = tuple(2.0**power for power in range(10, 31, 2))
"""1 KiB to 1 GiB."""
_CHOOSERS = {"auto", "hybrid"}
"""Algorithms that choose the fastest of others for each message."""


def draw(scenarios: ReportScenarios) -> Picture:
    """Draw one line per algorithm, in one row of panels per network."""
    networks = {
        (entry.scenario.cluster.name, entry.scenario.software.library.name): entry
        for entry in reversed(scenarios.entries)
        if entry.scenario.plan.gpus > 1
    }
    if not networks:
        raise NothingToDraw("one GPU has no all-reduce")
    entries = [entry for entry in scenarios.entries if any(entry is one for one in networks.values())]
    figure, panels = new_figure(9.0, 3.9 * len(entries) + 0.4, len(entries), 2)
    numbers: list[Number] = []
    for place, entry in enumerate(entries):
        numbers += _draw(panels[2 * place], panels[2 * place + 1], entry)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    description = " ".join(sentence for entry in entries for sentence in _description(entry))
    note = "Closed forms. hybrid and auto are not drawn: they choose among the others for each message."
    return Picture(figure, tuple(numbers), "bytes of the message, or GPUs", description, note)


def _algorithms() -> list[str]:
    return [name.replace("_", "-") for name in module_names("all_reduce") if name not in _CHOOSERS]


def _gradients(entry: ReportScenario) -> float:
    """Return the size of all gradients in bytes."""
    return sum(buffer.message for buffer in entry.prediction.buffers)


def _time(entry: ReportScenario, algorithm: str, gpus: int, message: float) -> float | None:
    """Return the time in seconds, or None if *algorithm* cannot run on *gpus* GPUs."""
    changes = {"plan.all_reduce": algorithm, "plan.gpus": gpus}
    if gpus != entry.scenario.plan.gpus:
        changes["plan.group_size"] = None
    try:
        return time_all_reduce(override(entry.scenario, changes), message).time
    except InputError:
        return None


def _over_sizes(entry: ReportScenario, algorithm: str) -> Iterator[Number]:
    gpus = entry.scenario.plan.gpus
    for size in _SIZES:
        seconds = _time(entry, algorithm, gpus, size)
        if seconds is not None:
            yield Number(f"{entry.scenario.cluster.name}, {gpus:,} GPUs: {algorithm}, over bytes", size, seconds, "s")


def _over_gpus(entry: ReportScenario, algorithm: str) -> Iterator[Number]:
    message = _gradients(entry)
    for gpus in entry.scales:
        seconds = _time(entry, algorithm, gpus, message) if gpus > 1 else None
        if seconds is not None:
            label = f"{entry.scenario.cluster.name}, {DATA.short(message, 3)}: {algorithm}, over GPUs"
            yield Number(label, gpus, seconds, "s")


def _draw(left: Axes, right: Axes, entry: ReportScenario) -> list[Number]:
    numbers: list[Number] = []
    for place, algorithm in enumerate(_algorithms()):
        for axes, own in ((left, [*_over_sizes(entry, algorithm)]), (right, [*_over_gpus(entry, algorithm)])):
            axes.plot(
                [float(one.x) for one in own],
                [one.y for one in own],
                color=colour(place),
                ls=LINE_STYLES[place % len(LINE_STYLES)],
                marker=".",
                label=algorithm,
            )
            numbers += own
    name, gpus = entry.scenario.cluster.name, entry.scenario.plan.gpus
    left.set(xscale="log", yscale="log", xlabel="message", ylabel="time", title=f"{name}, {gpus:,} GPUs")
    left.set_xscale("log", base=2)
    left.set_xticks(_SIZES[::5], ["1 KiB", "1 MiB", "1 GiB"])
    gpu_axis(right, [scale for scale in entry.scales if scale > 1])
    right.set(yscale="log", ylabel="time", title=f"{name}, gradients of {DATA.short(_gradients(entry), 3)}")
    for axes, ticks in ((left, (1.0,)), (right, (1.0, 2.0, 5.0))):
        axes.yaxis.set_major_locator(LogLocator(subs=ticks))
        axes.yaxis.set_major_formatter(lambda value, _: TIME.short(value, 1))
        axes.yaxis.set_minor_locator(NullLocator())
    return numbers


def _description(entry: ReportScenario) -> Iterator[str]:
    gpus, message = entry.scenario.plan.gpus, _gradients(entry)
    for size in (_SIZES[0], message):
        times = {name: _time(entry, name, gpus, size) for name in _algorithms()}
        fastest_first = sorted((seconds, name) for name, seconds in times.items() if seconds is not None)
        each = ", ".join(f"{name} {TIME.short(seconds, 3)}" for seconds, name in fastest_first)
        yield f"{entry.scenario.cluster.name}, {gpus:,} GPUs, {DATA.short(size, 3)}: {each}."
