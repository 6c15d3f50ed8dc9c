"""Optimizer and learning-rate schedule of the options, and their parameter groups."""

from collections.abc import Sequence

from torch import Tensor, nn

from lbsim.harness.optimizers.lars import LARS
from lbsim.harness.optimizers.momentum_sgd import MomentumSGD
from lbsim.harness.optimizers.multi_tensor import MultiTensorOptimizer
from lbsim.harness.optimizers.rmsprop_to_sgd import RMSpropToSGD, rmsprop_share, sgd_share
from lbsim.harness.training import schedules
from lbsim.harness.training.options import TrainOptions

__all__ = ["adapted", "build", "rate", "set_rate"]

Named = Sequence[tuple[str, nn.Parameter]]


def adapted(parameter: Tensor) -> bool:
    """Return whether LARS and weight decay apply: not to biases and normalisation parameters, which are vectors."""
    return parameter.dim() > 1


def build(options: TrainOptions, parameters: Named) -> MultiTensorOptimizer:
    """Return the optimizer of *options* over *parameters*, in a group of matrices and a group of vectors."""
    matrices = [parameter for _, parameter in parameters if adapted(parameter)]
    vectors = [parameter for _, parameter in parameters if not adapted(parameter)]
    vector_decay = options.weight_decay if options.decay_vectors else 0.0
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": vector_decay},
    ]
    groups = [group for group in groups if group["params"]]
    if options.optimizer == "sgd":
        return MomentumSGD(groups, lr=0.0, momentum=options.momentum)
    if options.optimizer == "rmsprop-to-sgd":
        return RMSpropToSGD(groups, lr=0.0, momentum=options.momentum)
    for group in groups:
        group["trust"] = options.trust if group["params"] is matrices else 0.0
    return LARS(groups, lr=0.0, momentum=options.momentum)


def rate(options: TrainOptions, epoch: float, batch: int) -> float:
    """Return the learning rate at *epoch* for a *batch* over all ranks."""
    peak = schedules.linear_scaling(batch) if options.rate is None else options.rate
    epochs = options.epochs
    match options.schedule_used:
        case "constant":
            return peak
        case "gradual-warm-up":
            return schedules.gradual_warm_up(epoch, peak, epochs=epochs, batch=batch, warm_up=options.warm_up)
        case "polynomial-decay":
            return schedules.polynomial_decay(epoch, peak, epochs=epochs, warm_up=options.warm_up)
        case "slow-start":
            return schedules.slow_start(epoch, peak, epochs=epochs)


def set_rate(optimizer: MultiTensorOptimizer, options: TrainOptions, epoch: float, batch: int) -> float:
    """Set the learning rate of a step, and the shares of SGD and RMSprop in Akiba's rule; return the rate."""
    current = rate(options, epoch, batch)
    for group in optimizer.param_groups:
        group["lr"] = current
        if isinstance(optimizer, RMSpropToSGD):
            # the paper's centre and period are in epochs of a run of 90
            share = sgd_share(epoch / options.epochs * 90)
            group["share_of_sgd"], group["share_of_rmsprop"] = share, rmsprop_share(share, current) if current else 0.0
    return current
