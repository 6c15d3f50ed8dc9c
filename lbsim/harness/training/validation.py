"""Validation after each epoch: mean loss and accuracy over the validation set."""

import torch
from torch.nn.functional import cross_entropy

from lbsim.harness.training import batch_norm
from lbsim.harness.training.components import Components
from lbsim.harness.training.step import to_device
from lbsim.harness.training.watchdog import StepPhase, Watchdog

__all__ = ["validate"]


@torch.no_grad()
def validate(parts: Components, watchdog: Watchdog, step: int) -> tuple[float, float]:
    """Return mean loss and accuracy over the validation set, of which each rank evaluates a part."""
    group = parts.group
    batch_norm.average(parts.model, group)
    parts.model.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=group.device)
    share = torch.arange(len(parts.data.validation))[group.rank :: group.size]
    for indices in share.split(parts.options.batch_per_gpu) if len(share) else ():
        watchdog.progress(step, StepPhase.COMPUTING, "validating")
        samples, labels = to_device(parts, *parts.loader.batch(parts.data.validation, indices, seed=0))
        scores = parts.model(samples).float()
        sums[0] += cross_entropy(scores, labels, reduction="sum")
        sums[1] += (scores.argmax(1) == labels).sum()
        sums[2] += len(labels)
    parts.model.train()
    watchdog.progress(step, StepPhase.COMMUNICATING, "validating")
    sums[3] = parts.loader.failed
    loss, correct, count, failures = group.sum(sums).tolist()
    parts.loader.raise_failures(failures)
    return loss / count, correct / count
