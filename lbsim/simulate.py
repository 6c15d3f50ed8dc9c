"""The simpy model of a step: a compute stream, communication streams, and links as resources.

Backward makes gradients ready; each fusion buffer becomes a process that waits for a communication stream, copies
the gradients in, runs the collective's phases, each of which holds the links it crosses, and copies them out. The
update waits for all of them. A loader prepares the next step's input meanwhile. Several steps are played and the
last is kept, so that what was prepared ahead is in its steady state.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import simpy

from lbsim.collective import Collective, Fabric, LinkName
from lbsim.compute import ComputeTimes
from lbsim.fusion import FusionBuffer
from lbsim.timeline import Span, Timeline

_STEPS = 3
"""The loader's one batch of lead is used up in the first; the third repeats the second."""

Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Transfer:
    """A fusion buffer and the collective that carries it."""

    buffer: FusionBuffer
    collective: Collective
    copy_time: float = 0.0
    """Seconds to copy the gradients into the buffer and out of it, half before and half after."""

    @property
    def message(self) -> float:
        """Bytes."""
        return self.buffer.message

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the gradients in the buffer."""
        return self.buffer.tensors

    @property
    def algorithm(self) -> str:
        """The algorithm that carries it."""
        return self.collective.algorithm


@dataclass(frozen=True)
class Step:
    """All that happens in one step of training."""

    times: ComputeTimes
    transfers: tuple[Transfer, ...] = ()
    overlap: bool = True
    overlap_slowdown: float = 0.0
    """Share by which compute takes longer while a collective is under way."""
    overhead: float = 0.0
    """Seconds a step that nothing hides."""
    input_time: float = 0.0
    """Seconds to prepare one step's input, which overlaps with the step before."""


def simulate(step: Step, fabric: Fabric, steps: int = _STEPS) -> Timeline:
    """Play *steps* steps and return the last one."""
    machine = _Machine(step, fabric)
    machine.environment.process(machine.load(steps))
    machine.environment.run(machine.environment.process(machine.train(steps)))
    start, end = machine.boundaries[-2:]
    spans = (
        Span(span.stream, span.name, span.start - start, span.end - start)
        for span in machine.spans
        if span.start >= start
    )
    return Timeline(tuple(spans), end - start)


class _Machine:
    def __init__(self, step: Step, fabric: Fabric) -> None:
        self.step, self.fabric = step, fabric
        self.environment = simpy.Environment()
        self.streams = simpy.Resource(self.environment, fabric.library.streams)
        self.links: dict[LinkName, simpy.Resource] = {
            "intra_node": simpy.Resource(self.environment),
            "inter_node": simpy.Resource(self.environment),
        }
        self.inputs = simpy.Store(self.environment, capacity=1)
        self.communicating = 0
        self.change = self.environment.event()
        self.spans: list[Span] = []
        self.boundaries = [0.0]

    def train(self, steps: int) -> Process:
        """Run one step after another."""
        times = self.step.times
        for _ in range(steps):
            yield self.inputs.get()
            yield from self._compute("input", times.input_overhead)
            yield from self._compute("forward", times.forward)
            sent = yield from self._backward()
            yield self.environment.all_of(sent)
            yield from self._wait("compute", "update", times.update + self.step.overhead)
            self.boundaries.append(self.environment.now)

    def load(self, steps: int) -> Process:
        """Prepare each step's input, at most one ahead."""
        for _ in range(steps):
            yield self.environment.timeout(self.step.input_time)
            yield self.inputs.put(None)

    def _backward(self) -> Generator[simpy.Event, Any, list[simpy.Process]]:
        sent = []
        done = 0.0
        for transfer in self.step.transfers:
            if self.step.overlap:
                yield from self._compute("backward", transfer.buffer.ready - done)
                done = transfer.buffer.ready
                sent.append(self.environment.process(self._send(transfer)))
        yield from self._compute("backward", self.step.times.backward - done)
        if not self.step.overlap:
            sent = [self.environment.process(self._send(transfer)) for transfer in self.step.transfers]
        return sent

    def _compute(self, name: str, seconds: float) -> Process:
        """Compute for *seconds*, longer while a collective is under way."""
        if seconds <= 0:
            return
        start = self.environment.now
        if not (self.step.overlap_slowdown and self.step.transfers):
            yield self.environment.timeout(seconds)
        while self.step.overlap_slowdown and self.step.transfers and seconds > 0:
            pace = 1 + (self.step.overlap_slowdown if self.communicating else 0.0)
            began, end = self.environment.now, self.environment.timeout(seconds * pace)
            yield end | self.change
            seconds = 0.0 if end.processed else seconds - (self.environment.now - began) / pace
        self.spans.append(Span("compute", name, start, self.environment.now))

    def _send(self, transfer: Transfer) -> Process:
        with self.streams.request() as stream:
            yield stream
            start = self.environment.now
            self._communicating(+1)
            yield from self._wait("copy", "pack", transfer.copy_time / 2)
            if transfer.collective.phases:
                yield self.environment.timeout(self.fabric.library.per_collective)
            for phase in transfer.collective.phases:
                yield from self._hold(phase.links, phase.name, self.fabric.phase_time(phase))
            yield from self._wait("copy", "unpack", transfer.copy_time / 2)
            self._communicating(-1)
            name = f"{transfer.algorithm}, {len(transfer.tensors)} tensors"
            self.spans.append(Span("communication", name, start, self.environment.now))

    def _hold(self, links: Iterable[LinkName], name: str, seconds: float) -> Process:
        """Hold *links*, asked for in a fixed order so that none waits for another in a circle."""
        requests = []
        for link in links:
            request = self.links[link].request()
            yield request
            requests.append((link, request))
        start = self.environment.now
        yield self.environment.timeout(seconds)
        for link, request in requests:
            self.links[link].release(request)
            self.spans.append(Span(link, name, start, self.environment.now))

    def _wait(self, stream: str, name: str, seconds: float) -> Process:
        if seconds > 0:
            start = self.environment.now
            yield self.environment.timeout(seconds)
            self.spans.append(Span(stream, name, start, self.environment.now))

    def _communicating(self, change: int) -> None:
        self.communicating += change
        self.change.succeed()
        self.change = self.environment.event()
