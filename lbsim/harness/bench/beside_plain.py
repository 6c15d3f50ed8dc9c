"""Times the step that `train` does beside a plain PyTorch loop, turn by turn in one run.

The plain loop is what a PyTorch user writes for speed: autocast, gradient scaling, channels-last, torch's fused SGD.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from statistics import median
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lbsim.errors import InputError, unknown_name
from lbsim.harness.bench.evidence import evidence
from lbsim.harness.bench.model import PRECISIONS, build, made_up_labels, which_fit
from lbsim.harness.communication.process_group import Ranks
from lbsim.harness.communication.step_recorder import clock
from lbsim.harness.training.optimizer import build as build_optimizer
from lbsim.harness.training.options import OptimizerName, Precision, TrainOptions
from lbsim.harness.training.precision import Masters, inputs_in, require
from lbsim.measurements.trace import Trace, TraceEntry

_RATE = 1e-4
_HALF = {"mixed": torch.float16, "bf16": torch.bfloat16}
Step = Callable[[], object]


def measure(
    place: Ranks,
    *,
    model: str,
    shape: tuple[int, ...],
    batches: Sequence[int],
    precisions: Sequence[str],
    optimizer: str,
    repeats: int,
    warm_up: int,
    progress: Callable[[], None],
    tell: Callable[[str], None],
) -> Trace:
    """Return the times of *repeats* steps of each, the harness's with *optimizer*, one after the other in turns."""
    if place.size > 1:
        raise InputError("bench step is of one process; for several write bench scaling")
    stands_on = evidence(place)
    observations: list[TraceEntry] = []

    def one(precision: str, batch: int) -> None:
        if precision not in PRECISIONS:
            raise unknown_name(precision, "precisions of compute", PRECISIONS)
        chosen = cast("Precision", precision)
        require(chosen, place.device)
        tf32 = chosen == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        samples = torch.randn(batch, *shape, device=place.device)
        own, other = (_laid_out(build(model, shape, 1000), shape, place) for _ in range(2))
        labels = made_up_labels(own, samples)
        ours, plain = _harness(own, chosen, optimizer, samples, labels), _plain(other, chosen, samples, labels)
        for name, seconds in _in_turns({"harness": ours, "plain": plain}, place.device, repeats, warm_up).items():
            settings = {"precision": precision, "batch_per_gpu": batch}
            observations.append(
                TraceEntry(quantity="step_time", subject=name, settings=settings, samples=tuple(seconds))
            )
        progress()

    which_fit(precisions, batches, one, tell)
    return Trace(
        measured="step",
        evidence=stands_on,
        gpus=1,
        settings={
            "model": model,
            "input": "x".join(map(str, shape)),
            "optimizer": optimizer,
            "beside": "autocast, torch's fused SGD",
        },
        observations=tuple(observations),
    )


def ratios(trace: Trace) -> list[tuple[str, float]]:
    """Return the harness's speed over the plain loop's, by precision and batch: the median of the turns' ratios."""
    pairs = zip(trace.observations[::2], trace.observations[1::2], strict=True)
    return [
        (
            " ".join(f"{key} {value}" for key, value in ours.settings.items()),
            median(theirs / own for own, theirs in zip(ours.samples, plain.samples, strict=True)),
        )
        for ours, plain in pairs
    ]


def _laid_out(model: nn.Module, shape: tuple[int, ...], place: Ranks) -> nn.Module:
    if len(shape) != 3:
        return model.to(place.device)
    return model.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _images_last(samples: Tensor) -> Tensor:
    return samples.contiguous(memory_format=torch.channels_last) if samples.dim() == 4 else samples


def _harness(model: nn.Module, precision: Precision, optimizer: str, samples: Tensor, labels: Tensor) -> Step:
    """Return a step as `train` does it, with what it reads back each time."""
    masters = Masters(model, precision)
    updater = build_optimizer(TrainOptions(optimizer=cast("OptimizerName", optimizer)), masters.named)
    for group in updater.param_groups:
        group["lr"] = _RATE

    def step() -> float:
        masters.forget_gradients()
        given = _images_last(inputs_in(masters.dtype, samples))
        loss = cross_entropy(model(given).float(), labels)
        masters.scaled(loss).backward()
        if masters.take_gradients():
            updater.step()
            masters.give_weights()
        return float(loss.detach())

    return step


def _plain(model: nn.Module, precision: Precision, samples: Tensor, labels: Tensor) -> Step:
    device, half = samples.device.type, _HALF.get(precision)
    updater = torch.optim.SGD(model.parameters(), lr=_RATE, momentum=0.9, weight_decay=1e-4, fused=True)
    scaler = torch.amp.GradScaler(device, enabled=precision == "mixed")

    def step() -> None:
        updater.zero_grad(set_to_none=True)
        with nullcontext() if half is None else torch.autocast(device, half):
            loss = cross_entropy(model(_images_last(samples)), labels)
        scaler.scale(loss).backward()
        scaler.step(updater)
        scaler.update()

    return step


def _in_turns(steps: dict[str, Step], device: torch.device, repeats: int, warm_up: int) -> dict[str, list[float]]:
    timer = clock(device)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(warm_up + repeats):
        for name, step in steps.items():
            start = timer.mark()
            step()
            took = timer.between(start, timer.mark())
            if number >= warm_up:
                seconds[name].append(round(took, 8))
    return seconds
