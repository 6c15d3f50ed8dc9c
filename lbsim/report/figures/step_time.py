"""Figure: parts of the step time over GPUs."""

from dataclasses import asdict

from lbsim.report.picture import OKABE_ITO, Number, Picture, new_figure
from lbsim.report.scenarios import ReportScenario, ReportScenarios

__all__ = ["ORDER", "TITLE", "draw"]

TITLE = "Step time"
ORDER = 2
_COLOURS = dict(
    zip(
        ("input", "forward", "backward", "exposed communication", "stragglers", "update"),
        (OKABE_ITO[5], OKABE_ITO[0], OKABE_ITO[2], OKABE_ITO[1], OKABE_ITO[3], OKABE_ITO[4]),
        strict=True,
    )
)


def draw(scenarios: ReportScenarios) -> Picture:
    """Draw one stacked bar per number of GPUs, in one panel per scenario."""
    entries = scenarios.entries
    columns = min(2, len(entries))
    rows = -(-len(entries) // columns)
    figure, panels = new_figure(4.5 * columns + 1.5, 3.2 * rows + 0.6, rows, columns)
    numbers: list[Number] = []
    for entry, axes in zip(entries, panels, strict=False):
        own = _numbers(entry)
        scales = [f"{gpus:,}" for gpus in entry.scales]
        bottom = [0.0] * len(scales)
        for part, colour in _COLOURS.items():
            heights = [one.y for one in own if one.series == f"{entry.label}: {part}"]
            axes.bar(scales, heights, 0.75, bottom, color=colour, edgecolor="white", lw=0.4, label=part)
            bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
        axes.set(xlabel="GPUs", ylabel="step time, ms", title=entry.label)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", labelsize=8, rotation=45 if len(scales) > 8 else 0)
        numbers += own
    for axes in panels[len(entries) :]:
        axes.remove()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center")
    return Picture(
        figure, tuple(numbers), "GPUs", " ".join(map(_description, entries)), "The parts add up to the step."
    )


def _numbers(entry: ReportScenario) -> list[Number]:
    return [
        Number(f"{entry.label}: {name.replace('_', ' ')}", gpus, 1e3 * seconds, "ms")
        for gpus, one in entry.scales.items()
        for name, seconds in asdict(one.breakdown).items()
    ]


def _description(entry: ReportScenario) -> str:
    one = entry.prediction
    parts = ", ".join(
        f"{name.replace('_', ' ')} {1e3 * seconds:.3g} ms" for name, seconds in asdict(one.breakdown).items()
    )
    return (
        f"{entry.label}, {entry.scenario.plan.gpus:,} GPUs: a step takes {1e3 * one.step_time:.4g} ms, "
        f"of which {parts}."
    )
