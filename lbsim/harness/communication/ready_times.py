"""When gradients become ready and what a message costs: what fusion policies that plan by times need to know."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.nn import Parameter

from lbsim.errors import InputError
from lbsim.harness.communication.collectives import AllReduce
from lbsim.harness.communication.step_recorder import Clock, Mark
from lbsim.measurements.trace import read_trace
from lbsim.measurements.trace_timeline import timelines_of

_SMALL, _LARGE = 4 * 2**10, 4 * 2**20
"""Bytes of the messages that are timed."""


@dataclass(frozen=True)
class Pace:
    """What every rank plans by: rank 0's."""

    ready: tuple[float, ...]
    """Seconds after the step began when the gradient of each parameter was there, in the parameters' order.

    From backward's start it would be less by one constant, which moves nothing but the phase of Horovod's cycles.
    """
    startup: float
    """Seconds of an all-reduce, whatever it carries."""
    per_byte: float
    """Seconds that each byte of a message adds."""

    def cost(self, message: float) -> float:
        """Return the seconds that an all-reduce of *message* bytes takes, in the α-β model."""
        return self.startup + self.per_byte * message


Times = list[float | None]
"""Of one step: seconds after it began when the gradient of each parameter was there; none if it never was."""


class WarmUp:
    """Watches the first steps."""

    def __init__(self, steps: int, timer: Clock, parameters: int) -> None:
        self._steps, self._timer, self._parameters = steps, timer, parameters
        self._before: list[Times] = []
        self._seen: list[tuple[Mark, dict[int, Mark]]] = []

    def go_on_from(self, taken: Sequence[Times]) -> None:
        """Count what was *taken* before a restart."""
        self._before = [list(times) for times in taken]

    def begin(self) -> None:
        """Start a step."""
        self._seen.append((self._timer.mark(), {}))

    def saw(self, index: int) -> None:
        """Mark that the gradient of the parameter that stands at *index* is ready."""
        self._seen[-1][1][index] = self._timer.mark()

    def taken(self) -> list[Times]:
        """Return the times of each step that has ended."""
        return self._before + [
            [self._timer.between(start, marks[i]) if i in marks else None for i in range(self._parameters)]
            for start, marks in self._seen
        ]

    def end(self) -> list[float] | None:
        """Return the median time of each gradient after the last step, with those that never came at the end."""
        if len(self._before) + len(self._seen) < self._steps:
            return None
        taken = self.taken()
        warm = taken[1:] or taken
        times = [[each for each in of_steps if each is not None] for of_steps in zip(*warm, strict=True)]
        return _filled([median(each) if each else None for each in times])


def ready_in(file: Path, parameters: Sequence[tuple[str, Parameter]]) -> list[float]:
    """Return the median time of each of *parameters*' gradients in the trace *file*; InputError if it is of others."""
    trace = read_trace(file)
    ranks = sorted({timeline.rank for timeline in trace.timelines})
    if not ranks:
        raise InputError(f"{file}: no timelines; take a trace with bench step or bench scaling")
    times: dict[tuple[str, int], list[float]] = {}
    for timeline in timelines_of(trace, ranks[0]):
        for gradient in timeline.gradients:
            own = times.setdefault((gradient.name, gradient.elements), [])
            own += [] if gradient.ready is None else [gradient.ready]
    known = [times.get((name, parameter.numel())) for name, parameter in parameters]
    for (name, parameter), each in zip(parameters, known, strict=True):
        if each is None:
            raise InputError(
                f"{file}: no gradient '{name}' of {parameter.numel()} elements in it; take a trace of this model"
            )
    return _filled([median(each) if each else None for each in known])


def ring_cost(ranks: int, latency: float, bandwidth: float) -> tuple[float, float]:
    r"""Return start-up and seconds a byte of a ring all-reduce over links of *latency* and *bandwidth*.

    .. math:: t = 2 (n - 1) (\alpha + S / (n B))

    R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH," IJHPCA,
    vol. 19, 2005.

    >>> ring_cost(5, 1e-6, 1e9)
    (8e-06, 1.6e-09)
    """
    turns = 2 * (ranks - 1)
    return turns * latency, turns / ranks / bandwidth


def timed_cost(way: AllReduce, device: torch.device, dtype: torch.dtype, repeats: int = 5) -> tuple[float, float]:
    """Return start-up and seconds a byte of *way*, from the medians of a small and a large message.

    All ranks call it together, while nothing else travels or computes: beside a backward pass both are more.
    """
    small, large = (_seconds(way, size, device, dtype, repeats) for size in (_SMALL, _LARGE))
    per_byte = max(0.0, large - small) / (_LARGE - _SMALL)
    return max(0.0, small - per_byte * _SMALL), per_byte


def _seconds(way: AllReduce, size: int, device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    elements = -(-size // dtype.itemsize // way.multiple) * way.multiple
    flat = torch.zeros(elements, dtype=dtype, device=device)
    samples = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        way(flat)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        samples.append(time.perf_counter() - start)
    return median(samples[1:])


def _filled(times: Sequence[float | None]) -> list[float]:
    latest = max((each for each in times if each is not None), default=0.0)
    return [latest if each is None else each for each in times]
