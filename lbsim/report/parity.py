"""Every prediction against what was published."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from lbsim.report._picture import MARKERS, Number, Picture, colour, sheet
from lbsim.report._subject import Subject
from lbsim.units import SAMPLE_RATE, TIME
from lbsim.validate import Result, Validation

TITLE = "Predicted against published"
PLACE = 7
_PANELS: tuple[tuple[str, Callable[[Result], bool], str], ...] = (
    ("throughput", lambda one: one.dimension is SAMPLE_RATE, "samples/s"),
    ("times", lambda one: one.dimension is TIME, "s"),
    ("efficiencies and ratios", lambda one: one.dimension is None, ""),
)


def draw(subject: Subject) -> Picture:
    """Draw a point a published number, with its class's colour and the lines of 10 % more and less."""
    validation = subject.published
    classes = [*validation.by("class")]
    figure, panels = sheet(10.5, 4.3, 1, 3)
    for (title, belongs, unit), axes in zip(_PANELS, panels, strict=True):
        _draw(axes, [one for one in validation.results if belongs(one)], classes, unit)
        axes.set_title(title)
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4)
    numbers = tuple(_number(one) for one in validation.results)
    note = "Solid line: as published. Dashed: 10 % more and 10 % less."
    return Picture(figure, numbers, "published, in the same unit", _says(validation), note)


def _draw(axes: Axes, results: list[Result], classes: list[str], unit: str) -> None:
    if not results:
        return
    values = [value for one in results for value in (one.observed, one.predicted)]
    ends = (min(values) / 1.3, max(values) * 1.3) if unit else (min(values) - 0.1, max(values) + 0.1)
    axes.plot(ends, ends, "k-", lw=0.8)
    for factor in (0.9, 1.1):
        axes.plot(ends, [factor * end for end in ends], "k--", lw=0.6, label="10 % off" if factor > 1 else None)
    for place, name in enumerate(classes):
        own = [one for one in results if one.class_ == name]
        if own:
            axes.plot(
                [one.observed for one in own],
                [one.predicted for one in own],
                MARKERS[place % len(MARKERS)],
                color=colour(place),
                ms=5,
                mfc="none",
                label=name,
            )
    comma = f", {unit}" if unit else ""
    axes.set(xlim=ends, ylim=ends, xlabel=f"published{comma}", ylabel=f"predicted{comma}")
    if unit:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
    axes.set_aspect("equal")


def _number(one: Result) -> Number:
    unit = "1" if one.dimension is None else "s" if one.dimension is TIME else "samples/s"
    return Number(
        f"{one.class_}: {one.system} {one.id} {one.quantity}", one.observed, one.predicted, unit, one.low, one.high
    )


def _says(validation: Validation) -> str:
    every = validation.accuracy
    near = sum(abs(one.relative_error) <= 0.1 for one in validation.results)
    classes = ", ".join(
        f"{name} {one.mean_absolute_relative_error:.1%} over {one.count}"
        for name, one in validation.by("class").items()
    )
    inside = "" if every.interval_coverage is None else f" {every.interval_coverage:.0%} lie inside their interval."
    return (
        f"{near} of {every.count} predictions are within 10 % of what was published; the mean error is "
        f"{every.mean_absolute_relative_error:.1%}, the largest {every.max_absolute_relative_error:.0%}.{inside} "
        f"Mean error by class: {classes}."
    )
