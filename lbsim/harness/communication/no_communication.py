"""The plainest engine: one all-reduce of all gradients after backward, nothing overlapped."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed, nn

from lbsim.profiles.profile import Table


class CommunicationOptions(Table):
    """There is nothing to choose."""


class GradientEngine:
    """Leaves the mean over all ranks in every parameter's gradient."""

    def __init__(self, parameters: Sequence[tuple[str, nn.Parameter]], options: CommunicationOptions) -> None:  # noqa: ARG002
        self._parameters = [parameter for _, parameter in parameters]

    def begin_step(self) -> None:
        """Do nothing: nothing leaves during backward."""

    def finish_step(self) -> bool:
        """Return when every gradient holds the mean over all ranks."""
        if distributed.is_initialized():
            self._average()
        return False

    def state(self) -> dict[str, Any]:
        """Return nothing: every step is alike."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _average(self) -> None:
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        for dtype in sorted({gradient.dtype for gradient in gradients}, key=str):
            alike = [gradient for gradient in gradients if gradient.dtype == dtype]
            buffer = torch.cat([gradient.flatten() for gradient in alike]) / distributed.get_world_size()
            distributed.all_reduce(buffer)
            for gradient, mean in zip(alike, buffer.split([g.numel() for g in alike]), strict=True):
                gradient.copy_(mean.view_as(gradient))
