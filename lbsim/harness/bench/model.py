"""Benchmarked model with a random batch, an optimizer and a precision."""

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from lbsim.errors import InputError, unknown_name
from lbsim.harness.training.optimizer import build as build_optimizer
from lbsim.harness.training.options import OptimizerName, TrainOptions

__all__ = [
    "OPTIMIZERS",
    "PRECISIONS",
    "BenchmarkSetup",
    "benchmark_optimizer",
    "is_out_of_memory",
    "measure_fitting",
    "prepare",
    "random_labels",
    "require_precision",
]

PRECISIONS = ("fp32", "tf32", "mixed", "bf16")
"""Precisions of compute, named as in lbsim's plan: *mixed* is fp16 where torch's autocast uses it."""

OPTIMIZERS = ("torch-sgd", *get_args(OptimizerName))
"""Optimizers: torch's SGD in its foreach form, and those of the harness."""
_RATE = 1e-4
"""Learning rate, small enough that training on random samples does not overflow."""


def require_precision(precision: str, device: torch.device) -> None:
    """Raise InputError if *device* does not support *precision*."""
    if precision not in PRECISIONS:
        raise unknown_name(precision, "precisions of compute", PRECISIONS)
    has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "tf32" and not has_tf32:
        raise InputError(f"--precision tf32: this {device.type} does not support it; use fp32")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError("--precision bf16: this GPU does not support it; use mixed")


@dataclass
class BenchmarkSetup:
    """A model, its optimizer and one batch, in one precision, on one device."""

    model: nn.Module
    host_batch: Tensor
    """The batch in host memory, pinned for a GPU."""
    batch: Tensor
    """The batch on the device."""
    labels: Tensor
    optimizer: torch.optim.Optimizer
    autocast: Callable[[], AbstractContextManager[object]]
    """Context in which the forward pass runs."""

    def forward(self, module: nn.Module | None = None) -> Tensor:
        """Return the loss of the batch; *module* is run instead of the model, such as an engine's wrapper of it."""
        with self.autocast():
            scores = (module or self.model)(self.batch)
        return functional.cross_entropy(scores.float(), self.labels)


def prepare(
    model: nn.Module,
    shape: tuple[int, ...],
    batch: int,
    precision: str,
    device: torch.device,
    *,
    optimizer: str = "torch-sgd",
) -> BenchmarkSetup:
    """Return *model* prepared for steps on *batch* random samples of *shape*; InputError if it does not accept them."""
    require_precision(precision, device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    images = device.type == "cuda" and len(shape) == 3
    layout = torch.channels_last if images else torch.contiguous_format
    model = model.to(device)
    if images:
        torch.nn.utils.convert_conv2d_weight_memory_format(model, layout)
    host = torch.randn(batch, *shape)
    host = host.pin_memory() if device.type == "cuda" else host
    samples = host.to(device).contiguous(memory_format=layout) if images else host.to(device)
    half = {"mixed": torch.float16, "bf16": torch.bfloat16}.get(precision)

    def autocast() -> AbstractContextManager[object]:
        return nullcontext() if half is None else torch.autocast(device.type, half)

    with autocast():
        labels = random_labels(model, samples)
    return BenchmarkSetup(model, host, samples, labels, benchmark_optimizer(optimizer, model), autocast)


def random_labels(model: nn.Module, samples: Tensor) -> Tensor:
    """Return random labels for *samples* among the classes of *model*; InputError if it does not accept them."""
    try:
        with torch.no_grad():
            classes = model(samples).shape[1]
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        size, reason = "x".join(map(str, samples.shape[1:])), str(error).strip().partition("\n")[0]
        raise InputError(f"--input {size}: the model does not accept a batch of {len(samples)} ({reason})") from None
    return torch.randint(int(classes), (len(samples),), device=samples.device)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether *error* means that a GPU or the host has too little memory."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def measure_fitting(
    precisions: Sequence[str],
    batches: Sequence[int],
    measure: Callable[[str, int], None],
    report: Callable[[str], None],
) -> None:
    """Call *measure* for each precision and batch; *report* those that do not fit; InputError if none fits."""
    fitting = 0
    for precision, batch in product(precisions, batches):
        try:
            measure(precision, batch)
            fitting += 1
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            report(f"precision {precision} batch_per_gpu {batch}: does not fit into memory; left out")
        gc.collect()  # after the except clause, whose error holds references to the memory
        torch.cuda.empty_cache()
    if not fitting:
        raise InputError("--batches: none fits into memory; write smaller batches")


def benchmark_optimizer(name: str, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer called *name* over *model*, one of `OPTIMIZERS`.

    Those of the harness have the weight decay and parameter groups of `train`.
    """
    if name not in OPTIMIZERS:
        raise unknown_name(name, "optimizers", OPTIMIZERS)
    if name == "torch-sgd":
        return torch.optim.SGD(model.parameters(), lr=_RATE, momentum=0.9, foreach=True)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer = build_optimizer(TrainOptions(optimizer=cast("OptimizerName", name)), named)
    for group in optimizer.param_groups:
        group["lr"] = _RATE
    return optimizer
