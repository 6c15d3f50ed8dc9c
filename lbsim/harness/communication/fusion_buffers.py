"""Fusion buffers in memory, planned by `lbsim.communication.fusion` as in every prediction."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from lbsim.communication.fusion import FusionBuffer, fuse
from lbsim.compute.gradients import GradientTensor
from lbsim.harness.communication.collectives import AllReduceAlgorithm
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.process_group import world_size
from lbsim.harness.communication.ready_times import FusionTimes
from lbsim.harness.communication.step_recorder import PlannedBuffer
from lbsim.harness.communication.stream import Wait

__all__ = ["BufferMemory", "allocate", "plan_buffers"]


def plan_buffers(
    parameters: Sequence[tuple[str, Parameter]],
    options: CommunicationOptions,
    gpus: int,
    times: FusionTimes | None = None,
) -> tuple[FusionBuffer, ...]:
    """Return the fusion buffers in the order in which they are sent.

    With *times*, gradients become ready at ``times.ready`` and messages cost ``times.cost``. Without, they become ready
    in the reverse order of the parameters, and a policy that plans by times is replaced by a threshold.
    """
    plan = options.plan(gpus)
    if times is None and options.timed:
        plan = plan.model_copy(update={"fusion": "threshold"})
    ready = times.ready if times else [float(turn) for turn in reversed(range(len(parameters)))]
    gradients = [
        GradientTensor(parameters[index][0], index + 1, parameters[index][1].numel(), ready[index])
        for index in sorted(range(len(parameters)), key=lambda index: (ready[index], -index))
    ]
    return fuse(gradients, plan, times.cost if times else None)


@dataclass
class BufferMemory:
    """One fusion buffer in memory, and its progress in the current step."""

    parameters: list[Parameter]
    flat: Tensor
    """The message: all gradients one after another, padded to a multiple that the algorithm needs."""
    views: list[Tensor]
    """Each gradient's part of `flat`, in the parameter's shape."""
    planned: PlannedBuffer
    missing: int = 0
    """Gradients that are not ready yet."""
    wait: Wait | None = None
    """Waits for the all-reduce of this step; None until it is sent."""

    def pack(self, scale: float) -> None:
        """Copy the gradients times *scale* into the buffer; a missing gradient counts as zero."""
        single = self.flat.dtype == torch.float32
        for parameter, view in zip(self.parameters, self.views, strict=True):
            if parameter.grad is None:
                view.zero_()
            elif single:
                view.copy_(parameter.grad)
            else:
                torch.mul(parameter.grad, scale, out=view)  # scaled before it is rounded to half precision
        if single:
            self.flat.mul_(scale)

    def unpack(self) -> None:
        """Copy the buffer into the gradients."""
        for parameter, view in zip(self.parameters, self.views, strict=True):
            if parameter.grad is None:
                parameter.grad = view.to(parameter.dtype, copy=True)
            else:
                parameter.grad.copy_(view)


def allocate(
    planned: FusionBuffer,
    parameters: Sequence[tuple[str, Parameter]],
    dtype: torch.dtype,
    algorithm: AllReduceAlgorithm,
) -> BufferMemory:
    """Return the memory of a *planned* buffer for messages of *dtype*; none is allocated in a group of one."""
    by_name = dict(parameters)
    members = [by_name[name] for name in planned.tensors]
    sizes = [parameter.numel() for parameter in members]
    padded = -(-sum(sizes) // algorithm.multiple) * algorithm.multiple
    sends = world_size() > 1
    flat = torch.zeros(padded if sends else 0, dtype=dtype, device=members[0].device)
    parts = flat[: sum(sizes)].split(sizes) if sends else []
    views = [part.view(parameter.shape) for part, parameter in zip(parts, members, strict=bool(parts))]
    message = PlannedBuffer(planned.tensors, planned.message, algorithm.carrier(planned.message))
    return BufferMemory(members, flat, views, message)
