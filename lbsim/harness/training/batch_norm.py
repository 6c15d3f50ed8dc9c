"""Batch norm without moving averages.

With few steps an epoch a moving average is a poor estimate, so Akiba et al. keep the statistics of the last batch only
and average them over the workers before validation: arXiv:1711.04325, section 2.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lbsim.harness.communication.process_group import Ranks


def keep_last_batch(model: nn.Module) -> None:
    """Make every batch norm of *model* keep the statistics of the last batch alone."""
    for norm in _norms(model):
        norm.momentum = 1.0


def average(model: nn.Module, ranks: Ranks) -> None:
    """Replace each norm's mean and variance by the mean over all *ranks*, in one all-reduce."""
    statistics = [
        tensor for norm in _norms(model) for tensor in (norm.running_mean, norm.running_var) if tensor is not None
    ]
    if not statistics or ranks.size == 1:
        return
    together = ranks.sum(torch.cat([tensor.float().flatten() for tensor in statistics])) / ranks.size
    for tensor, mean in zip(statistics, together.split([tensor.numel() for tensor in statistics]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
