"""Figure: timeline of one simulated step, with compute, fusion buffers and links."""

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from lbsim.report.picture import OKABE_ITO, Number, Picture, new_figure
from lbsim.report.scenarios import ReportScenario, ReportScenarios
from lbsim.simulation.chrome_trace import lanes
from lbsim.simulation.timeline import Span

__all__ = ["ORDER", "TITLE", "draw"]

TITLE = "Timeline of one step"
ORDER = 3
_STREAMS = {"compute": "compute", "communication": "fusion buffers", "library": "library", "links": "links"}
_COLOURS = {"input": 5, "forward": 0, "backward": 2, "update": 4, "communication": 1, "library": 3, "links": 5}


def draw(scenarios: ReportScenarios) -> Picture:
    """Draw the spans of the last step, in one panel per scenario."""
    entries = scenarios.entries
    figure, panels = new_figure(9.0, 2.1 * len(entries) + 0.7, len(entries))
    numbers: list[Number] = []
    for entry, axes in zip(entries, panels, strict=True):
        numbers += _draw(axes, entry)
    panels[-1].set_xlabel("time since the start of the step, ms")
    shown = {"forward": 0, "backward": 2, "update": 4, "fusion buffer": 1, "pack, start, unpack": 3, "on the links": 5}
    patches = [Patch(color=OKABE_ITO[number], label=name) for name, number in shown.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches))
    note = "In the table: each span by stream and name; x is its start, y its duration."
    return Picture(figure, tuple(numbers), "ms since the start of the step", " ".join(map(_description, entries)), note)


def _draw(axes: Axes, entry: ReportScenario) -> list[Number]:
    timeline = entry.prediction.timeline
    place, ticks, names = 0, [], []
    for stream, name in _STREAMS.items():
        for number, lane in enumerate(lanes(span for span in timeline.spans if span.stream == stream), start=1):
            _draw_lane(axes, lane, place)
            ticks.append(place)
            names.append(name if number == 1 else f"{name} {number}")
            place -= 1
    axes.set(yticks=ticks, yticklabels=names, xlim=(0, 1e3 * timeline.step_time), title=_title(entry))
    axes.grid(visible=False, axis="y")
    return [
        Number(f"{entry.label}: {span.stream}, {span.name}", 1e3 * span.start, 1e3 * span.duration, "ms")
        for span in timeline.spans
    ]


def _draw_lane(axes: Axes, lane: list[Span], place: int) -> None:
    bars = [(1e3 * span.start, 1e3 * span.duration) for span in lane]
    colours = [OKABE_ITO[_COLOURS[span.name if span.stream == "compute" else span.stream]] for span in lane]
    axes.broken_barh(bars, (place - 0.4, 0.8), facecolors=colours, edgecolor="white", linewidth=0.3)


def _title(entry: ReportScenario) -> str:
    return f"{entry.label}, {entry.scenario.plan.gpus:,} GPUs"


def _description(entry: ReportScenario) -> str:
    one = entry.prediction
    hidden = max(0.0, one.communication_time - one.breakdown.exposed_communication)
    buffers = f"{len(one.buffers)} fusion buffer{'s' * (len(one.buffers) != 1)}"
    return (
        f"{_title(entry)}: {buffers}, {1e3 * one.communication_time:.3g} ms of communication in a step of "
        f"{1e3 * one.step_time:.4g} ms, of which about {1e3 * hidden:.3g} ms are hidden behind compute."
    )
