"""Ready times of gradients and cost of a message, from which fusion policies plan."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.nn import Parameter

from lbsim.errors import InputError
from lbsim.harness.communication.collectives import AllReduceAlgorithm
from lbsim.harness.communication.step_recorder import Clock, Mark
from lbsim.measurements.trace import read_trace
from lbsim.measurements.trace_timeline import timelines_of

__all__ = ["FusionTimes", "ReadyTimeRecorder", "StepTimes", "measured_cost", "read_ready_times", "ring_cost"]

_SMALL, _LARGE = 4 * 2**10, 4 * 2**20
"""Bytes of the messages that are measured."""


@dataclass(frozen=True)
class FusionTimes:
    """Times from which every rank plans its fusion buffers; rank 0's."""

    ready: tuple[float, ...]
    """Seconds from the start of the step until each gradient is ready, in the order of the parameters.

    Times from the start of backward differ by a constant, which changes only the phase of Horovod's cycles.
    """
    startup: float
    """Seconds of an all-reduce of no bytes."""
    per_byte: float
    """Seconds per byte of a message."""

    def cost(self, message: float) -> float:
        """Return the seconds of an all-reduce of *message* bytes, in the α-β model."""
        return self.startup + self.per_byte * message


StepTimes = list[float | None]
"""Seconds from the start of one step until each gradient was ready; None for a gradient that never was."""


class ReadyTimeRecorder:
    """Measures the ready times of the first *steps* steps."""

    def __init__(self, steps: int, clock: Clock, parameters: int) -> None:
        self._steps, self._clock, self._parameters = steps, clock, parameters
        self._before: list[StepTimes] = []
        self._marks: list[tuple[Mark, dict[int, Mark]]] = []

    def resume(self, times: Sequence[StepTimes]) -> None:
        """Count the *times* of the steps before a restart."""
        self._before = [list(of_step) for of_step in times]

    def begin(self) -> None:
        """Start a step."""
        self._marks.append((self._clock.mark(), {}))

    def record(self, index: int) -> None:
        """Mark that the gradient of the parameter at *index* is ready."""
        self._marks[-1][1][index] = self._clock.mark()

    def times(self) -> list[StepTimes]:
        """Return the times of each step that has ended, those before a restart first."""
        return self._before + [
            [self._clock.between(start, marks[i]) if i in marks else None for i in range(self._parameters)]
            for start, marks in self._marks
        ]

    def end(self) -> list[float] | None:
        """End a step; after the last one return each gradient's median time, with those that never came at the end."""
        if len(self._before) + len(self._marks) < self._steps:
            return None
        steps = self.times()
        warm = steps[1:] or steps
        of_gradients = [[each for each in of_steps if each is not None] for of_steps in zip(*warm, strict=True)]
        return _filled([median(each) if each else None for each in of_gradients])


def read_ready_times(file: Path, parameters: Sequence[tuple[str, Parameter]]) -> list[float]:
    """Return the median ready time in seconds of each gradient of *parameters* in the trace *file*.

    Raises InputError for a trace without timelines or of another model.
    """
    trace = read_trace(file)
    ranks = sorted({timeline.rank for timeline in trace.timelines})
    if not ranks:
        raise InputError(f"{file}: no timelines; take a trace with bench step or bench scaling")
    times: dict[tuple[str, int], list[float]] = {}
    for timeline in timelines_of(trace, ranks[0]):
        for gradient in timeline.gradients:
            samples = times.setdefault((gradient.name, gradient.elements), [])
            samples += [] if gradient.ready is None else [gradient.ready]
    known = [times.get((name, parameter.numel())) for name, parameter in parameters]
    for (name, parameter), each in zip(parameters, known, strict=True):
        if each is None:
            raise InputError(
                f"{file}: no gradient '{name}' of {parameter.numel()} elements in it; take a trace of this model"
            )
    return _filled([median(each) if each else None for each in known])


def ring_cost(ranks: int, latency: float, bandwidth: float) -> tuple[float, float]:
    r"""Return seconds of start-up and seconds per byte of a ring all-reduce over links of *latency* and *bandwidth*.

    .. math:: t = 2 (n - 1) (\alpha + S / (n B))

    R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH," IJHPCA,
    vol. 19, 2005.

    >>> ring_cost(5, 1e-6, 1e9)
    (8e-06, 1.6e-09)
    """
    steps = 2 * (ranks - 1)
    return steps * latency, steps / ranks / bandwidth


def measured_cost(
    algorithm: AllReduceAlgorithm, device: torch.device, dtype: torch.dtype, repeats: int = 5
) -> tuple[float, float]:
    """Return seconds of start-up and seconds per byte of *algorithm*, from medians of a small and a large message.

    All ranks call it together while the machine is idle: during a backward pass both are larger.
    """
    small, large = (_seconds(algorithm, size, device, dtype, repeats) for size in (_SMALL, _LARGE))
    per_byte = max(0.0, large - small) / (_LARGE - _SMALL)
    return max(0.0, small - per_byte * _SMALL), per_byte


def _seconds(algorithm: AllReduceAlgorithm, size: int, device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    elements = -(-size // dtype.itemsize // algorithm.multiple) * algorithm.multiple
    flat = torch.zeros(elements, dtype=dtype, device=device)
    samples = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        algorithm(flat)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        samples.append(time.perf_counter() - start)
    return median(samples[1:])


def _filled(times: Sequence[float | None]) -> list[float]:
    latest = max((each for each in times if each is not None), default=0.0)
    return [latest if each is None else each for each in times]
