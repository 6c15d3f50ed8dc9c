"""Mixed precision as Jia et al. train: everything in fp16 but the master weights, on which LARS works in fp32.

X. Jia et al., arXiv:1807.11205, section 3.1: forward, backward and gradients in fp16; gradients are cast to fp32
before LARS, which updates fp32 masters; the new weights are cast back. Batch norm keeps its parameters in fp32, as in
P. Micikevicius et al., "Mixed Precision Training," ICLR 2018, from which dynamic loss scaling is too.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lbsim.errors import InputError
from lbsim.harness.training.options import Precision

_WORKING = {"fp32": torch.float32, "tf32": torch.float32, "mixed": torch.float16, "bf16": torch.bfloat16}
_KEPT_IN_FP32 = (nn.modules.batchnorm._BatchNorm,)


def require(precision: Precision, device: torch.device) -> None:
    """Raise InputError if *device* lacks *precision*."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if precision in {"tf32", "bf16"} and capability < (8, 0):
            raise InputError(
                f"--precision {precision}: {torch.cuda.get_device_name(device)} has none; use mixed or fp32"
            )
        return
    if precision == "tf32":
        raise InputError("--precision tf32: a CPU has none; use fp32")
    sample = torch.zeros(1, 4, 4, 4, dtype=_WORKING[precision], requires_grad=True)
    weight = torch.zeros(4, 4, 3, 3, dtype=_WORKING[precision], requires_grad=True)
    try:
        torch.nn.functional.conv2d(sample, weight).sum().backward()
    except RuntimeError:
        raise InputError(f"--precision {precision}: this CPU's torch has none; use fp32 or bf16") from None


class LossScale:
    """Dynamic loss scaling: halved when a gradient overflows, doubled after *patience* steps without."""

    def __init__(self, scale: float, patience: int = 2000) -> None:
        self.scale, self.patience = scale, patience
        self.good_steps = 0

    def saw(self, *, overflow: bool) -> None:
        """Take notice of a step."""
        if overflow:
            self.scale, self.good_steps = max(1.0, self.scale / 2), 0
            return
        self.good_steps += 1
        if self.good_steps == self.patience:
            self.scale, self.good_steps = self.scale * 2, 0

    def state(self) -> dict[str, float]:
        """Return what a checkpoint keeps."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.scale, self.good_steps = state["scale"], state["good_steps"]


class Masters:
    """The fp32 weights that the optimizer updates, beside a model that computes in *precision*.

    In fp32 the masters are the model's own parameters and nothing is copied.
    """

    def __init__(self, model: nn.Module, precision: Precision, loss_scale: float = 2.0**16) -> None:
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
        pairs = [(ours[1], theirs[1]) for ours, theirs in zip(self.named, self.working, strict=True)]
        self._copied = [(master, working) for master, working in pairs if master is not working]

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss to start backward from."""
        return loss if self.scale is None else loss * self.scale.scale

    def take_gradients(self) -> bool:
        """Give the masters the gradients of the working weights, unscaled; return whether all are finite.

        All ranks hold the same mean, so all decide the same.
        """
        for master, working in self._copied:
            master.grad = None if working.grad is None else working.grad.float()
        if self.scale is None:
            return True
        gradients = [master.grad for _, master in self.named if master.grad is not None]
        torch._foreach_mul_(gradients, 1 / self.scale.scale)
        finite = bool(torch.stack(torch._foreach_norm(gradients, ord=float("inf"))).isfinite().all())
        self.scale.saw(overflow=not finite)
        return finite

    def give_weights(self) -> None:
        """Round the masters into the working weights."""
        with torch.no_grad():
            for master, working in self._copied:
                working.copy_(master)

    def forget_gradients(self) -> None:
        """Drop all gradients, before the next backward."""
        for parameters in (self.working, self.named):
            for _, parameter in parameters:
                parameter.grad = None

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "weights": {name: master.detach() for name, master in self.named},
            "scale": None if self.scale is None else self.scale.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        with torch.no_grad():
            for name, master in self.named:
                master.copy_(state["weights"][name])
        if self.scale is not None:
            self.scale.restore(state["scale"])
        self.give_weights()


def inputs_in(dtype: torch.dtype, samples: Tensor) -> Tensor:
    """Return *samples* in the precision of the model; labels and tokens stay."""
    return samples.to(dtype) if samples.is_floating_point() else samples
