"""Fusion engine: gradients leave through hooks in fusion buffers that are all-reduced during the backward pass.

`lbsim.communication.fusion` decides which gradients share a buffer, as in every prediction.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from lbsim.communication.fusion import FusionBuffer
from lbsim.harness.communication import collectives
from lbsim.harness.communication.agreement import require_agreement
from lbsim.harness.communication.fusion_buffers import BufferMemory, allocate, plan_buffers
from lbsim.harness.communication.options import DTYPES, CommunicationOptions
from lbsim.harness.communication.process_group import CommunicationError, broadcast, on_all_ranks, rank, world_size
from lbsim.harness.communication.ready_times import (
    FusionTimes,
    ReadyTimeRecorder,
    measured_cost,
    read_ready_times,
    ring_cost,
)
from lbsim.harness.communication.step_recorder import StepRecorder, clock
from lbsim.harness.communication.stream import communication_stream

__all__ = ["FusionEngine"]


class FusionEngine:
    """lbsim's engine: every gradient becomes the mean over ranks between `begin_step` and `finish_step`.

    All ranks construct it together; where they differ in options or parameters, all raise InputError. A parameter
    without a gradient counts as zero, and delays its buffer and those after it until `finish_step`. Backward passes
    outside a step stay local, so that gradients of several batches can be accumulated before the last one is sent.
    """

    def __init__(
        self,
        parameters: Sequence[tuple[str, Parameter]],
        options: CommunicationOptions,
        recorder: StepRecorder | None = None,
    ) -> None:
        self._parameters = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
        self._options, self.recorder = options, recorder
        require_agreement(self._parameters, options)
        self._all_reduce = collectives.algorithm(
            options.all_reduce, options.group_size, options.hybrid_threshold, options.timeout
        )
        self.note = self._all_reduce.note
        self._device = self._parameters[0][1].device
        self._stream = communication_stream(self._device)
        self._ready_times: ReadyTimeRecorder | None = None
        times = None
        if options.timed and options.fusion_trace is not None:
            ready = on_all_ranks(partial(read_ready_times, options.fusion_trace, self._parameters))
            times = self._agreed_times(ready)
        elif options.timed or options.order == "measured":
            steps = options.fusion_warm_up if options.timed else 1
            self._ready_times = ReadyTimeRecorder(steps, clock(self._device), len(self._parameters))
        self._plan(times)
        self._in_step, self._next = False, 0
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._on_ready, index))
            for index, (_, parameter) in enumerate(self._parameters)
        ]

    @property
    def buffers(self) -> tuple[FusionBuffer, ...]:
        """The planned fusion buffers, in the order in which they are sent."""
        return self._planned

    def begin_step(self) -> None:
        """Start a step: the next backward pass computes the gradients to average."""
        self._in_step, self._next = True, 0
        for buffer in self._buffers:
            buffer.missing, buffer.wait = len(buffer.parameters), None
        if self._ready_times:
            self._ready_times.begin()
        if self.recorder:
            self.recorder.begin([buffer.planned for buffer in self._buffers])

    def finish_step(self) -> bool:
        """Return when every gradient is the mean over ranks: on a GPU, in the order of the current stream.

        True if the warm-up has ended with this step and new buffers are planned.
        """
        for index in range(self._next, len(self._buffers)):
            if self.recorder and self._buffers[index].missing:
                self.recorder.buffer(index, "ready")
            self._send(index)
        for buffer in self._buffers:
            self._finish(buffer)
        self._in_step = False
        ready = self._ready_times.end() if self._ready_times else None
        if ready is not None:
            self._ready_times = None
            self._plan(self._agreed_times(ready))
        if self.recorder:
            self.recorder.mark("all_reduce")
        return ready is not None

    def state(self) -> dict[str, Any]:
        """Return the times by which the buffers are planned, or those that the warm-up has measured so far."""
        times = None if self.times is None else asdict(self.times)
        return {"pace": times, "warm_up": self._ready_times.times() if self._ready_times else []}

    def restore(self, state: dict[str, Any]) -> None:
        """Plan by the times in *state*: times measured again would differ, and so would the buffers."""
        if state["pace"] is not None:
            self._ready_times = None
            self._plan(FusionTimes(**state["pace"]))
        elif self._ready_times:
            self._ready_times.resume(state["warm_up"])

    def close(self) -> None:
        """Remove the hooks and end the communication stream."""
        for hook in self._hooks:
            hook.remove()
        self._stream.close()

    def _agreed_times(self, ready: Sequence[float]) -> FusionTimes:
        """Return rank 0's ready times and cost of a message, the same on every rank."""
        options = self._options
        try:
            startup, per_byte = 0.0, 0.0
            if world_size() > 1 and options.fusion_latency is not None and options.fusion_bandwidth is not None:
                startup, per_byte = ring_cost(world_size(), options.fusion_latency, options.fusion_bandwidth)
            elif world_size() > 1 and options.timed:
                startup, per_byte = measured_cost(self._all_reduce, self._device, DTYPES[options.precision])
            return broadcast(FusionTimes(tuple(ready), startup, per_byte))
        except RuntimeError as error:
            raise _communication_error("exchange of the times that fusion plans by", options.timeout, error) from error

    def _plan(self, times: FusionTimes | None) -> None:
        """Plan the buffers by *times* and allocate them."""
        self.times = times
        self._planned = plan_buffers(self._parameters, self._options, world_size(), times)
        dtype = DTYPES[self._options.precision]
        self._buffers: list[BufferMemory] = [
            allocate(planned, self._parameters, dtype, self._all_reduce) for planned in self._planned
        ]
        buffer_of = {name: number for number, planned in enumerate(self._planned) for name in planned.tensors}
        self._buffer_of = [buffer_of[name] for name, _ in self._parameters]

    def _on_ready(self, index: int, _: Tensor) -> None:
        """Count the gradient of the parameter at *index*, and send the buffers that are complete."""
        if not self._in_step:
            return
        number = self._buffer_of[index]
        buffer = self._buffers[number]
        if not buffer.missing:
            raise CommunicationError(
                f"'{self._parameters[index][0]}' has a second gradient in one step; call begin_step before the last "
                "backward pass only"
            )
        buffer.missing -= 1
        if self._ready_times:
            self._ready_times.record(index)
        if self.recorder:
            self.recorder.gradient(index)
            if not buffer.missing:
                self.recorder.buffer(number, "ready")
        if self._options.overlap:
            # in the planned order on every rank: collectives in different orders deadlock
            while self._next < len(self._buffers) and not self._buffers[self._next].missing:
                self._send(self._next)

    def _send(self, index: int) -> None:
        self._next = index + 1
        self._buffers[index].wait = self._stream.submit(partial(self._reduce, index))

    def _reduce(self, index: int) -> None:
        """Pack and all-reduce a buffer; runs in the communication stream."""
        buffer = self._buffers[index]
        if world_size() > 1:
            buffer.pack(1 / world_size())
        if self.recorder:
            self.recorder.buffer(index, "sent")
        if world_size() > 1:
            self._all_reduce(buffer.flat)
        if self.recorder:
            self.recorder.buffer(index, "received")

    def _finish(self, buffer: BufferMemory) -> None:
        try:
            if buffer.wait is not None:
                buffer.wait()
        except RuntimeError as error:
            first = buffer.planned.tensors[0]
            raise _communication_error(f"the all-reduce of '{first}'", self._options.timeout, error) from error
        if world_size() > 1:
            with torch.no_grad():
                buffer.unpack()


def _communication_error(what: str, timeout: float, error: RuntimeError) -> CommunicationError:
    reason = str(error).strip().partition("\n")[0]
    return CommunicationError(
        f"rank {rank()}: {what} failed: a rank has died, or none answered for {timeout:g} s ({reason})"
    )
