r"""Gradient noise scale, measured during training: tr(Σ) / \|G\|², the batch at which noise equals signal.

G is the gradient over the training set, Σ the covariance of the gradient of a sample. The gradient of B of N samples,
drawn without replacement as in an epoch, has

.. math:: E |g_B|^2 = |G|^2 + \mathrm{tr}(\Sigma) \, (1/B - 1/N)

so that two batch sizes give unbiased estimates of both: the batch of a step, and parts of it. With several ranks, a
part is the gradient of one rank before the all-reduce; this costs two norms of the gradients and an all-reduce of one
number. A single rank compares the two halves of its batch: the gradient of the first half takes one more backward pass
through the same graph, that of the second follows from the difference. Weights, random numbers and batch norm's
statistics do not change, so losses stay bitwise the same. With batch norm, the part of a rank has its own statistics,
as in training, and a half has those of its batch.

S. McCandlish et al., "An Empirical Model of Large-Batch Training," arXiv:1812.06162, 2018, appendix A.1, where
the term 1/N is absent.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lbsim.accuracy.run_log import noise_scale_of
from lbsim.errors import InputError
from lbsim.harness.communication.process_group import ProcessGroup

__all__ = ["MovingAverages", "NoiseScaleEstimator", "summary", "unbiased"]

NoiseRow = tuple[int, float, float, float, float, float]
"""Columns of ``noise_scale.csv`` after the step."""
_DECAY = 0.95
"""Decay of the moving averages per measurement, so that about the last twenty count."""
_NORMAL_90 = 1.6449
"""Standard deviations from the centre of a normal distribution to an end of its 90 % interval."""


def unbiased(full: float, parts: float, *, batch: int, inverse: float, samples: int) -> tuple[float, float]:
    r"""Return unbiased estimates of \|G\|² and tr(Σ).

    *full* is the squared norm of the gradient of a *batch*, *parts* the mean of those of its parts; *inverse* is the
    mean of 1 over the samples of a part, *samples* the size of the training set.

    >>> unbiased(2.0, 3.0, batch=4, inverse=1 / 2, samples=8)
    (1.5, 4.0)
    """
    variance = (parts - full) / (inverse - 1 / batch)
    return full - variance * (1 / batch - 1 / samples), variance


class MovingAverages:
    """Exponential moving averages of both estimates, one each: the average of their ratio would be biased."""

    def __init__(self) -> None:
        self._sums, self._weight = [0.0, 0.0], 0.0

    def add(self, *estimates: float) -> tuple[float, float]:
        """Add an estimate of each quantity; return the averages."""
        self._sums = [_DECAY * old + (1 - _DECAY) * new for old, new in zip(self._sums, estimates, strict=True)]
        self._weight = _DECAY * self._weight + (1 - _DECAY)
        return self._sums[0] / self._weight, self._sums[1] / self._weight

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"sums": self._sums, "weight": self._weight}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self._sums, self._weight = list(state["sums"]), float(state["weight"])


class NoiseScaleEstimator:
    """Measures the noise scale in the steps in which `backward` replaces the backward pass of the loss.

    *batch* is the samples of a step over all ranks, *samples* the size of the training set. Raises InputError for a
    batch of one sample, which has no parts.
    """

    def __init__(self, model: nn.Module, group: ProcessGroup, batch: int, samples: int) -> None:
        if batch < 2:
            raise InputError(
                "--noise-scale-every: one rank with one sample per step has no parts to compare; "
                "write --batch-per-gpu 2 or more"
            )
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._group, self._batch, self._samples = group, batch, samples
        sizes = [batch // 2, batch - batch // 2] if group.size == 1 else [batch // group.size]
        self._sizes, self._inverse = sizes, sum(1 / size for size in sizes) / len(sizes)
        self._parts = torch.zeros(1)
        self.averages = MovingAverages()

    def backward(self, loss: Tensor, scores: Tensor, labels: Tensor, scale: float) -> None:
        """Run the backward pass of *loss* and keep the squared norms of the parts.

        *loss* is the mean cross-entropy of *scores* and *labels* times *scale*, the loss scale.
        """
        squares = self._of_this_rank(loss) if self._group.size > 1 else self._of_halves(loss, scores, labels, scale)
        self._parts = squares / scale**2

    def reduce(self) -> None:
        """Average the squared norms of the parts over the ranks."""
        self._parts = self._group.sum(self._parts) / self._group.size

    def row(self, gradients: Sequence[Tensor]) -> NoiseRow | None:
        """Return the run log's row from the batch's unscaled *gradients*; None if the gradient of a part overflowed."""
        full, parts = float(_squared_norm(gradients)), float(self._parts)
        if not math.isfinite(full + parts):
            return None
        estimate = unbiased(full, parts, batch=self._batch, inverse=self._inverse, samples=self._samples)
        squared, variance = self.averages.add(*estimate)
        return (self._batch, *estimate, squared, variance, variance / squared if squared > 0 else math.nan)

    def _of_this_rank(self, loss: Tensor) -> Tensor:
        """Take norms in hooks, before gradients reach ``.grad``, where engines may all-reduce them during backward."""
        norms: list[Tensor] = []
        hooks = [each.register_hook(lambda gradient: norms.append(_norm(gradient))) for each in self._parameters]
        try:
            loss.backward()
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(norms).square().sum()

    def _of_halves(self, loss: Tensor, scores: Tensor, labels: Tensor, scale: float) -> Tensor:
        first, second = self._sizes
        half = cross_entropy(scores[:first], labels[:first]) * scale
        try:
            first_gradients = torch.autograd.grad(half, self._parameters, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            raise _single_backward(str(error).partition("\n")[0]) from None
        loss.backward()
        both = []
        for parameter, part in zip(self._parameters, first_gradients, strict=True):
            if parameter.grad is not None and part is not None:
                both.append((parameter.grad, part))
            elif parameter.grad is not None:
                raise _single_backward("it uses reentrant checkpointing")
        first_half = [_single(part) for _, part in both]
        second_half = [_single(full) * (self._batch / second) for full, _ in both]
        torch._foreach_sub_(second_half, first_half, alpha=first / second)
        return (_squared_norm(first_half) + _squared_norm(second_half)) / 2


def summary(file: Path) -> str:
    """Return the noise scale in a run's table *file*, with its 90 % interval, in one line."""
    try:
        value, spread = noise_scale_of(file)
    except InputError as error:
        return str(error)
    low, high = (value * math.exp(sign * _NORMAL_90 * spread) for sign in (-1, 1))
    return f"gradient noise scale over the run: {value:,.4g} samples ({low:,.3g} to {high:,.3g}); see {file}"


def _single_backward(reason: str) -> InputError:
    return InputError(
        f"--noise-scale-every: a single rank runs the backward pass twice, which this model does not allow ({reason}); "
        "use two ranks"
    )


def _single(gradient: Tensor) -> Tensor:
    """Return the gradient in at least single precision."""
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32))


def _norm(gradient: Tensor) -> Tensor:
    """Return the norm, summed in fp64 because the estimates are differences."""
    return torch.linalg.vector_norm(gradient.detach(), dtype=torch.float64)


def _squared_norm(gradients: Sequence[Tensor]) -> Tensor:
    return torch.stack([_norm(gradient) for gradient in gradients]).square().sum()
