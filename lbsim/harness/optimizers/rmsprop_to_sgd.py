"""RMSprop warm-up optimizer of Akiba et al., which starts as RMSprop and ends as momentum SGD."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lbsim.harness.optimizers.multi_tensor import MultiTensorOptimizer, ParameterGroup, add_scaled, with_decay

__all__ = ["RMSPROP_RATE", "RMSpropToSGD", "rmsprop_share", "rmsprop_to_sgd", "sgd_share"]

RMSPROP_RATE = 0.0003
"""Learning rate of RMSprop: Akiba et al., appendix A.1."""


def sgd_share(epoch: float, center: float = 10, period: float = 5) -> float:
    r"""Return :math:`\alpha_{SGD}`, the share of SGD: exponential, then linear, as in the ELU.

    .. math:: \tfrac12 e^{2 (e - c) / p} \text{ below } c, \text{ then } \tfrac12 + (e - c) / p \text{ up to } 1

    T. Akiba, S. Suzuki, K. Fukuda, arXiv:1711.04325, 2017, appendix A.1.

    >>> [sgd_share(epoch) for epoch in (10, 11, 12.5, 90)]
    [0.5, 0.7, 1.0, 1.0]
    """
    if epoch < center:
        return 0.5 * math.exp(2 * (epoch - center) / period)
    return min(1.0, 0.5 + (epoch - center) / period)


def rmsprop_share(share_of_sgd: float, rate: float, rmsprop_rate: float = RMSPROP_RATE) -> float:
    r"""Return :math:`\alpha_{RMSprop}`, with which the rate of RMSprop does not depend on the *rate* of SGD."""
    return (1 - share_of_sgd) * rmsprop_rate / rate


def rmsprop_to_sgd(  # noqa: PLR0917  # the symbols of the formula
    weight: Tensor,
    gradient: Tensor,
    moment: Tensor,
    change: Tensor,
    rate: float,
    share_of_sgd: float,
    share_of_rmsprop: float,
    momentum: float = 0.9,
    smoothing: float = 0.99,
    epsilon: float = 1e-8,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return weight, second moment and change (:math:`\theta`, m, :math:`\Delta`) after a step.

    .. math::
        m \gets \mu_2 m + (1 - \mu_2) g^2, \quad
        \Delta \gets \mu_1 \Delta - (\alpha_{SGD} + \alpha_{RMSprop} / (\sqrt m + \epsilon))\, g, \quad
        \theta \gets \theta + \eta \Delta

    T. Akiba, S. Suzuki, K. Fukuda, arXiv:1711.04325, 2017, appendix A.1.
    """
    moment = smoothing * moment + (1 - smoothing) * gradient**2
    change = momentum * change - (share_of_sgd + share_of_rmsprop / (moment.sqrt() + epsilon)) * gradient
    return weight + rate * change, moment, change


class RMSpropToSGD(MultiTensorOptimizer):
    """Akiba's rule (`rmsprop_to_sgd`) with multi-tensor kernels; weight decay is added to the gradient (Goyal et al.).

    ``share_of_sgd`` and ``share_of_rmsprop`` of a parameter group may be tensors, like its learning rate.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float | Tensor,
        share_of_sgd: float | Tensor = 1.0,
        share_of_rmsprop: float | Tensor = 0.0,
        momentum: float = 0.9,
        smoothing: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "share_of_sgd": share_of_sgd,
            "share_of_rmsprop": share_of_rmsprop,
            "momentum": momentum,
            "smoothing": smoothing,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
        }
        super().__init__(parameters, defaults)

    def update(self, group: ParameterGroup, weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Update the weights of one parameter group."""
        moments, changes = self.state_tensors("moment", weights), self.state_tensors("change", weights)
        gradients = with_decay(gradients, weights, group["weight_decay"])
        torch._foreach_mul_(moments, group["smoothing"])
        torch._foreach_addcmul_(moments, gradients, gradients, value=1 - group["smoothing"])
        shares = torch._foreach_sqrt(moments)
        torch._foreach_add_(shares, group["epsilon"])
        torch._foreach_reciprocal_(shares)
        torch._foreach_mul_(shares, group["share_of_rmsprop"])
        torch._foreach_add_(shares, group["share_of_sgd"])
        torch._foreach_mul_(changes, group["momentum"])
        torch._foreach_addcmul_(changes, shares, gradients, value=-1)
        add_scaled(weights, changes, group["lr"])
