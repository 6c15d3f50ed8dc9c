"""Finiteness of a training: the first layer whose output, gradient or weight is NaN or infinite."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lbsim.errors import InputError

__all__ = ["NotFiniteError", "first_not_finite", "first_output_not_finite"]


class NotFiniteError(InputError):
    """A loss, gradient or weight is NaN or infinite; raised on all ranks."""


def first_not_finite(tensors: Iterable[tuple[str, Tensor | None]]) -> str | None:
    """Return the name of the first of the named *tensors* that is not finite; None if all are."""
    present = [(name, tensor.detach()) for name, tensor in tensors if tensor is not None and tensor.numel()]
    if not present:
        return None
    # the norm of the largest element is not finite exactly if an element is not
    norms = torch.stack([norm.float() for norm in torch._foreach_norm([t for _, t in present], ord=float("inf"))])
    faulty = (~norms.isfinite()).nonzero().flatten().tolist()
    return present[faulty[0]][0] if faulty else None


@torch.no_grad()
def first_output_not_finite(model: nn.Module, samples: Tensor) -> str | None:
    """Run *model* on *samples* once more; return the first leaf module whose output is not finite, None if all are.

    Where a parameter is not finite, the layer that uses it is the first. Batch-norm statistics are updated, and dropout
    draws other numbers, so this is for a run that ends.
    """
    names: list[str] = []

    def check(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if not names and isinstance(output, Tensor) and not output.isfinite().all():
                names.append(name)

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if name and not any(module.children())]
    hooks = [module.register_forward_hook(check(name)) for name, module in leaves]
    try:
        scores = model(samples)
    finally:
        for hook in hooks:
            hook.remove()
    if not names and isinstance(scores, Tensor) and not scores.isfinite().all():
        names.append("the model's output")
    return names[0] if names else None
