"""Records a step: when each gradient was ready, and each buffer ready, sent and received.

A mark is a number or an event that is taken on the way; seconds are worked out after the steps.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from lbsim.measurements.trace import Buffer, Gradient, RankTimeline

Mark = Any
"""A moment, as its clock has it."""


class Clock(Protocol):
    """Marks moments cheaply and later says how far apart they were."""

    def mark(self) -> Mark:
        """Return this moment; on a GPU, when the current stream gets here."""
        ...

    def between(self, start: Mark, end: Mark) -> float:
        """Return the seconds from *start* to *end*."""
        ...


class HostClock:
    """The processor's, for tensors on CPUs."""

    def mark(self) -> float:
        """Return this moment in seconds."""
        return time.perf_counter()

    def between(self, start: float, end: float) -> float:
        """Return the seconds from *start* to *end*."""
        return end - start


class DeviceClock:
    """CUDA events, recorded in the current stream."""

    def mark(self) -> torch.cuda.Event:
        """Return an event that the current stream will reach."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Return the seconds from *start* to *end*, waiting for both."""
        start.synchronize()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3


def clock(device: torch.device) -> Clock:
    """Return the clock for what *device* does."""
    return DeviceClock() if device.type == "cuda" else HostClock()


@dataclass(frozen=True)
class Shipment:
    """What a buffer's timeline says beside its marks."""

    tensors: tuple[str, ...]
    message: float
    all_reduce: str


@dataclass
class _Step:
    began: float
    start: Mark
    gradients: dict[int, Mark] = field(default_factory=dict)
    buffers: dict[int, dict[str, Mark]] = field(default_factory=dict)
    shipments: Sequence[Shipment] = ()
    marks: dict[str, Mark] = field(default_factory=dict)


class StepRecorder:
    """Keeps the marks of each step of one rank."""

    def __init__(self, rank: int, clock_: Clock, gradients: Sequence[tuple[str, int]]) -> None:
        self._rank, self._clock, self._gradients = rank, clock_, gradients
        self._steps: list[_Step] = []

    def begin(self, shipments: Sequence[Shipment]) -> None:
        """Start a step that will send *shipments*."""
        self._steps.append(_Step(time.time(), self._clock.mark(), shipments=shipments))

    def gradient(self, index: int) -> None:
        """Mark that the gradient of the parameter that stands at *index* is ready."""
        self._steps[-1].gradients[index] = self._clock.mark()

    def buffer(self, index: int, moment: str) -> None:
        """Mark that the buffer at *index* is ``ready``, ``sent`` or ``received``."""
        self._steps[-1].buffers.setdefault(index, {})[moment] = self._clock.mark()

    def mark(self, name: str) -> None:
        """Mark the end of part *name* of the step."""
        self._steps[-1].marks[name] = self._clock.mark()

    def timelines(self) -> list[RankTimeline]:
        """Return the steps recorded, in seconds."""
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
                    tensors=step.shipments[i].tensors,
                    message=step.shipments[i].message,
                    all_reduce=step.shipments[i].all_reduce,
                    **{moment: seconds(mark) for moment, mark in marks.items()},
                )
                for i, marks in sorted(step.buffers.items())
            ),
        )
