"""Every prediction against what was published."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lbsim.evaluation.residual import Residual
from lbsim.evaluation.validate import Validation
from lbsim.report.picture import MARKERS, Number, Picture, colour
from lbsim.report.single_figure import write_one
from lbsim.report.subject import Subject
from lbsim.units import DATA_RATE, SAMPLE_RATE, TIME

TITLE = "Predicted against published"
PLACE = 7
_Panel = tuple[str, Callable[[Residual], bool], str, float]
_PANELS: tuple[_Panel, ...] = (
    ("throughput", lambda one: one.observation.dimension is SAMPLE_RATE, "samples/s", 1.0),
    ("times", lambda one: one.observation.dimension is TIME, "s", 1.0),
    ("efficiencies and ratios", lambda one: one.observation.dimension is None, "", 1.0),
    ("bus bandwidth of all-reduces", lambda one: one.observation.dimension is DATA_RATE, "GB/s", 1e9),
)
"""What, of which results, in which unit, and how many SI units that is."""


def draw(subject: Subject) -> Picture:
    """Draw what was published, of all systems."""
    return picture(subject.published)


def write_parity(validation: Validation, file: Path) -> None:
    """Write the picture of *validation* alone to *file*, whole or not at all; InputError if it cannot be."""
    write_one(lambda: picture(validation).figure, file)


def picture(validation: Validation) -> Picture:
    """Draw a point a published number, with its class's colour and marker and its interval, and the lines of 10 % off.

    What is drawn is predicted over published, which shows an error alike for a millisecond and a day. In grey, classes
    are told apart by their markers: hollow ones, and when those run out, full ones.
    """
    classes = [*validation.by("class")]
    panels = [(one, [result for result in validation.results if one[1](result)]) for one in _PANELS]
    panels = [(panel, own) for panel, own in panels if own]
    figure, each = _sheet(len(panels), len(classes))
    for ((title, _, unit, scale), own), axes in zip(panels, each, strict=True):
        _draw(axes, own, classes, f"published, {unit}" if unit else "published", scale)
        axes.set_title(title)
    handles = {label: handle for axes in each for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3)
    numbers = tuple(_number(one) for one in validation.results)
    note = "Solid line: as published. Dashed: 10 % more and 10 % less. Vertical: 90 % intervals."
    return Picture(figure, numbers, "published, in the same unit", _says(validation), note)


def _sheet(panels: int, classes: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with a wide panel above, which has the most to show, and the others below it side by side."""
    figure = Figure(figsize=(8.5, (3.6 if panels == 1 else 6.9) + 0.17 * (classes // 3 + 1)), layout="constrained")
    if panels == 1:
        return figure, [figure.subplots()]
    grid = figure.add_gridspec(2, panels - 1, height_ratios=(1.2, 1))
    below = [figure.add_subplot(grid[1, place]) for place in range(panels - 1)]
    return figure, [figure.add_subplot(grid[0, :]), *below]


def _draw(axes: Axes, results: list[Residual], classes: list[str], label: str, scale: float) -> None:
    axes.axhline(1.0, color="k", lw=0.8)
    for factor in (0.9, 1.1):
        axes.axhline(factor, color="k", ls="--", lw=0.6, label="10 % off" if factor > 1 else None)
    for place, name in enumerate(classes):
        own = [one for one in results if one.observation.case.class_ == name]
        if own:
            _draw_class(axes, own, place, scale)
    axes.set(xlabel=label, ylabel="predicted / published", xscale="log", yscale="log")
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        _tick(axis, high / low)


def _tick(axis: Axis, span: float) -> None:
    """Write numbers without powers of ten, more of each decade where *axis* spans fewer."""
    fewer = (1.0, 2.0, 5.0) if span < 100 else (1.0,)
    at = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if span < 10 else fewer
    axis.set_major_locator(LogLocator(1000.0 if span > 1e6 else 10.0, at))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_tick_params(rotation=25 if span > 1e6 else 0)


def _draw_class(axes: Axes, own: list[Residual], place: int, scale: float) -> None:
    known = [(one.observed, one.low, one.high) for one in own if one.low is not None and one.high is not None]
    for observed, low, high in known:
        axes.plot([observed / scale] * 2, [low / observed, high / observed], color=colour(place), lw=0.5, alpha=0.35)
    axes.plot(
        [one.observed / scale for one in own],
        [one.predicted / one.observed for one in own],
        MARKERS[place % len(MARKERS)],
        color=colour(place),
        ms=4.5,
        mew=0.8,
        mfc="none" if place < len(MARKERS) else None,
        label=own[0].observation.case.class_,
    )


def _number(one: Residual) -> Number:
    unit = {None: "1", TIME: "s", SAMPLE_RATE: "samples/s"}.get(one.observation.dimension, "B/s")
    case = one.observation.case
    return Number(
        f"{case.class_}: {case.system} {case.id} {case.quantity}", one.observed, one.predicted, unit, one.low, one.high
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
