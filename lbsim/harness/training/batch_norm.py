"""Batch norm without moving averages.

With few steps per epoch a moving average is a poor estimate. Akiba et al. keep the statistics of the last batch only
and average them over the workers before validation: arXiv:1711.04325, section 2.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lbsim.harness.communication.process_group import ProcessGroup

__all__ = ["average", "keep_last_batch"]


def keep_last_batch(model: nn.Module) -> None:
    """Make every batch norm of *model* keep only the statistics of the last batch."""
    for norm in _norms(model):
        norm.momentum = 1.0


def average(model: nn.Module, group: ProcessGroup) -> None:
    """Replace the mean and variance of each batch norm by the mean over the ranks of *group*, in one all-reduce."""
    statistics = [
        tensor for norm in _norms(model) for tensor in (norm.running_mean, norm.running_var) if tensor is not None
    ]
    if not statistics or group.size == 1:
        return
    means = group.sum(torch.cat([tensor.float().flatten() for tensor in statistics])) / group.size
    for tensor, mean in zip(statistics, means.split([tensor.numel() for tensor in statistics]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
