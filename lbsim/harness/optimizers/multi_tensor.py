"""Multi-tensor optimizers: a few kernel launches per parameter group, without synchronisation with the host.

A learning rate may be a tensor on the parameters' device; then a step can be captured in a CUDA graph and the rate
changed between replays.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast, overload

import torch
from torch import Tensor

__all__ = ["MultiTensorOptimizer", "ParameterGroup", "add_scaled", "with_decay"]

ParameterGroup = dict[str, Any]
"""Parameter group of torch.optim: parameters and their options."""


class MultiTensorOptimizer(torch.optim.Optimizer):
    """Base class; a step calls `update` for each parameter group with the parameters that have a gradient."""

    def update(self, group: ParameterGroup, weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Update *weights* in place."""
        raise NotImplementedError

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters; *closure*, if given, computes loss and gradients first. Return its loss."""
        loss = None if closure is None else closure()
        with torch.no_grad():
            for group in self.param_groups:
                weights = [weight for weight in group["params"] if weight.grad is not None]
                if weights:
                    self.update(group, weights, [weight.grad for weight in weights])
        return loss

    def state_tensors(self, key: str, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return the state *key* of each weight; zero before the first step."""
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
    """Return ``gradients + decay * weights``; the gradients themselves if *decay* is zero."""
    return list(torch._foreach_add(gradients, weights, alpha=decay)) if decay else gradients
