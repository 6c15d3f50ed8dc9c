"""Figure: predictions over published values."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lbsim.evaluation.residual import Residual
from lbsim.evaluation.validate import Validation
from lbsim.report.picture import MARKERS, Number, Picture, colour
from lbsim.report.scenarios import ReportScenarios
from lbsim.report.single_figure import write_one
from lbsim.units import DATA_RATE, SAMPLE_RATE, TIME

__all__ = ["ORDER", "TITLE", "draw", "picture", "write_parity"]

TITLE = "Predicted against published"
ORDER = 7
_Panel = tuple[str, Callable[[Residual], bool], str, float]
_PANELS: tuple[_Panel, ...] = (
    ("throughput", lambda one: one.observation.dimension is SAMPLE_RATE, "samples/s", 1.0),
    ("times", lambda one: one.observation.dimension is TIME, "s", 1.0),
    ("efficiencies and ratios", lambda one: one.observation.dimension is None, "", 1.0),
    ("bus bandwidth of all-reduces", lambda one: one.observation.dimension is DATA_RATE, "GB/s", 1e9),
)
"""Panels: title, filter of results, unit, and the unit in SI."""


def draw(scenarios: ReportScenarios) -> Picture:
    """Draw the published values of all systems."""
    return picture(scenarios.published)


def write_parity(validation: Validation, file: Path) -> None:
    """Write the figure of *validation* to *file*, atomically; InputError if it cannot be written."""
    write_one(lambda: picture(validation).figure, file)


def picture(validation: Validation) -> Picture:
    """Draw one point per published value, with its class's colour and marker and its interval, and lines at 10 % error.

    The ratio of predicted to published shows equal relative errors equally, for a millisecond and a day. In grey,
    classes differ by their markers: first hollow ones, then filled ones.
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
    note = "Solid line: equal to published. Dashed: 10 % more and 10 % less. Vertical: 90 % intervals."
    return Picture(figure, numbers, "published, in the same unit", _description(validation), note)


def _sheet(panels: int, classes: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with a wide panel at the top, which has the most points, and the others side by side below."""
    figure = Figure(figsize=(8.5, (3.6 if panels == 1 else 6.9) + 0.17 * (classes // 3 + 1)), layout="constrained")
    if panels == 1:
        return figure, [figure.subplots()]
    grid = figure.add_gridspec(2, panels - 1, height_ratios=(1.2, 1))
    below = [figure.add_subplot(grid[1, place]) for place in range(panels - 1)]
    return figure, [figure.add_subplot(grid[0, :]), *below]


def _draw(axes: Axes, results: list[Residual], classes: list[str], label: str, scale: float) -> None:
    axes.axhline(1.0, color="k", lw=0.8)
    for factor in (0.9, 1.1):
        axes.axhline(factor, color="k", ls="--", lw=0.6, label="10 % error" if factor > 1 else None)
    for place, name in enumerate(classes):
        own = [one for one in results if one.observation.case.class_ == name]
        if own:
            _draw_class(axes, own, place, scale)
    axes.set(xlabel=label, ylabel="predicted / published", xscale="log", yscale="log")
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        _tick(axis, high / low)


def _tick(axis: Axis, span: float) -> None:
    """Label ticks without powers of ten, with more ticks per decade where *axis* spans fewer decades."""
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


def _description(validation: Validation) -> str:
    every = validation.accuracy
    near = sum(abs(one.relative_error) <= 0.1 for one in validation.results)
    classes = ", ".join(
        f"{name} {one.mean_absolute_relative_error:.1%} over {one.count}"
        for name, one in validation.by("class").items()
    )
    inside = "" if every.interval_coverage is None else f" {every.interval_coverage:.0%} lie inside the interval."
    return (
        f"{near} of {every.count} predictions are within 10 % of the published value; the mean error is "
        f"{every.mean_absolute_relative_error:.1%}, the largest {every.max_absolute_relative_error:.0%}.{inside} "
        f"Mean error by class: {classes}."
    )
