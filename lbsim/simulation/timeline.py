"""What happened when: the spans of one step, simulated or measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Something that took from *start* to *end*, in seconds after the step began."""

    stream: str
    """``compute``, ``communication``, and what a communication is made of: ``library`` and ``links``."""
    name: str
    start: float
    end: float

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class Timeline:
    """The spans of one step in its steady state."""

    spans: tuple[Span, ...]
    step_time: float

    def busy(self, stream: str) -> float:
        """Return the seconds that the spans of *stream* last, added up."""
        return sum(span.duration for span in self.spans if span.stream == stream)
