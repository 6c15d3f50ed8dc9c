"""Chrome traces: timelines in the trace event format of Perfetto and chrome://tracing.

"Trace Event Format", Google, 2016: complete events (``ph`` X) with start and duration in microseconds, and metadata
events (``ph`` M) that name processes and threads.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lbsim.simulation.timeline import Span, Timeline

__all__ = ["lanes", "timeline_to_chrome_trace", "timelines_to_chrome_trace"]

_MICROSECONDS = 1e6  # per second
_STREAMS = ("compute", "communication", "library", "links")
_ROUNDING = 1e-12
"""Seconds by which two successive spans may overlap because of rounding."""


def timeline_to_chrome_trace(timeline: Timeline, name: str) -> dict[str, Any]:
    """Return the trace of *timeline* as a process called *name*.

    Each stream is a thread; spans of a stream that overlap are spread over more threads.
    """
    return timelines_to_chrome_trace({name: timeline})


def timelines_to_chrome_trace(timelines: Mapping[str, Timeline]) -> dict[str, Any]:
    """Return the trace of *timelines*, one process per name, with a common time origin."""
    events = [
        event
        for process, (name, timeline) in enumerate(timelines.items(), start=1)
        for event in _events(timeline, name, process)
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _events(timeline: Timeline, name: str, process: int) -> Iterator[dict[str, Any]]:
    yield _metadata("process_name", process, 0, name=name)
    yield _metadata("process_sort_index", process, 0, sort_index=process)
    others = sorted({span.stream for span in timeline.spans} - set(_STREAMS))
    thread = 0
    for stream in (*_STREAMS, *others):
        for number, lane in enumerate(lanes(span for span in timeline.spans if span.stream == stream), start=1):
            thread += 1
            yield _metadata("thread_name", process, thread, name=stream if number == 1 else f"{stream} {number}")
            yield _metadata("thread_sort_index", process, thread, sort_index=thread)
            yield from (_complete(span, process, thread) for span in lane)


def lanes(spans: Iterable[Span]) -> list[list[Span]]:
    """Return *spans* in lanes without overlaps, as trace viewers require."""
    lanes: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        free = (lane for lane in lanes if lane[-1].end <= span.start + _ROUNDING)
        lane = next(free, None)
        if lane is None:
            lanes.append(lane := [])
        lane.append(span)
    return lanes


def _metadata(kind: str, process: int, thread: int, **arguments: object) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": arguments}


def _complete(span: Span, process: int, thread: int) -> dict[str, Any]:
    start, duration = span.start * _MICROSECONDS, span.duration * _MICROSECONDS
    return {
        "name": span.name,
        "cat": span.stream,
        "ph": "X",
        "ts": start,
        "dur": duration,
        "pid": process,
        "tid": thread,
    }
