"""Plain engine: one all-reduce of all gradients after the backward pass, without overlap."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed, nn

from lbsim.harness.communication.step_recorder import StepRecorder

__all__ = ["PlainEngine"]


class PlainEngine:
    """Averages all gradients of a type in one all-reduce; the baseline of the other engines."""

    note = "one all-reduce after backward; times of single gradients are not recorded"

    def __init__(self, parameters: Sequence[nn.Parameter], recorder: StepRecorder | None = None) -> None:
        self._parameters = parameters
        self.recorder = recorder

    def begin_step(self) -> None:
        """Start a recorded step; nothing is sent during the backward pass."""
        if self.recorder:
            self.recorder.begin(())

    def finish_step(self) -> bool:
        """Return False when every gradient is the mean over all ranks."""
        if distributed.is_initialized():
            self._average()
        if self.recorder:
            self.recorder.mark("all_reduce")
        return False

    def state(self) -> dict[str, Any]:
        """Return an empty state: a step does not depend on earlier ones."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume; there is no state."""

    def close(self) -> None:
        """Do nothing: there are no hooks or threads."""

    def _average(self) -> None:
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        for dtype in sorted({gradient.dtype for gradient in gradients}, key=str):
            of_type = [gradient for gradient in gradients if gradient.dtype == dtype]
            buffer = torch.cat([gradient.flatten() for gradient in of_type]) / distributed.get_world_size()
            distributed.all_reduce(buffer)
            for gradient, mean in zip(of_type, buffer.split([g.numel() for g in of_type]), strict=True):
                gradient.copy_(mean.view_as(gradient))
