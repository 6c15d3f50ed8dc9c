"""The page of a report: one file of HTML that needs nothing but itself."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

from lbsim.report.picture import Picture, short
from lbsim.report.subject import Run, Subject
from lbsim.units import DATA, SAMPLE_RATE, TIME
from lbsim.version import __version__

_SHELL = Path(str(resources.files("lbsim.report"))) / "page.html"


@dataclass(frozen=True)
class Drawn:
    """A figure by its name and title, or why there is none."""

    name: str
    title: str
    picture: Picture | None
    why_not: str


def page(title: str, command: str, subject: Subject, drawn: Iterable[Drawn], pictures: Mapping[str, bytes]) -> str:
    """Return the page of these figures, whose SVG *pictures* holds by name."""
    parts = {
        "title": escape(title),
        "command": escape(command),
        "version": escape(__version__),
        "summary": "".join(_summary(subject)),
        "figures": "".join(_figure(one, pictures) for one in drawn),
        "sources": "".join(_sources(subject)),
    }
    text = _SHELL.read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part)
    return text


def _summary(subject: Subject) -> Iterator[str]:
    columns = ("run", "GPUs", "throughput", "interval", "step", "efficiency", "time to train", "memory of a GPU")
    yield from _table(
        "What is predicted, with the interval in which the truth lies with the probability beside it",
        columns,
        map(_row, subject.runs),
    )


def _row(run: Run) -> list[tuple[str, float | str]]:
    one = run.prediction
    ends = one.interval.ranges["throughput"]
    between = f"{ends.low:,.0f} to {ends.high:,.0f} samples/s ({one.interval.level:.0%})"
    gpus = run.scenario.plan.gpus
    return [
        (run.label, run.label),
        (f"{gpus:,}", gpus),
        (SAMPLE_RATE.short(one.throughput), one.throughput),
        (between, ends.low),
        (TIME.short(one.step_time), one.step_time),
        (f"{one.scaling_efficiency:.1%}", one.scaling_efficiency),
        (TIME.short(one.time_to_train), one.time_to_train),
        (DATA.short(one.memory.total, 3), one.memory.total),
    ]


def _figure(one: Drawn, pictures: Mapping[str, bytes]) -> str:
    head = f'<section id="{one.name}"><h2>{escape(one.title)}</h2>'
    if one.picture is None:
        return f"{head}<p>Not drawn: {escape(one.why_not)}.</p></section>\n"
    data = base64.b64encode(pictures[one.name]).decode()
    says = escape(one.picture.says, quote=True)
    columns = ("series", one.picture.x, "value", "low", "high", "unit")
    rows = (
        [(text, text) if isinstance(text, str) else (short(text), text) for text in values]
        for values in (
            (number.series, number.x, number.y, _or_nothing(number.low), _or_nothing(number.high), number.unit)
            for number in one.picture.numbers
        )
    )
    table = "".join(_table(f"Numbers of: {one.title}", columns, rows))
    return (
        f'{head}<figure><img alt="{says}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{escape(one.picture.note)}</figcaption></figure>"
        f"<details><summary>In words</summary><p>{says}</p></details>"
        f"<details><summary>{len(one.picture.numbers)} numbers</summary>{table}</details></section>\n"
    )


def _or_nothing(value: float | None) -> float | str:
    return "" if value is None else value


def _table(caption: str, columns: Iterable[str], rows: Iterable[Iterable[tuple[str, float | str]]]) -> Iterator[str]:
    """Yield a table whose columns can be sorted; each cell is its text and what it is sorted by."""
    heads = "".join(f'<th scope="col"><button type="button">{escape(column)}</button></th>' for column in columns)
    yield f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
    yield f"<table><caption>{escape(caption)}</caption>"
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for row in rows:
        yield "<tr>" + "".join(_cell(text, by) for text, by in row) + "</tr>"
    yield "</tbody></table></div>"


def _cell(text: str, by: float | str) -> str:
    if isinstance(by, str):
        return f"<td>{escape(text)}</td>"
    return f'<td class="number" data-by="{by:.6g}">{escape(text)}</td>'


def _sources(subject: Subject) -> Iterator[str]:
    told: dict[str, str] = {}
    for run in subject.runs:
        cluster, software = run.scenario.cluster, run.scenario.software
        for profile in (
            cluster,
            cluster.accelerator,
            cluster.intra_node,
            cluster.inter_node,
            software,
            software.library,
            software.kernels,
        ):
            calibrated = f" Calibrated: {profile.calibrated}" if profile.calibrated else ""
            told[f"{profile.kind}/{profile.name}"] = f"{profile.source}.{calibrated}"
    for result in subject.published.results:
        if any(run.is_of(result.observation.scenario) for run in subject.runs):
            told[f"published, {result.observation.case.system}"] = result.observation.case.source
    for name, source in told.items():
        yield f"<li><b>{escape(name)}</b>: {escape(source)}</li>"
    sources = {result.observation.case.source for result in subject.published.results}
    yield f"<li><b>predicted against published</b>: {len(sources)} sources, "
    yield "each of which <code>lbsim validate</code> names.</li>"
