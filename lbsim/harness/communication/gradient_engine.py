"""The gradients' way: out through hooks as they become ready, in fusion buffers, all-reduced beside the backward pass.

Which gradients travel together is what `lbsim.communication.fusion` says, as in every prediction.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Parameter

from lbsim.communication.fusion import FusionBuffer, fuse
from lbsim.compute.gradients import GradientTensor
from lbsim.errors import InputError
from lbsim.harness.communication import collectives
from lbsim.harness.communication.options import DTYPES, CommunicationOptions
from lbsim.harness.communication.process_group import CommunicationError, from_first, gathered, rank, ranks, together
from lbsim.harness.communication.ready_times import Pace, WarmUp, ready_in, ring_cost, timed_cost
from lbsim.harness.communication.step_recorder import Shipment, StepRecorder, clock
from lbsim.harness.communication.stream import Wait, lane


class Engine(Protocol):
    """What brings every rank the mean of all ranks' gradients."""

    note: str
    """What a reader of its measurements must know; mostly nothing."""
    recorder: StepRecorder | None
    """Keeps each step's timeline, if there is one."""

    def begin_step(self) -> None:
        """Say that the next backward pass makes the gradients of a step."""
        ...

    def finish_step(self) -> bool:
        """Return when every gradient is the mean over ranks, and whether this step decided how the next ones travel."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, so that a run that starts again sums in the same order."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's."""
        ...

    def close(self) -> None:
        """Give up hooks and threads."""
        ...


def fusion_buffers(
    parameters: Sequence[tuple[str, Parameter]], options: CommunicationOptions, gpus: int, pace: Pace | None = None
) -> tuple[FusionBuffer, ...]:
    """Return the fusion buffers: by the *pace*, or, while there is none, backwards and by threshold."""
    plan = options.plan(gpus)
    if pace is None and options.timed:
        plan = plan.model_copy(update={"fusion": "threshold"})
    ready = pace.ready if pace else [float(turn) for turn in reversed(range(len(parameters)))]
    gradients = [
        GradientTensor(parameters[index][0], index + 1, parameters[index][1].numel(), ready[index])
        for index in sorted(range(len(parameters)), key=lambda index: (ready[index], -index))
    ]
    return fuse(gradients, plan, pace.cost if pace else None)


@dataclass
class _Flat:
    """A fusion buffer in memory."""

    parameters: list[Parameter]
    flat: Tensor
    views: list[Tensor]
    shipment: Shipment
    missing: int = 0
    """Gradients that are not ready yet."""
    wait: Wait | None = None

    def pack(self, share: float) -> None:
        """Copy the gradients in, times *share*; none counts as zero."""
        wide = self.flat.dtype == torch.float32
        for parameter, view in zip(self.parameters, self.views, strict=True):
            if parameter.grad is None:
                view.zero_()
            elif wide:
                view.copy_(parameter.grad)
            else:
                torch.mul(parameter.grad, share, out=view)  # scaled before it is narrowed
        if wide:
            self.flat.mul_(share)

    def unpack(self) -> None:
        """Copy the gradients out."""
        for parameter, view in zip(self.parameters, self.views, strict=True):
            if parameter.grad is None:
                parameter.grad = view.to(parameter.dtype, copy=True)
            else:
                parameter.grad.copy_(view)


