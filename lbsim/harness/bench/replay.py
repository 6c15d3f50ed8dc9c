"""Replay of a trace: a module that waits for recorded times instead of computing, so that ranks can share cores."""

import time
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lbsim.errors import InputError
from lbsim.measurements.trace import RankTimeline, Trace, read_trace
from lbsim.measurements.trace_timeline import timelines_of

__all__ = ["Replay"]


class Replay(nn.Module):
    """Waits for the forward pass, each gradient and the update of the recorded steps of one rank, in a cycle.

    Its gradients have the recorded sizes, and all elements equal *rank*, so that their mean can be checked.
    """

    def __init__(self, timelines: list[RankTimeline], rank: int = 0) -> None:
        super().__init__()
        self.rank = rank
        self._timelines, self._step, self._start = timelines, -1, 0.0
        first = timelines[0]
        self.names = [gradient.name for gradient in reversed(first.gradients)]
        """Names of the parameters, in the order of the recorded model."""
        self._weights = nn.ParameterList([nn.Parameter(torch.zeros(g.elements)) for g in reversed(first.gradients)])
        self._steps = [_RecordedStep.of(timeline) for timeline in timelines]

    @classmethod
    def read(cls, file: Path, rank: int = 0) -> "Replay":
        """Return a replay of *rank*, modulo the ranks recorded, of the trace *file*; InputError if it has no times."""
        return cls.of(read_trace(file), str(file), rank)

    @classmethod
    def of(cls, trace: Trace, name: str, rank: int = 0) -> "Replay":
        """Return a replay of *rank* in *trace*; InputError, with *name*, if it has no times of gradients."""
        recorded = sorted({timeline.rank for timeline in trace.timelines})
        if not recorded:
            raise InputError(f"{name}: no timelines to replay; take a trace with bench scaling or bench step")
        timelines = list(timelines_of(trace, recorded[rank % len(recorded)]))
        sizes = {tuple((g.name, g.elements) for g in timeline.gradients) for timeline in timelines}
        if len(sizes) != 1 or not timelines[0].gradients or any("forward" not in one.marks for one in timelines):
            raise InputError(f"{name}: its timelines lack gradients or the mark 'forward', or differ in gradients")
        return cls(timelines, rank)

    def named(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters with their names in the trace."""
        return list(zip(self.names, self._weights, strict=True))

    def forward(self) -> Tensor:
        """Wait for the time of the forward pass; return a tensor whose ``backward`` waits for the gradients."""
        self._step = (self._step + 1) % len(self._steps)
        _wait_until(time.perf_counter() + self._steps[self._step].forward)
        carried = torch.zeros((), requires_grad=True)
        for index, weight in enumerate(self._weights):
            carried = cast("Tensor", _Layer.apply(carried, weight, self, index))  # type: ignore[no-untyped-call]  # torch
        self._start = time.perf_counter()
        return carried

    def update(self) -> None:
        """Wait for the time of the update."""
        _wait_until(time.perf_counter() + self._steps[self._step].update)

    def until_ready(self, index: int) -> None:
        """Wait until the recorded ready time of the gradient of the parameter at *index*."""
        _wait_until(self._start + self._steps[self._step].ready[index])


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, carried: Tensor, weight: Tensor, replay: Replay, index: int) -> Tensor:
        ctx.replay, ctx.index, ctx.elements = replay, index, weight.numel()
        return carried.view_as(carried)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        gradient = torch.full((ctx.elements,), float(ctx.replay.rank))
        ctx.replay.until_ready(ctx.index)
        return gradients[0], gradient, None, None


class _RecordedStep:
    """Recorded step: seconds of forward, of each gradient after it, and of the update."""

    def __init__(self, forward: float, ready: list[float], update: float) -> None:
        self.forward, self.ready, self.update = forward, ready, update

    @classmethod
    def of(cls, timeline: RankTimeline) -> "_RecordedStep":
        """Return the times of *timeline*; a gradient that was never ready gets the time of the one before it."""
        marks, latest, ready = timeline.marks, 0.0, []
        for gradient in timeline.gradients:
            latest = max(latest, 0.0 if gradient.ready is None else gradient.ready - marks["forward"])
            ready.append(latest)
        update = marks["step"] - marks["all_reduce"] if {"step", "all_reduce"} <= marks.keys() else 0.0
        return cls(marks["forward"], ready[::-1], max(0.0, update))


def _wait_until(due: float) -> None:
    """Sleep until *due*; spinning would take the core from another rank."""
    remaining = due - time.perf_counter()
    if remaining > 0:
        time.sleep(remaining)
