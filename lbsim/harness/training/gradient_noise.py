r"""The gradient noise scale, measured while training: tr(Σ) / \|G\|², the batch at which noise equals signal.

G is the gradient over the training set, Σ the covariance of a sample's. The gradient of B of N samples, drawn without
replacement as an epoch draws them, has

.. math:: E |g_B|^2 = |G|^2 + \mathrm{tr}(\Sigma) \, (1/B - 1/N)

so that two batch sizes give both without bias: a step's whole batch, and its parts. Among ranks a part is what one rank
has before the all-reduce, which costs two norms of the gradients and one number all-reduced. A process alone takes the
two halves of its batch: the gradient of the first by one more backward pass through the same graph, that of the second
from the difference. Weights, random numbers and batch norm's statistics stay as they are, so no loss changes by a bit.
With batch norm a rank's part has its own statistics, as trained, and a half those of its batch.

S. McCandlish et al., "An Empirical Model of Large-Batch Training," arXiv:1812.06162, 2018, appendix A.1; 1/N is ours.
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
from lbsim.harness.communication.process_group import Ranks

Row = tuple[int, float, float, float, float, float]
_KEPT = 0.95
"""Of a moving average at each measurement: about the last twenty count."""
_NORMAL_90 = 1.6449
"""Standard deviations between the middle and an end of a 90 % interval."""


def unbiased(whole: float, parts: float, *, batch: int, inverse: float, samples: int) -> tuple[float, float]:
    r"""Return \|G\|² and tr(Σ) from the squared norm of a *batch*'s gradient and the mean squared norm of its *parts*'.

    *inverse* is the mean of 1 over the size of a part, *samples* the size of the training set.

    >>> unbiased(2.0, 3.0, batch=4, inverse=1 / 2, samples=8)
    (1.5, 4.0)
    """
    variance = (parts - whole) / (inverse - 1 / batch)
    return whole - variance * (1 / batch - 1 / samples), variance


class Averages:
    """Exponential moving averages of both estimates, each alone: the average of their ratio would be biased."""

    def __init__(self) -> None:
        self._sums, self._weight = [0.0, 0.0], 0.0

    def add(self, *estimates: float) -> tuple[float, float]:
        """Take in an estimate of each; return the averages."""
        self._sums = [_KEPT * old + (1 - _KEPT) * new for old, new in zip(self._sums, estimates, strict=True)]
        self._weight = _KEPT * self._weight + (1 - _KEPT)
        return self._sums[0] / self._weight, self._sums[1] / self._weight

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"sums": self._sums, "weight": self._weight}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._sums, self._weight = list(state["sums"]), float(state["weight"])


class NoiseScale:
    """Measures in the steps in which `backward` is called instead of the loss's own."""

    def __init__(self, model: nn.Module, ranks: Ranks, batch: int, samples: int) -> None:
        if batch < 2:
            raise InputError(
                "--noise-scale-every: one rank with one sample a step has no parts to compare; "
                "write --batch-per-gpu 2 or more"
            )
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._ranks, self._batch, self._samples = ranks, batch, samples
        sizes = [batch // 2, batch - batch // 2] if ranks.size == 1 else [batch // ranks.size]
        self._sizes, self._inverse = sizes, sum(1 / size for size in sizes) / len(sizes)
        self._parts = torch.zeros(1)
        self.averages = Averages()

    def backward(self, loss: Tensor, scores: Tensor, labels: Tensor, scale: float) -> None:
        """Run the backward pass of *loss*, the mean over *scores* times *scale*, and note the parts' squared norms."""
        squares = self._of_this_rank(loss) if self._ranks.size > 1 else self._of_halves(loss, scores, labels, scale)
        self._parts = squares / scale**2

    def share(self) -> None:
        """Take the mean of the parts over the ranks."""
        self._parts = self._ranks.sum(self._parts) / self._ranks.size

    def row(self, gradients: Sequence[Tensor]) -> Row | None:
        """Return what the journal keeps, given the whole batch's unscaled *gradients*; None if a part overflowed."""
        whole, parts = float(_squared(gradients)), float(self._parts)
        if not math.isfinite(whole + parts):
            return None
        one = unbiased(whole, parts, batch=self._batch, inverse=self._inverse, samples=self._samples)
        squared, variance = self.averages.add(*one)
        return (self._batch, *one, squared, variance, variance / squared if squared > 0 else math.nan)

    def _of_this_rank(self, loss: Tensor) -> Tensor:
        """Take each gradient on its way into ``.grad``: an engine may all-reduce it there during backward."""
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
            begun = torch.autograd.grad(half, self._parameters, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            raise _once(str(error).partition("\n")[0]) from None
        loss.backward()
        both = []
        for parameter, part in zip(self._parameters, begun, strict=True):
            if parameter.grad is not None and part is not None:
                both.append((parameter.grad, part))
            elif parameter.grad is not None:
                raise _once("it is checkpointed by the reentrant method")
        ones = [_wide(part) for _, part in both]
        rests = [_wide(whole) * (self._batch / second) for whole, _ in both]
        torch._foreach_sub_(rests, ones, alpha=first / second)
        return (_squared(ones) + _squared(rests)) / 2


def summary(file: Path) -> str:
    """Return in a line what a run's *file* says."""
    try:
        value, doubt = noise_scale_of(file)
    except InputError as error:
        return str(error)
    low, high = (value * math.exp(sign * _NORMAL_90 * doubt) for sign in (-1, 1))
    return f"gradient noise scale over the run: {value:,.4g} samples ({low:,.3g} to {high:,.3g}); see {file}"


def _once(why: str) -> InputError:
    return InputError(
        f"--noise-scale-every: the backward pass of this model does not run twice, as one rank needs ({why}); "
        "use two ranks"
    )


def _wide(gradient: Tensor) -> Tensor:
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32))


def _norm(gradient: Tensor) -> Tensor:
    """Return the norm, summed in fp64 where estimates are differences."""
    return torch.linalg.vector_norm(gradient.detach(), dtype=torch.float64)


def _squared(gradients: Sequence[Tensor]) -> Tensor:
    return torch.stack([_norm(gradient) for gradient in gradients]).square().sum()
