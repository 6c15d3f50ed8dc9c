"""Mixed precision: fp16 or bf16 compute, fp32 master weights, dynamic loss scaling.

Forward, backward and gradients are in fp16; gradients are cast to fp32 before the optimizer, which updates the fp32
master weights, and the new weights are cast back: X. Jia et al., arXiv:1807.11205, section 3.1. Batch norm keeps its
parameters in fp32, as in P. Micikevicius et al., "Mixed Precision Training," ICLR 2018, the source of the loss scaling.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lbsim.errors import InputError
from lbsim.harness.training.options import TrainingPrecision

__all__ = ["LossScale", "MasterWeights", "cast_inputs", "require_precision"]

_WORKING = {"fp32": torch.float32, "tf32": torch.float32, "mixed": torch.float16, "bf16": torch.bfloat16}
_KEPT_IN_FP32 = (nn.modules.batchnorm._BatchNorm,)


def require_precision(precision: TrainingPrecision, device: torch.device) -> None:
    """Raise InputError if *device* does not support *precision*."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if precision in {"tf32", "bf16"} and capability < (8, 0):
            raise InputError(
                f"--precision {precision}: {torch.cuda.get_device_name(device)} does not support it; use mixed or fp32"
            )
        return
    if precision == "tf32":
        raise InputError("--precision tf32: CPUs do not support it; use fp32")
    sample = torch.zeros(1, 4, 4, 4, dtype=_WORKING[precision], requires_grad=True)
    weight = torch.zeros(4, 4, 3, 3, dtype=_WORKING[precision], requires_grad=True)
    try:
        torch.nn.functional.conv2d(sample, weight).sum().backward()
    except RuntimeError:
        raise InputError(f"--precision {precision}: torch does not support it on this CPU; use fp32 or bf16") from None


class LossScale:
    """Dynamic loss scale: halved when a gradient overflows, doubled after *patience* steps without overflow."""

    def __init__(self, scale: float, patience: int = 2000) -> None:
        self.scale, self.patience = scale, patience
        self.good_steps = 0

    def update(self, *, overflow: bool) -> None:
        """Adapt the scale after a step."""
        if overflow:
            self.scale, self.good_steps = max(1.0, self.scale / 2), 0
            return
        self.good_steps += 1
        if self.good_steps == self.patience:
            self.scale, self.good_steps = self.scale * 2, 0

    def state(self) -> dict[str, float]:
        """Return the state for a checkpoint."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self.scale, self.good_steps = state["scale"], state["good_steps"]


class MasterWeights:
    """fp32 master weights of a model that computes in *precision*; the optimizer updates them.

    In fp32 the master weights are the parameters of the model, and nothing is copied. *loss_scale* is the initial one.
    """

    def __init__(self, model: nn.Module, precision: TrainingPrecision, loss_scale: float = 2.0**16) -> None:
        self.dtype = _WORKING[precision]
        self.scale = LossScale(loss_scale) if precision == "mixed" else None
        originals = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        if self.dtype != torch.float32:
            model.to(self.dtype)
            for module in model.modules():
                if isinstance(module, _KEPT_IN_FP32):
                    module.float()
        self.working = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.named = [
            (name, parameter if parameter.dtype == torch.float32 else nn.Parameter(originals[name].float()))
            for name, parameter in self.working
        ]
        pairs = [(master[1], working[1]) for master, working in zip(self.named, self.working, strict=True)]
        self._copied = [(master, working) for master, working in pairs if master is not working]

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Return *loss* times the loss scale, from which backward starts."""
        return loss if self.scale is None else loss * self.scale.scale

    def unscale_gradients(self) -> bool:
        """Copy the model's gradients to the master weights and divide by the loss scale; return whether all are finite.

        Without a loss scale it returns True. All ranks hold the same mean gradients, so all return the same.
        """
        for master, working in self._copied:
            master.grad = None if working.grad is None else working.grad.float()
        if self.scale is None:
            return True
        gradients = [master.grad for _, master in self.named if master.grad is not None]
        torch._foreach_mul_(gradients, 1 / self.scale.scale)
        finite = bool(torch.stack(torch._foreach_norm(gradients, ord=float("inf"))).isfinite().all())
        self.scale.update(overflow=not finite)
        return finite

    def copy_to_model(self) -> None:
        """Round the master weights into the model."""
        with torch.no_grad():
            for master, working in self._copied:
                working.copy_(master)

    def zero_gradients(self) -> None:
        """Set all gradients to None."""
        for parameters in (self.working, self.named):
            for _, parameter in parameters:
                parameter.grad = None

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "weights": {name: master.detach() for name, master in self.named},
            "scale": None if self.scale is None else self.scale.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        with torch.no_grad():
            for name, master in self.named:
                master.copy_(state["weights"][name])
        if self.scale is not None:
            self.scale.restore(state["scale"])
        self.copy_to_model()


def cast_inputs(dtype: torch.dtype, samples: Tensor) -> Tensor:
    """Return floating-point *samples* as *dtype*; integers, such as tokens, are unchanged."""
    return samples.to(dtype) if samples.is_floating_point() else samples
