"""Discrete-event simulation of a step with SimPy: a compute stream, communication streams and shared links.

Backward completes gradients. Each fusion buffer is a process that waits for a communication stream, copies the
gradients into the buffer, runs the phases of the collective, which share the links that they cross equally, and copies
the gradients out. The update waits for all buffers. A loader prepares the input of the next step concurrently. Steps
are simulated until a step takes as long as the previous one, which is the steady state: input prepared before the
first step no longer shortens the step.
"""

from collections import Counter
from collections.abc import Generator, Iterable
from typing import Any

import simpy

from lbsim.communication.collective import LinkName, Phase
from lbsim.simulation.step_schedule import StepSchedule, Transfer
from lbsim.simulation.timeline import Span, Timeline

__all__ = ["Process", "simulate_schedule"]

_MOST_STEPS = 50
_SAME = 1e-9
"""Relative difference below which two step times count as equal."""

Process = Generator[simpy.Event, Any, None]


def simulate_schedule(schedule: StepSchedule, streams: int = 1) -> Timeline:
    """Return the timeline of a step of *schedule* in steady state, with times relative to the start of that step.

    At most *streams* collectives run concurrently; their phases share the links that they cross equally. After 50
    steps without a steady state, the last step is returned.
    """
    machine = _StepProcesses(schedule, streams)
    machine.environment.process(machine.load())
    machine.environment.run(machine.environment.process(machine.train()))
    start, end = machine.boundaries[-2:]
    spans = (
        Span(span.stream, span.name, span.start - start, span.end - start)
        for span in machine.spans
        if span.start >= start
    )
    return Timeline(tuple(spans), end - start)


class _StepProcesses:
    def __init__(self, schedule: StepSchedule, streams: int) -> None:
        self.schedule = schedule
        self.environment = simpy.Environment()
        self.streams = simpy.Resource(self.environment, streams)
        self.users: Counter[LinkName] = Counter()
        self.crowding = self.environment.event()
        self.inputs = simpy.Store(self.environment, capacity=1)
        self.communicating = 0
        self.change = self.environment.event()
        self.spans: list[Span] = []
        self.boundaries = [0.0]

    def train(self) -> Process:
        """Run steps until the step time is constant."""
        times, ends = self.schedule.times, self.boundaries
        while len(ends) <= _MOST_STEPS:
            yield self.inputs.get()
            yield from self._compute("input", times.input_overhead)
            yield from self._compute("forward", times.forward)
            sent = yield from self._backward()
            yield from sent
            yield from self._wait("compute", "update", times.update + self.schedule.overhead)
            ends.append(self.environment.now)
            if len(ends) > 2 and abs(ends[-1] - 2 * ends[-2] + ends[-3]) <= _SAME * (ends[-1] - ends[-2]):
                return

    def load(self) -> Process:
        """Prepare the input of each step, at most one step ahead."""
        while True:
            yield self.environment.timeout(self.schedule.input_time)
            yield self.inputs.put(None)

    def _backward(self) -> Generator[simpy.Event, Any, list[simpy.Process]]:
        sent = []
        done = 0.0
        for transfer in self.schedule.transfers:
            if self.schedule.overlap:
                yield from self._compute("backward", transfer.buffer.ready - done)
                done = transfer.buffer.ready
                sent.append(self.environment.process(self._send(transfer)))
        yield from self._compute("backward", self.schedule.times.backward - done)
        if not self.schedule.overlap:
            sent = [self.environment.process(self._send(transfer)) for transfer in self.schedule.transfers]
        return sent

    def _compute(self, name: str, seconds: float) -> Process:
        """Compute for *seconds*, at a lower rate while a collective runs."""
        if seconds <= 0:
            return
        start = self.environment.now
        if not (self.schedule.overlap_slowdown and self.schedule.transfers):
            yield self.environment.timeout(seconds)
        while self.schedule.overlap_slowdown and self.schedule.transfers and seconds > 0:
            slowdown = 1 + (self.schedule.overlap_slowdown if self.communicating else 0.0)
            began, end = self.environment.now, self.environment.timeout(seconds * slowdown)
            yield end | self.change
            seconds = 0.0 if end.processed else seconds - (self.environment.now - began) / slowdown
        self.spans.append(Span("compute", name, start, self.environment.now))

    def _send(self, transfer: Transfer) -> Process:
        if transfer.buffer.delay:
            yield self.environment.timeout(transfer.buffer.delay)
        with self.streams.request() as stream:
            yield stream
            start = self.environment.now
            self._count_communication(+1)
            collective, library = transfer.collective, transfer.fabric.library
            yield from self._wait(
                "library", "pack and start", transfer.copy_time / 2 + library.start_up * bool(collective.phases)
            )
            for phase in collective.phases:
                yield from self._share(phase, transfer.fabric.phase_time(phase))
            yield from self._wait("library", "unpack", transfer.copy_time / 2)
            self._count_communication(-1)
            name = f"{transfer.algorithm}, {len(transfer.tensors)} tensors"
            self.spans.append(Span("communication", name, start, self.environment.now))

    def _share(self, phase: Phase, seconds: float) -> Process:
        """Run a phase of *seconds* on idle links; its rate is divided by the number of phases on its busiest link."""
        if self.streams.capacity == 1:
            yield from self._wait("links", phase.name, seconds)
            return
        start = self.environment.now
        self._crowd(phase.links, +1)
        while seconds > 0:
            crowd = max(self.users[link] for link in phase.links)
            began, end = self.environment.now, self.environment.timeout(seconds * crowd)
            yield end | self.crowding
            seconds = 0.0 if end.processed else max(0.0, seconds - (self.environment.now - began) / crowd)
        self._crowd(phase.links, -1)
        self.spans.append(Span("links", phase.name, start, self.environment.now))

    def _crowd(self, links: Iterable[LinkName], change: int) -> None:
        for link in links:
            self.users[link] += change
        self.crowding.succeed()
        self.crowding = self.environment.event()

    def _wait(self, stream: str, name: str, seconds: float) -> Process:
        if seconds > 0:
            start = self.environment.now
            yield self.environment.timeout(seconds)
            self.spans.append(Span(stream, name, start, self.environment.now))

    def _count_communication(self, change: int) -> None:
        self.communicating += change
        self.change.succeed()
        self.change = self.environment.event()
