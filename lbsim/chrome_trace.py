"""A timeline in the trace event format, which Perfetto and chrome://tracing open.

"Trace Event Format", Google, 2016: complete events (``ph`` X) with start and duration in microseconds, and metadata
events (``ph`` M) that name processes and threads.
"""

from collections.abc import Iterable
from typing import Any

from lbsim.timeline import Span, Timeline

_MICROSECONDS = 1e6  # a second
_STREAMS = ("compute", "communication", "library", "links")
_PROCESS = 1
_ROUNDING = 1e-12
"""Seconds by which a span may begin before the one before it ends."""


def of_timeline(timeline: Timeline, name: str) -> dict[str, Any]:
    """Return the trace of *timeline*, a process called *name*: a thread a stream, more where spans of one overlap."""
    events = [_metadata("process_name", 0, name=name)]
    others = sorted({span.stream for span in timeline.spans} - set(_STREAMS))
    thread = 0
    for stream in (*_STREAMS, *others):
        for number, lane in enumerate(lanes(span for span in timeline.spans if span.stream == stream), start=1):
            thread += 1
            events.append(_metadata("thread_name", thread, name=stream if number == 1 else f"{stream} {number}"))
            events.append(_metadata("thread_sort_index", thread, sort_index=thread))
            events.extend(_complete(span, thread) for span in lane)
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def lanes(spans: Iterable[Span]) -> list[list[Span]]:
    """Share *spans* out so that none overlaps in a lane, as a viewer wants it."""
    lanes: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        free = (lane for lane in lanes if lane[-1].end <= span.start + _ROUNDING)
        lane = next(free, None)
        if lane is None:
            lanes.append(lane := [])
        lane.append(span)
    return lanes


def _metadata(kind: str, thread: int, **told: object) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": _PROCESS, "tid": thread, "args": told}


def _complete(span: Span, thread: int) -> dict[str, Any]:
    start, duration = span.start * _MICROSECONDS, span.duration * _MICROSECONDS
    return {
        "name": span.name,
        "cat": span.stream,
        "ph": "X",
        "ts": start,
        "dur": duration,
        "pid": _PROCESS,
        "tid": thread,
    }
