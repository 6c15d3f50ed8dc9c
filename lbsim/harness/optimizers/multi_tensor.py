"""What the harness's optimizers share: all tensors of a group in a few launches, and nothing read by the host.

A learning rate may be a tensor on the parameters' device; then a step can be captured in a CUDA graph and the rate
changed between replays.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast, overload

import torch
from torch import Tensor

Group = dict[str, Any]


class MultiTensorOptimizer(torch.optim.Optimizer):
    """Calls `update` once a parameter group, with the parameters that have a gradient."""

    def update(self, group: Group, weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Change *weights* in place."""
        raise NotImplementedError

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Do one step; *closure*, if given, computes the loss and the gradients first."""
        loss = None if closure is None else closure()
        with torch.no_grad():
            for group in self.param_groups:
                weights = [weight for weight in group["params"] if weight.grad is not None]
                if weights:
                    self.update(group, weights, [weight.grad for weight in weights])
        return loss

    def kept(self, key: str, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return the state *key* of each weight, zero before the first step."""
        for weight in weights:
            if key not in self.state[weight]:
                self.state[weight][key] = torch.zeros_like(weight)
        return [cast("Tensor", self.state[weight][key]) for weight in weights]


def add_scaled(targets: list[Tensor], tensors: list[Tensor], scale: float | Tensor) -> None:
    """Add ``scale * tensors`` to *targets* in place."""
    if isinstance(scale, Tensor):
        torch._foreach_add_(targets, torch._foreach_mul(tensors, scale))
    else:
        torch._foreach_add_(targets, tensors, alpha=scale)


def with_decay(gradients: list[Tensor], weights: list[Tensor], decay: float) -> list[Tensor]:
    """Return ``gradients + decay * weights``; the gradients themselves where there is no decay."""
    return list(torch._foreach_add(gradients, weights, alpha=decay)) if decay else gradients