class GradientEngine:
    """lbsim's own: every gradient becomes the mean over ranks between ``begin_step`` and ``finish_step``.

    All ranks construct it together, and InputError on all of them says where they disagree. A parameter without a
    gradient counts as zero, and holds up the buffers after its own until ``finish_step``. Backward passes outside a
    step stay local, so that gradients of several batches can be added up before the last one is sent.
    """

    def __init__(
        self,
        parameters: Sequence[tuple[str, Parameter]],
        options: CommunicationOptions,
        recorder: StepRecorder | None = None,
    ) -> None:
        self._parameters = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
        self._options, self.recorder = options, recorder
        check_agreement(self._parameters, options)
        self._all_reduce = collectives.algorithm(
            options.all_reduce, options.group_size, options.hybrid_threshold, options.timeout
        )
        self.note = self._all_reduce.note
        self._device = self._parameters[0][1].device
        self._lane = lane(self._device)
        self._warm_up: WarmUp | None = None
        pace = None
        if options.timed and options.fusion_trace is not None:
            pace = self._agreed_pace(together(partial(ready_in, options.fusion_trace, self._parameters)))
        elif options.timed or options.order == "measured":
            steps = options.fusion_warm_up if options.timed else 1
            self._warm_up = WarmUp(steps, clock(self._device), len(self._parameters))
        self._pack(pace)
        self._inside, self._next = False, 0
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._on_ready, index))
            for index, (_, parameter) in enumerate(self._parameters)
        ]

    @property
    def buffers(self) -> tuple[FusionBuffer, ...]:
        """What travels together, as `lbsim.communication.fusion` planned it."""
        return self._planned

    def begin_step(self) -> None:
        """Say that the next backward pass makes the gradients of a step."""
        self._inside, self._next = True, 0
        for buffer in self._buffers:
            buffer.missing, buffer.wait = len(buffer.parameters), None
        if self._warm_up:
            self._warm_up.begin()
        if self.recorder:
            self.recorder.begin(self._shipments)

    def finish_step(self) -> bool:
        """Return when every gradient is the mean over ranks; on a GPU, when it will be for what comes next there.

        True once the warm-up has ended and other buffers were planned.
        """
        for index in range(self._next, len(self._buffers)):
            if self.recorder and self._buffers[index].missing:
                self.recorder.buffer(index, "ready")
            self._send(index)
        for buffer in self._buffers:
            self._finish(buffer)
        self._inside = False
        ready = self._warm_up.end() if self._warm_up else None
        if ready is not None:
            self._warm_up = None
            self._pack(self._agreed_pace(ready))
        if self.recorder:
            self.recorder.mark("all_reduce")
        return ready is not None

    def state(self) -> dict[str, Any]:
        """Return the times that buffers were planned by, or those that the warm-up has taken so far."""
        pace = None if self.pace is None else asdict(self.pace)
        return {"pace": pace, "warm_up": self._warm_up.taken() if self._warm_up else []}

    def restore(self, state: dict[str, Any]) -> None:
        """Plan by the times in *state*: measured again, they would be others, and so would the buffers."""
        if state["pace"] is not None:
            self._warm_up = None
            self._pack(Pace(**state["pace"]))
        elif self._warm_up:
            self._warm_up.go_on_from(state["warm_up"])

    def close(self) -> None:
        """Take the hooks off and end the lane."""
        for hook in self._hooks:
            hook.remove()
        self._lane.close()

    def _agreed_pace(self, ready: Sequence[float]) -> Pace:
        """Return rank 0's times and cost of a message, of all gradients the same on every rank."""
        options = self._options
        try:
            startup, per_byte = 0.0, 0.0
            if ranks() > 1 and options.fusion_latency is not None and options.fusion_bandwidth is not None:
                startup, per_byte = ring_cost(ranks(), options.fusion_latency, options.fusion_bandwidth)
            elif ranks() > 1 and options.timed:
                startup, per_byte = timed_cost(self._all_reduce, self._device, DTYPES[options.precision])
            return from_first(Pace(tuple(ready), startup, per_byte))
        except RuntimeError as error:
            raise _lost("what fusion plans by", options.timeout, error) from error

    def _pack(self, pace: Pace | None) -> None:
        self.pace = pace
        self._planned = fusion_buffers(self._parameters, self._options, ranks(), pace)
        named = dict(self._parameters)
        dtype, multiple = DTYPES[self._options.precision], self._all_reduce.multiple
        self._buffers = [
            _flat([named[t] for t in b.tensors], b, dtype, multiple, self._all_reduce) for b in self._planned
        ]
        self._shipments = [buffer.shipment for buffer in self._buffers]
        place = {name: number for number, buffer in enumerate(self._planned) for name in buffer.tensors}
        self._place = [place[name] for name, _ in self._parameters]

    def _on_ready(self, index: int, _: Tensor) -> None:
        if not self._inside:
            return
        place = self._place[index]
        buffer = self._buffers[place]
        if not buffer.missing:
            raise CommunicationError(
                f"'{self._parameters[index][0]}' has a second gradient in one step; call begin_step before the last "
                "backward pass only"
            )
        buffer.missing -= 1
        if self._warm_up:
            self._warm_up.saw(index)
        if self.recorder:
            self.recorder.gradient(index)
            if not buffer.missing:
                self.recorder.buffer(place, "ready")
        if self._options.overlap:
            while self._next < len(self._buffers) and not self._buffers[self._next].missing:
                self._send(self._next)  # in the plan's order, or ranks would wait for each other crosswise

    def _send(self, index: int) -> None:
        self._next = index + 1
        self._buffers[index].wait = self._lane.send(partial(self._carry, index))

    def _carry(self, index: int) -> None:
        """Run in the lane."""
        buffer = self._buffers[index]
        if ranks() > 1:
            buffer.pack(1 / ranks())
        if self.recorder:
            self.recorder.buffer(index, "sent")
        if ranks() > 1:
            self._all_reduce(buffer.flat)
        if self.recorder:
            self.recorder.buffer(index, "received")

    def _finish(self, buffer: _Flat) -> None:
        try:
            if buffer.wait is not None:
                buffer.wait()
        except RuntimeError as error:
            first = buffer.shipment.tensors[0]
            raise _lost(f"the buffer that begins with '{first}'", self._options.timeout, error) from error
        if ranks() > 1:
            with torch.no_grad():
                buffer.unpack()


