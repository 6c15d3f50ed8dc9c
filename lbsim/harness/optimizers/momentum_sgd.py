"""Momentum SGD optimizer, in the form of Goyal et al."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lbsim.harness.optimizers.multi_tensor import MultiTensorOptimizer, ParameterGroup, add_scaled, with_decay

__all__ = ["MomentumSGD", "momentum_sgd"]


def momentum_sgd(  # noqa: PLR0917  # the symbols of the formula
    weight: Tensor, gradient: Tensor, velocity: Tensor, rate: float, momentum: float, decay: float
) -> tuple[Tensor, Tensor]:
    r"""Return weight and velocity after a step.

    .. math:: v \gets \mu v + g + \lambda w, \quad w \gets w - \eta v

    The learning rate is outside the velocity, so that a change of the rate needs no momentum correction.

    P. Goyal et al., "Accurate, Large Minibatch SGD," arXiv:1706.02677, 2017, equation 9 and remark 2.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> [float(x) for x in momentum_sgd(one, one, one, rate=0.5, momentum=0.5, decay=0.5)]
    [0.0, 2.0]
    """
    velocity = momentum * velocity + gradient + decay * weight
    return weight - rate * velocity, velocity


class MomentumSGD(MultiTensorOptimizer):
    """Momentum SGD (`momentum_sgd`) with multi-tensor kernels."""

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float | Tensor,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def update(self, group: ParameterGroup, weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Update the weights of one parameter group."""
        velocities = self.state_tensors("velocity", weights)
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, with_decay(gradients, weights, group["weight_decay"]))
        add_scaled(weights, velocities, -group["lr"])
