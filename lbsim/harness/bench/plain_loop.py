"""Benchmark of the training step of `train` against a plain PyTorch loop, alternating in one run.

The plain loop is what a PyTorch user writes for speed: autocast, gradient scaling, channels-last, torch's fused SGD.
"""

from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lbsim.errors import InputError, unknown_name
from lbsim.harness import models
from lbsim.harness.bench.model import PRECISIONS, measure_fitting, random_labels
from lbsim.harness.bench.options import StepOptions
from lbsim.harness.bench.provenance import provenance
from lbsim.harness.communication.process_group import ProcessGroup
from lbsim.harness.communication.step_recorder import clock
from lbsim.harness.training.optimizer import build as build_optimizer
from lbsim.harness.training.options import OptimizerName, TrainingPrecision, TrainOptions
from lbsim.harness.training.precision import MasterWeights, cast_inputs, require_precision
from lbsim.measurements.trace import Trace, TraceEntry

__all__ = ["measure", "ratios"]

_RATE = 1e-4
_CLASSES = 1000
_HALF = {"mixed": torch.float16, "bf16": torch.bfloat16}
_StepFunction = Callable[[], object]


def measure(
    group: ProcessGroup,
    options: StepOptions,
    progress: Callable[[], None] = lambda: None,
    report: Callable[[str], None] = lambda _: None,
) -> Trace:
    """Return the seconds of steps of the harness and of the plain loop, which alternate.

    *progress* is called after each pair of steps; *report* receives those that do not fit into memory. Raises
    InputError for several ranks, and if nothing fits.
    """
    if group.size > 1:
        raise InputError("bench step measures one process; for several write bench scaling")
    source = provenance(group)  # before the benchmark adds to the load
    optimizer = options.optimizer.removeprefix("torch-")
    observations: list[TraceEntry] = []

    def measure_one(precision: str, batch: int) -> None:
        steps = _steps(group, options, precision, batch, optimizer)
        for name, seconds in _alternate(steps, group.device, options, progress).items():
            settings = {"precision": precision, "batch_per_gpu": batch}
            observations.append(
                TraceEntry(quantity="step_time", subject=name, settings=settings, samples=tuple(seconds))
            )

    measure_fitting(options.precisions, options.batches, measure_one, report)
    return Trace(
        measured="step",
        evidence=source,
        gpus=1,
        settings={
            "model": options.model,
            "input": "x".join(map(str, options.shape)),
            "optimizer": optimizer,
            "beside": "autocast, torch's fused SGD",
        },
        observations=tuple(observations),
    )


def ratios(trace: Trace) -> list[tuple[str, float]]:
    """Return the speed of the harness over that of the plain loop by precision and batch: the median over pairs."""
    pairs = zip(trace.observations[::2], trace.observations[1::2], strict=True)
    return [
        (
            " ".join(f"{key} {value}" for key, value in harness.settings.items()),
            median(theirs / ours for ours, theirs in zip(harness.samples, plain.samples, strict=True)),
        )
        for harness, plain in pairs
    ]


def _steps(
    group: ProcessGroup, options: StepOptions, precision: str, batch: int, optimizer: str
) -> dict[str, _StepFunction]:
    """Return the step of the harness and that of the plain loop, on separate models and the same batch."""
    if precision not in PRECISIONS:
        raise unknown_name(precision, "precisions of compute", PRECISIONS)
    chosen = cast("TrainingPrecision", precision)
    require_precision(chosen, group.device)
    tf32 = chosen == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    shape = options.shape
    samples = torch.randn(batch, *shape, device=group.device)
    ours, theirs = (
        _channels_last(models.build_model(options.model, shape, _CLASSES), shape, group.device) for _ in range(2)
    )
    labels = random_labels(ours, samples)
    return {
        "harness": _harness_step(ours, chosen, optimizer, samples, labels),
        "plain": _plain_step(theirs, chosen, samples, labels),
    }


def _channels_last(model: nn.Module, shape: tuple[int, ...], device: torch.device) -> nn.Module:
    if len(shape) != 3:
        return model.to(device)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch


def _samples_channels_last(samples: Tensor) -> Tensor:
    return samples.contiguous(memory_format=torch.channels_last) if samples.dim() == 4 else samples


def _harness_step(
    model: nn.Module, precision: TrainingPrecision, optimizer: str, samples: Tensor, labels: Tensor
) -> _StepFunction:
    """Return the training step of `train`, with the values that it reads back in each step."""
    masters = MasterWeights(model, precision)
    updater = build_optimizer(TrainOptions(optimizer=cast("OptimizerName", optimizer)), masters.named)
    for group in updater.param_groups:
        group["lr"] = _RATE

    def step() -> float:
        masters.zero_gradients()
        inputs = _samples_channels_last(cast_inputs(masters.dtype, samples))
        loss = cross_entropy(model(inputs).float(), labels)
        masters.scale_loss(loss).backward()
        if masters.unscale_gradients():
            updater.step()
            masters.copy_to_model()
        return float(loss.detach())

    return step


def _plain_step(model: nn.Module, precision: TrainingPrecision, samples: Tensor, labels: Tensor) -> _StepFunction:
    device, half = samples.device.type, _HALF.get(precision)
    updater = torch.optim.SGD(model.parameters(), lr=_RATE, momentum=0.9, weight_decay=1e-4, fused=True)
    scaler = torch.amp.GradScaler(device, enabled=precision == "mixed")

    def step() -> None:
        updater.zero_grad(set_to_none=True)
        with nullcontext() if half is None else torch.autocast(device, half):
            loss = cross_entropy(model(_samples_channels_last(samples)), labels)
        scaler.scale(loss).backward()
        scaler.step(updater)
        scaler.update()

    return step


def _alternate(
    steps: dict[str, _StepFunction], device: torch.device, options: StepOptions, progress: Callable[[], None]
) -> dict[str, list[float]]:
    timer = clock(device)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(options.warm_up + options.repeats):
        for name, step in steps.items():
            start = timer.mark()
            step()
            took = timer.between(start, timer.mark())
            if number >= options.warm_up:
                seconds[name].append(round(took, 8))
        progress()
    return seconds