def check_agreement(parameters: Sequence[tuple[str, Parameter]], options: CommunicationOptions) -> None:
    """Raise InputError on every rank if there is nothing to send, or if ranks differ in options or parameters."""
    shapes = [(name, tuple(parameter.shape), str(parameter.dtype)) for name, parameter in parameters]
    digest = hashlib.sha256(repr(shapes).encode()).hexdigest()[:12]
    mine = options.model_dump() | {"parameters": f"{len(shapes)} tensors, {digest}"}
    for other, theirs in enumerate(everyones := gathered(mine)):
        for field, value in theirs.items():
            if value != everyones[0][field]:
                raise InputError(
                    f"ranks disagree on the plan: {field} is {everyones[0][field]!r} on rank 0 and {value!r} on rank "
                    f"{other}; start all with the same options and model"
                )
    if not parameters:
        raise InputError("the model has no parameter that needs a gradient; there is nothing to all-reduce")
    if len({name for name, _ in parameters}) < len(parameters):
        raise InputError("two parameters have one name; pass model.named_parameters()")


def _flat(
    parameters: list[Parameter], planned: FusionBuffer, dtype: torch.dtype, multiple: int, way: collectives.AllReduce
) -> _Flat:
    sizes = [parameter.numel() for parameter in parameters]
    padded = -(-sum(sizes) // multiple) * multiple
    flat = torch.zeros(padded if ranks() > 1 else 0, dtype=dtype, device=parameters[0].device)
    parts = flat[: sum(sizes)].split(sizes) if ranks() > 1 else []
    views = [part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=bool(parts))]
    return _Flat(parameters, flat, views, Shipment(planned.tensors, planned.message, way.carrier(planned.message)))


def _lost(what: str, timeout: float, error: RuntimeError) -> CommunicationError:
    why = str(error).strip().partition("\n")[0]
    return CommunicationError(
        f"rank {rank()}: {what} was not all-reduced; a rank has died, or none answered for {timeout:g} s ({why})"
    )
