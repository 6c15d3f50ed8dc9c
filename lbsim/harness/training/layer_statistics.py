"""Layer statistics during training: ratio of update to weight norm, and distribution of an activation.

The ratio is the figure of You et al.'s slides; the distribution is figure 4 of Jia et al., of pool5 with and without
batch norm after it.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lbsim.errors import unknown_name
from lbsim.harness.optimizers.lars import local_rate

__all__ = ["ActivationRecorder", "LayerStatistics", "distribution"]

LayerRow = tuple[str, float, float, float, float, float]
_QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
_LARGEST_SAMPLE = 1_000_000


class LayerStatistics:
    """Weights and gradients before a step, to compare with the weights after it."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], trust: float, decay: float) -> None:
        self._named = [(name, weight) for name, weight in named if weight.grad is not None]
        self._before = [weight.detach().clone() for _, weight in self._named]
        self._gradients = torch.stack([weight.grad.norm() for _, weight in self._named if weight.grad is not None])
        self._trust, self._decay = trust, decay

    def rows(self) -> Iterator[LayerRow]:
        """Yield each layer's name, norms of weight, gradient and update, ratio of update to weight, and LARS's rate.

        The ratio is nan for a weight of norm zero.
        """
        after = [weight.detach() for _, weight in self._named]
        weights = torch.stack(torch._foreach_norm(self._before))
        updates = torch.stack(torch._foreach_norm(torch._foreach_sub(after, self._before)))
        rates = local_rate(weights, self._gradients, self._trust, self._decay)
        ratios = torch.where(weights > 0, updates / weights, float("nan"))
        columns = (weights, self._gradients, updates, ratios, rates)
        for (name, _), *values in zip(self._named, *(column.tolist() for column in columns), strict=True):
            weight, gradient, update, ratio, rate = values
            yield name, weight, gradient, update, ratio, rate


class ActivationRecorder:
    """Last output of a layer in training; recorded while `wanted` is true."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        modules = dict(model.named_modules())
        if layer not in modules or not layer:
            raise unknown_name(layer, "the model's layers", [name for name in modules if name])
        self._output: Tensor | None = None
        self.wanted = False
        modules[layer].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: object, output: object) -> None:  # noqa: ARG002  # the signature of a protocol
        if self.wanted and isinstance(output, Tensor):
            self._output = output.detach().clone()  # an in-place ReLU after it would change it

    def distribution(self) -> list[float]:
        """Return mean, standard deviation and the quantiles 0, 1, 25, 50, 75, 99 and 100 %."""
        if self._output is None:
            raise RuntimeError("no forward pass has run while the activation was wanted")
        return distribution(self._output)


def distribution(tensor: Tensor) -> list[float]:
    """Return mean, standard deviation and quantiles of *tensor*; of evenly spaced elements if it has over a million.

    >>> distribution(torch.arange(101.0))[2:]
    [0.0, 1.0, 25.0, 50.0, 75.0, 99.0, 100.0]
    """
    flat = tensor.flatten().float()
    flat = flat[:: 1 + flat.numel() // _LARGEST_SAMPLE]
    quantiles = torch.quantile(flat, torch.tensor(_QUANTILES, device=flat.device))
    return [float(flat.mean()), float(flat.std()), *quantiles.tolist()]
