"""Timelines of the ranks of a trace."""

from collections.abc import Sequence
from statistics import median

from lbsim.errors import InputError
from lbsim.measurements.trace import RankTimeline, Trace
from lbsim.simulation.timeline import Span, Timeline


def timelines_of(trace: Trace, rank: int) -> Sequence[RankTimeline]:
    """Return the steps that *rank* of *trace* recorded, in their order."""
    return sorted((timeline for timeline in trace.timelines if timeline.rank == rank), key=lambda one: one.step)


def typical_step(trace: Trace) -> int:
    """Return the step that took most nearly the median of all, by the slowest rank of each; InputError if none."""
    took: dict[int, float] = {}
    for one in trace.timelines:
        took[one.step] = max(took.get(one.step, 0.0), _length(one))
    if not took:
        raise InputError(f"it has no step: it measured {trace.measured}; a trace of measured scaling has some")
    middle = median(took.values())
    return min(took, key=lambda step: (abs(took[step] - middle), step))


def measured_timeline(measured: RankTimeline) -> Timeline:
    """Return *measured* as the spans that a simulated step has.

    Backward is cut where gradients were ready. A buffer waits from when it is ready until it is sent, and
    communicates until it is received; how it was sent, the trace does not know.
    """
    spans = [*_compute(measured)]
    for buffer in measured.buffers:
        name = f"{buffer.all_reduce}, {len(buffer.tensors)} tensors"
        spans.append(Span("communication", name, buffer.sent, buffer.received))
        if buffer.sent > buffer.ready:
            spans.append(Span("waiting", name, buffer.ready, buffer.sent))
    return Timeline(tuple(spans), _length(measured))


def _compute(measured: RankTimeline) -> list[Span]:
    marks, spans = measured.marks, []
    forward = marks.get("forward", 0.0)
    if forward:
        spans.append(Span("compute", "forward", 0.0, forward))
    done = forward
    for ready, name in sorted((one.ready, one.name) for one in measured.gradients if one.ready is not None):
        if ready > done:
            spans.append(Span("compute", f"backward to {name}", done, ready))
            done = ready
    if marks.get("backward", 0.0) > done:
        done = marks["backward"]
        spans.append(Span("compute", "backward", spans[-1].end if spans else 0.0, done))
    done = max(done, marks.get("all_reduce", 0.0))
    if marks.get("step", 0.0) > done:
        spans.append(Span("compute", "update", done, marks["step"]))
    return spans


def _length(measured: RankTimeline) -> float:
    """Return when the last of the step was done."""
    ends = [*measured.marks.values(), *(buffer.received for buffer in measured.buffers)]
    ends += [gradient.ready for gradient in measured.gradients if gradient.ready is not None]
    return max(ends, default=0.0)
