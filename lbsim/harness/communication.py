"""The gradients' way: out through hooks as they become ready, in fusion buffers, all-reduced beside the backward pass.

Which gradients travel together is what `lbsim.fusion` says, as in every prediction.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, Protocol

import torch
import torch.distributed as dist
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from torch import Tensor
from torch.nn import Parameter

from lbsim.compute import GradientTensor
from lbsim.errors import InputError, in_one_line, unknown
from lbsim.fusion import FusionBuffer, fuse
from lbsim.harness import collectives
from lbsim.harness.lanes import Wait, lane
from lbsim.harness.process_group import CommunicationError, gathered, rank, ranks
from lbsim.harness.recorder import Shipment, StepRecorder
from lbsim.plan import Plan
from lbsim.profile import Table
from lbsim.units import Bytes, Seconds

Precision = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def _known(given: str) -> str:
    if given not in collectives.NAMES:
        raise unknown(given, "the harness's all-reduce algorithms", collectives.NAMES)
    return given


def _parts(given: object) -> object:
    return tuple(part for part in given.split(",") if part) if isinstance(given, str) else given


class CommunicationOptions(Table):
    """How gradients travel. ``CommunicationOptions.of`` makes one of what a user wrote."""

    all_reduce: Annotated[str, BeforeValidator(_known)] = "backend"
    group_size: int | None = Field(default=None, ge=1)
    """Ranks of a group, in algorithms that have groups; if none, a machine's."""
    hybrid_threshold: Bytes = 4 * 2.0**20
    """Buffers of at least this much go by the backend's own algorithm in a hybrid all-reduce."""
    fusion: Literal["none", "one-buffer", "threshold", "ddp", "split"] = "threshold"
    """Of lbsim's policies those that need to know no times."""
    fusion_threshold: Bytes = 25 * 2.0**20
    fusion_split: Annotated[tuple[int, ...], BeforeValidator(_parts)] = ()
    """Gradient tensors, counted from the input and from 1, after which buffers are cut."""
    precision: Precision = "fp32"
    """Of the gradients that travel. They are divided by the ranks first, so that their sum stays in range."""
    overlap: bool = True
    order: Literal["backward", "measured"] = "backward"
    """In which order gradients are taken to become ready: that of the parameters, backwards, or that of the first step.
    Measured, a run that starts again sums its first step in another order, so it is not bitwise the same."""
    timeout: Seconds = 300.0
    """How long to wait for another rank."""

    @classmethod
    def of(cls, **given: Any) -> "CommunicationOptions":
        """Return the options that are *given*; InputError if they make no sense."""
        try:
            return cls(**given)
        except ValidationError as error:
            raise in_one_line(error) from None

    @model_validator(mode="after")
    def _split_says_where(self) -> "CommunicationOptions":
        if self.fusion == "split" and not self.fusion_split:
            raise ValueError("fusion split needs fusion_split, the tensors to cut after, e.g. 76")
        return self

    def plan(self, gpus: int) -> Plan:
        """Return the plan in lbsim's words, as far as fusion needs it."""
        return Plan(
            gpus=gpus,
            communication_precision=self.precision,
            fusion=self.fusion,
            fusion_threshold=self.fusion_threshold,
            fusion_split=self.fusion_split,
        )


class Engine(Protocol):
    """What brings every rank the mean of all ranks' gradients."""

    note: str
    """What a reader of its measurements must know; mostly nothing."""
    recorder: StepRecorder | None
    """Keeps each step's timeline, if there is one."""

    def begin_step(self) -> None:
        """Say that the next backward pass makes the gradients of a step."""
        ...

    def finish_step(self) -> None:
        """Return when every gradient is the mean over ranks."""
        ...

    def close(self) -> None:
        """Give up hooks and threads."""
        ...


def fusion_buffers(
    parameters: Sequence[tuple[str, Parameter]], options: CommunicationOptions, gpus: int, order: Sequence[int] = ()
) -> tuple[FusionBuffer, ...]:
    """Return what `lbsim.fusion` packs together; *order*, if any, names parameters by where they stand."""
    gradients = [
        GradientTensor(parameters[index][0], index + 1, parameters[index][1].numel(), float(turn))
        for turn, index in enumerate(order or reversed(range(len(parameters))))
    ]
    return fuse(gradients, options.plan(gpus))


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
        self._lane = lane(self._parameters[0][1].device)
        self._pack(())
        self._seen: list[int] | None = [] if options.order == "measured" else None
        self._inside, self._next = False, 0
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._on_ready, index))
            for index, (_, parameter) in enumerate(self._parameters)
        ]

    @property
    def buffers(self) -> tuple[FusionBuffer, ...]:
        """What travels together, as `lbsim.fusion` planned it."""
        return self._planned

    def begin_step(self) -> None:
        """Say that the next backward pass makes the gradients of a step."""
        self._inside, self._next = True, 0
        for buffer in self._buffers:
            buffer.missing, buffer.wait = len(buffer.parameters), None
        if self.recorder:
            self.recorder.begin(self._shipments)

    def finish_step(self) -> None:
        """Return when every gradient is the mean over ranks; on a GPU, when it will be for what comes next there."""
        for index in range(self._next, len(self._buffers)):
            if self.recorder and self._buffers[index].missing:
                self.recorder.buffer(index, "ready")
            self._send(index)
        for buffer in self._buffers:
            self._finish(buffer)
        self._inside = False
        if self._seen is not None:
            self._pack(_agreed_order(self._seen, len(self._parameters)))
            self._seen = None
        if self.recorder:
            self.recorder.mark("all_reduce")

    def close(self) -> None:
        """Take the hooks off and end the lane."""
        for hook in self._hooks:
            hook.remove()
        self._lane.close()

    def _pack(self, order: Sequence[int]) -> None:
        self._planned = fusion_buffers(self._parameters, self._options, ranks(), order)
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
        if self._seen is not None:
            self._seen.append(index)
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
            why = str(error).strip().partition("\n")[0]
            first = buffer.shipment.tensors[0]
            raise CommunicationError(
                f"rank {rank()}: the buffer that begins with '{first}' was not all-reduced; a rank has died, or none "
                f"answered for {self._options.timeout:g} s ({why})"
            ) from error
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


def _agreed_order(seen: Sequence[int], parameters: int) -> list[int]:
    """Return rank 0's order of the first step, with the parameters that had no gradient last."""
    order = [*seen, *(index for index in reversed(range(parameters)) if index not in set(seen))]
    if ranks() > 1:
        dist.broadcast_object_list(order, src=0)
    return order
