"""What is benchmarked: a model, a batch of made-up samples for it, and what one step of it does."""

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from typing import cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from lbsim.errors import InputError, unknown_name
from lbsim.harness import models
from lbsim.harness.training.optimizer import build as build_optimizer
from lbsim.harness.training.options import OptimizerName, TrainOptions

PRECISIONS = ("fp32", "tf32", "mixed", "bf16")
"""Of compute, in the words of lbsim's plan: *mixed* is fp16 where torch's autocast deems it safe."""

OPTIMIZERS = ("torch-sgd", *get_args(OptimizerName))
"""torch's own SGD, in its foreach form, and what the harness trains with."""
_RATE = 1e-4
"""So small that the made-up samples teach nothing that overflows."""


def build(name: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the model that *name* means: one of the harness's, or ``module:callable``, which takes no arguments."""
    if ":" not in name:
        return models.named(name, shape, classes)
    module_name, _, callable_name = name.partition(":")
    try:
        model = getattr(import_module(module_name), callable_name)()
    except Exception as error:
        raise InputError(f"--model {name}: {type(error).__name__}: {error}; write module:callable") from None
    if not isinstance(model, nn.Module):
        raise InputError(f"--model {name}: it returns {type(model).__name__}, not a torch.nn.Module")
    return model


def sample_shape(model: str, given: str | None) -> tuple[int, ...]:
    """Return the shape that was *given*, or the one that *model* was made for; ImageNet's if it takes any."""
    return parse_shape(given) if given else models.input_shape(model) or (3, 224, 224)


def parse_shape(text: str) -> tuple[int, ...]:
    """Return the shape that *text* means.

    >>> parse_shape("3x224x224")
    (3, 224, 224)
    """
    parts = text.lower().split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--input: '{text}' is no shape of a sample; write it as e.g. 3x224x224")
    return tuple(int(part) for part in parts)


def require_precision(precision: str, device: torch.device) -> None:
    """Raise InputError if *device* lacks *precision*."""
    if precision not in PRECISIONS:
        raise unknown_name(precision, "precisions of compute", PRECISIONS)
    has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "tf32" and not has_tf32:
        raise InputError(f"--precision tf32: this {device.type} has none; use fp32")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError("--precision bf16: this GPU has none; use mixed")


@dataclass
class Subject:
    """A model, its optimizer and one batch, in one precision, on one device."""

    model: nn.Module
    host_batch: Tensor
    batch: Tensor
    labels: Tensor
    optimizer: torch.optim.Optimizer
    autocast: Callable[[], AbstractContextManager[object]]

    def forward(self, through: nn.Module | None = None) -> Tensor:
        """Return the loss of the batch."""
        with self.autocast():
            scores = (through or self.model)(self.batch)
        return functional.cross_entropy(scores.float(), self.labels)


def subject(
    model: nn.Module,
    shape: tuple[int, ...],
    batch: int,
    precision: str,
    device: torch.device,
    *,
    optimizer: str = "torch-sgd",
) -> Subject:
    """Return *model* ready for steps on *batch* samples of *shape*; InputError if it does not take them."""
    require_precision(precision, device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    images = device.type == "cuda" and len(shape) == 3
    layout = torch.channels_last if images else torch.contiguous_format
    model = model.to(device)
    if images:
        torch.nn.utils.convert_conv2d_weight_memory_format(model, layout)
    host = torch.randn(batch, *shape)
    host = host.pin_memory() if device.type == "cuda" else host
    given = host.to(device).contiguous(memory_format=layout) if images else host.to(device)
    half = {"mixed": torch.float16, "bf16": torch.bfloat16}.get(precision)

    def autocast() -> AbstractContextManager[object]:
        return nullcontext() if half is None else torch.autocast(device.type, half)

    with autocast():
        labels = made_up_labels(model, given)
    return Subject(model, host, given, labels, updater(optimizer, model), autocast)


def made_up_labels(model: nn.Module, given: Tensor) -> Tensor:
    """Return labels among as many classes as *model* scores; InputError if it does not take what is *given*."""
    try:
        with torch.no_grad():
            classes = model(given).shape[1]
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        size, why = "x".join(map(str, given.shape[1:])), str(error).strip().partition("\n")[0]
        raise InputError(f"--input {size}: the model does not take a batch of {len(given)} of it ({why})") from None
    return torch.randint(int(classes), (len(given),), device=given.device)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether *error* says that memory did not suffice, of a GPU or a machine."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def which_fit(
    precisions: Sequence[str], batches: Sequence[int], measure: Callable[[str, int], None], tell: Callable[[str], None]
) -> None:
    """Call *measure* for each precision and batch, *tell* of those that do not fit; InputError if none does."""
    fitting = 0
    for precision, batch in product(precisions, batches):
        try:
            measure(precision, batch)
            fitting += 1
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            tell(f"precision {precision} batch_per_gpu {batch}: does not fit into memory; left out")
        gc.collect()  # after the except clause, whose error holds what was allocated
        torch.cuda.empty_cache()
    if not fitting:
        raise InputError("--batches: none fits into memory; write smaller ones")


def updater(name: str, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer called *name* over *model*: one that the harness trains with, or torch's own SGD.

    The harness's has the weight decay and groups that `train` gives it.
    """
    if name not in OPTIMIZERS:
        raise unknown_name(name, "optimizers", OPTIMIZERS)
    if name == "torch-sgd":
        return torch.optim.SGD(model.parameters(), lr=_RATE, momentum=0.9, foreach=True)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    made = build_optimizer(TrainOptions(optimizer=cast("OptimizerName", name)), named)
    for group in made.param_groups:
        group["lr"] = _RATE
    return made
