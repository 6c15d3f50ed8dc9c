"""LARS optimizer: layer-wise adaptive rate scaling with momentum, by You, Gitman and Ginsburg."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lbsim.harness.optimizers.multi_tensor import MultiTensorOptimizer, ParameterGroup, add_scaled, with_decay

__all__ = ["LARS", "lars", "local_rate"]


def local_rate(weight_norm: Tensor, gradient_norm: Tensor, trust: float, decay: float) -> Tensor:
    r"""Return the local learning rate of a layer, or of several, from the norms of weight and gradient.

    .. math:: \rho \|w\| / (\|g\| + \lambda \|w\|), \quad 1 \text{ if a norm is zero}

    Y. You, I. Gitman, B. Ginsburg, "Large Batch Training of Convolutional Networks," arXiv:1708.03888, 2017,
    equation 6.

    >>> local_rate(torch.tensor([8.0, 0.0]), torch.tensor([1.0, 3.0]), trust=0.5, decay=0.125)
    tensor([2., 1.])
    """
    both = (weight_norm > 0) & (gradient_norm > 0)
    rate = trust * weight_norm / torch.where(both, gradient_norm + decay * weight_norm, 1.0)
    return torch.where(both, rate, 1.0)


def lars(  # noqa: PLR0917  # the symbols of the formula
    weight: Tensor, gradient: Tensor, velocity: Tensor, rate: float, trust: float, momentum: float, decay: float
) -> tuple[Tensor, Tensor]:
    r"""Return weight and velocity of a layer after a step; a *trust* of zero is for biases, whose rate is not scaled.

    .. math:: v \gets \mu v + \gamma \lambda^l (g + \lambda w), \quad w \gets w - v

    The learning rate is inside the velocity, as in the paper's algorithm 1 and in Caffe.

    >>> weight, zero = torch.tensor([3.0, 4.0]), torch.zeros(2)
    >>> lars(weight, weight, zero, rate=1.0, trust=0.5, momentum=0.9, decay=0.0)[0]
    tensor([1.5000, 2.0000])
    """
    scale = rate * local_rate(weight.norm(), gradient.norm(), trust, decay) if trust else rate
    velocity = momentum * velocity + scale * (gradient + decay * weight)
    return weight - velocity, velocity


class LARS(MultiTensorOptimizer):
    """LARS (`lars`) with multi-tensor kernels.

    A parameter group with ``trust=0`` holds biases and normalisation parameters, whose weight decay is the group's.
    Norms are stacked, so that the local rates of all layers are computed together and stay on the device.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float | Tensor,
        trust: float = 0.001,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "trust": trust, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)

    def update(self, group: ParameterGroup, weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Update the weights of one parameter group."""
        velocities = self.state_tensors("velocity", weights)
        torch._foreach_mul_(velocities, group["momentum"])
        decayed = with_decay(gradients, weights, group["weight_decay"])
        if group["trust"]:
            weight_norms, gradient_norms = (torch.stack(torch._foreach_norm(each)) for each in (weights, gradients))
            rates = group["lr"] * local_rate(weight_norms, gradient_norms, group["trust"], group["weight_decay"])
            torch._foreach_addcmul_(velocities, decayed, rates.unbind())
        else:
            add_scaled(velocities, decayed, group["lr"])
        torch._foreach_sub_(weights, velocities)
