"""Timelines: the spans of a simulated or measured step."""

from dataclasses import dataclass

__all__ = ["Span", "Timeline"]


@dataclass(frozen=True)
class Span:
    """Interval of activity on a stream."""

    stream: str
    """``compute``, ``communication``, or a part of communication: ``library`` or ``links``."""
    name: str
    """Label of the activity."""
    start: float
    """Seconds from the start of the step."""
    end: float
    """Seconds from the start of the step."""

    @property
    def duration(self) -> float:
        """Seconds from *start* to *end*."""
        return self.end - self.start


@dataclass(frozen=True)
class Timeline:
    """Spans of one step in steady state."""

    spans: tuple[Span, ...]
    step_time: float
    """Seconds of the step."""

    def busy(self, stream: str) -> float:
        """Return the total seconds of the spans of *stream*."""
        return sum(span.duration for span in self.spans if span.stream == stream)
