"""Step recorder: the times at which gradients are ready and buffers are ready, sent and received.

A mark is a number or a CUDA event taken during the step; seconds are computed after the steps.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from lbsim.measurements.trace import Buffer, Gradient, RankTimeline

Mark = Any
"""A point in time, in the representation of its clock."""

__all__ = ["Clock", "DeviceClock", "HostClock", "Mark", "PlannedBuffer", "StepRecorder", "clock"]


class Clock(Protocol):
    """Takes marks cheaply, and measures the seconds between two of them later."""

    def mark(self) -> Mark:
        """Return a mark of now; on a GPU, of when the current stream reaches this point."""
        ...

    def between(self, start: Mark, end: Mark) -> float:
        """Return the seconds from *start* to *end*."""
        ...


class HostClock:
    """Clock of the host, for tensors on CPUs."""

    def mark(self) -> float:
        """Return the time in seconds."""
        return time.perf_counter()

    def between(self, start: float, end: float) -> float:
        """Return the seconds from *start* to *end*."""
        return end - start


class DeviceClock:
    """Clock of CUDA events, recorded in the current stream."""

    def mark(self) -> torch.cuda.Event:
        """Return an event recorded in the current stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Return the seconds from *start* to *end*; waits until both have been reached."""
        start.synchronize()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3


def clock(device: torch.device) -> Clock:
    """Return the clock for the compute of *device*."""
    return DeviceClock() if device.type == "cuda" else HostClock()


@dataclass(frozen=True)
class PlannedBuffer:
    """Contents of a fusion buffer, as its timeline names them."""

    tensors: tuple[str, ...]
    """Names of the gradients, in the order in which they become ready."""
    message: float
    """Bytes of the all-reduce."""
    all_reduce: str
    """Name of the algorithm."""


@dataclass
class _Step:
    began: float
    start: Mark
    gradients: dict[int, Mark] = field(default_factory=dict)
    buffers: dict[int, dict[str, Mark]] = field(default_factory=dict)
    planned: Sequence[PlannedBuffer] = ()
    marks: dict[str, Mark] = field(default_factory=dict)


class StepRecorder:
    """Records the marks of each step of one rank.

    *gradients* are the names and numbers of elements, in the order of the parameters.
    """

    def __init__(self, rank: int, clock_: Clock, gradients: Sequence[tuple[str, int]]) -> None:
        self._rank, self._clock, self._gradients = rank, clock_, gradients
        self._steps: list[_Step] = []

    def begin(self, planned: Sequence[PlannedBuffer]) -> None:
        """Start a step that sends the *planned* buffers."""
        self._steps.append(_Step(time.time(), self._clock.mark(), planned=planned))

    def gradient(self, index: int) -> None:
        """Mark that the gradient of the parameter at *index* is ready."""
        self._steps[-1].gradients[index] = self._clock.mark()

    def buffer(self, index: int, moment: str) -> None:
        """Mark that the buffer at *index* is ``ready``, ``sent`` or ``received``."""
        self._steps[-1].buffers.setdefault(index, {})[moment] = self._clock.mark()

    def mark(self, name: str) -> None:
        """Mark the end of the part *name* of the step."""
        self._steps[-1].marks[name] = self._clock.mark()

    def timelines(self) -> list[RankTimeline]:
        """Return the timelines of the recorded steps, in seconds since the start of each."""
        return [self._timeline(number, step) for number, step in enumerate(self._steps)]

    def _timeline(self, number: int, step: _Step) -> RankTimeline:
        def seconds(mark: Mark) -> float:
            return round(max(0.0, self._clock.between(step.start, mark)), 7)

        gradients = [
            Gradient(name=name, elements=elements, ready=seconds(step.gradients[i]) if i in step.gradients else None)
            for i, (name, elements) in enumerate(self._gradients)
        ]
        return RankTimeline(
            rank=self._rank,
            step=number,
            began=step.began,
            marks={name: seconds(mark) for name, mark in step.marks.items()},
            gradients=tuple(reversed(gradients)),
            buffers=tuple(
                Buffer(
                    tensors=step.planned[i].tensors,
                    message=step.planned[i].message,
                    all_reduce=step.planned[i].all_reduce,
                    **{moment: seconds(mark) for moment, mark in marks.items()},
                )
                for i, marks in sorted(step.buffers.items())
            ),
        )
