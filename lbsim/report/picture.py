"""Figures with their numbers and a description in words, and the style that they share."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

__all__ = [
    "LINE_STYLES",
    "MARKERS",
    "OKABE_ITO",
    "STYLE",
    "NothingToDraw",
    "Number",
    "Picture",
    "colour",
    "gpu_axis",
    "interval",
    "new_figure",
    "plain_numbers",
    "short",
]

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Eight colours that people with common kinds of colour blindness can distinguish: M. Okabe and K. Ito, 2008."""
MARKERS = "osD^vPX*"
LINE_STYLES = ("-", "--", "-.", (0, (1, 1)))
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lbsim",  # the same drawing is the same file
    "pdf.fonttype": 42,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "figure.constrained_layout.use": True,
}


class NothingToDraw(Exception):  # noqa: N818 - no fault
    """The scenarios have nothing for a figure to show; the message is the reason."""


@dataclass(frozen=True)
class Number:
    """One number of a figure, with the bounds of its interval or None."""

    series: str
    x: float | str
    y: float
    unit: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Picture:
    """A drawn figure, its numbers and its description."""

    figure: Figure
    numbers: tuple[Number, ...]
    x: str
    """Meaning and unit of the numbers' x."""
    description: str
    """Text alternative for screen readers: the figure in sentences, with numbers."""
    note: str = ""
    """Caption: what the marks mean."""


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure of *width* by *height* inches and its axes, row by row; *options* are those of subplots."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [one for row in axes for one in row]


def colour(number: int) -> str:
    """Return the colour of the *number*-th series."""
    return OKABE_ITO[number % (len(OKABE_ITO) - 1)]


def gpu_axis(axes: Axes, gpus: list[int]) -> None:
    """Make x a logarithmic axis of GPUs, with powers of two as labels."""
    axes.set_xscale("log", base=2)
    axes.set_xlabel("GPUs")
    low, high = min(gpus), max(gpus)
    each = [2**power for power in range(high.bit_length()) if low <= 2**power <= high]
    axes.set_xticks(each[:: 2 if len(each) > 7 else 1])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())


def plain_numbers(axes: Axes, which: str = "y") -> None:
    """Label the ticks of an axis as decimal numbers, without powers of ten."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())


def short(value: float) -> str:
    """Return *value* with four significant digits, without a power of ten, which screen readers read badly.

    >>> short(0.70312), short(182056.2)
    ('0.7031', '182,056')
    """
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def interval(number: Number) -> str:
    """Return the interval of *number* in brackets, or an empty string if it has none."""
    if number.low is None or number.high is None:
        return ""
    return f" (90 % interval {short(number.low)} to {short(number.high)})"
