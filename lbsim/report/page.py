"""HTML page of a report: figures, their numbers and sources, in one file that loads nothing else.

The template ``page.html`` beside this module holds all markup; jinja2 escapes every value that is put into it.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from lbsim.profiles.profile import Profile
from lbsim.report.picture import Number, Picture, short
from lbsim.report.scenarios import ReportScenario, ReportScenarios
from lbsim.units import DATA, SAMPLE_RATE, TIME
from lbsim.version import __version__

__all__ = ["ReportFigure", "page"]

_TEMPLATE = "page.html"
_PREDICTED = "Predictions; the interval contains the true throughput with the probability in brackets"
_COLUMNS = ("scenario", "GPUs", "throughput", "interval", "step", "efficiency", "time to train", "memory per GPU")


@dataclass(frozen=True)
class ReportFigure:
    """A figure of a report; *picture* is None if there was nothing to draw, for the reason *reason*."""

    name: str
    title: str
    picture: Picture | None
    reason: str


@dataclass(frozen=True)
class _Cell:
    """Text of a table cell, and the number that its column is sorted by; without one, the text sorts."""

    text: str
    number: float | None = None

    @property
    def sort_key(self) -> str | None:
        return None if self.number is None else f"{self.number:.6g}"


@dataclass(frozen=True)
class _Table:
    """A table whose columns the reader can sort."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[_Cell, ...], ...]


def page(
    title: str, command: str, scenarios: ReportScenarios, drawn: Iterable[ReportFigure], pictures: Mapping[str, bytes]
) -> str:
    """Return the HTML of a report.

    *command* is the shell command that made the report; *pictures* maps the name of each figure that was drawn to its
    SVG file.
    """
    environment = Environment(
        loader=PackageLoader("lbsim.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(_TEMPLATE).render(
        title=title,
        command=command,
        version=__version__,
        summary=_Table(_PREDICTED, _COLUMNS, tuple(map(_summary_row, scenarios.entries))),
        figures=[
            (one, _image(pictures[one.name]), _numbers(one)) if one.picture else (one, None, None) for one in drawn
        ],
        sources=_sources(scenarios),
        validated_sources=len({result.observation.case.source for result in scenarios.published.results}),
    )


def _summary_row(entry: ReportScenario) -> tuple[_Cell, ...]:
    one = entry.prediction
    ends = one.interval.ranges["throughput"]
    between = f"{ends.low:,.0f} to {ends.high:,.0f} samples/s ({one.interval.level:.0%})"
    gpus = entry.scenario.plan.gpus
    return (
        _Cell(entry.label),
        _Cell(f"{gpus:,}", gpus),
        _Cell(SAMPLE_RATE.short(one.throughput), one.throughput),
        _Cell(between, ends.low),
        _Cell(TIME.short(one.step_time), one.step_time),
        _Cell(f"{one.scaling_efficiency:.1%}", one.scaling_efficiency),
        _Cell(TIME.short(one.time_to_train), one.time_to_train),
        _Cell(DATA.short(one.memory.total, 3), one.memory.total),
    )


def _image(svg: bytes) -> str:
    """Return a data URL of *svg*."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _numbers(drawn: ReportFigure) -> _Table | None:
    """Return the numbers of a figure, or None if it was not drawn."""
    if drawn.picture is None:
        return None
    columns = ("series", drawn.picture.x, "value", "low", "high", "unit")
    return _Table(f"Numbers of: {drawn.title}", columns, tuple(map(_number_row, drawn.picture.numbers)))


def _number_row(number: Number) -> tuple[_Cell, ...]:
    values = (number.series, number.x, number.y, number.low, number.high, number.unit)
    return tuple(map(_value_cell, values))


def _value_cell(value: float | str | None) -> _Cell:
    if value is None or isinstance(value, str):
        return _Cell(value or "")
    return _Cell(short(value), value)


def _sources(scenarios: ReportScenarios) -> dict[str, str]:
    """Return the source of each profile and each published system on the page, by name."""
    sources = {
        f"{profile.kind}/{profile.name}": _provenance(profile)
        for entry in scenarios.entries
        for profile in _profiles(entry)
    }
    for result in scenarios.published.results:
        if any(entry.is_of(result.observation.scenario) for entry in scenarios.entries):
            case = result.observation.case
            sources[f"published, {case.system}"] = case.source
    return sources


def _profiles(entry: ReportScenario) -> Iterator[Profile]:
    cluster, software = entry.scenario.cluster, entry.scenario.software
    yield from (cluster, cluster.accelerator, cluster.intra_node, cluster.inter_node)
    yield from (software, software.library, software.kernels)


def _provenance(profile: Profile) -> str:
    calibrated = f" Calibrated: {profile.calibrated}" if profile.calibrated else ""
    return f"{profile.source}.{calibrated}"
