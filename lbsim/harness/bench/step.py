"""Times one rank's step: copies, forward and backward, whole and by layer, and the update."""

import gc
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from lbsim.errors import InputError
from lbsim.harness.bench.evidence import evidence
from lbsim.harness.bench.model import Subject, build, require_precision, subject, which_fit
from lbsim.harness.communication.gradient_engine import GradientEngine
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.process_group import Ranks
from lbsim.harness.communication.step_recorder import Clock, Mark, StepRecorder, clock
from lbsim.measurements.trace import RankTimeline, Setting, Trace, TraceEntry

Samples = dict[tuple[str, str], list[float]]
"""By quantity and subject."""


def measure(
    place: Ranks,
    *,
    model: str,
    shape: tuple[int, ...],
    batches: Sequence[int],
    precisions: Sequence[str],
    repeats: int,
    warm_up: int,
    progress: Callable[[], None],
    tell: Callable[[str], None],
    optimizer: str = "torch-sgd",
) -> Trace:
    """Return the times of steps of *model* over *batches* samples and *precisions*, whole, then layer by layer.

    The two are measured apart, for marks between layers cost time themselves. The timelines, of the first batch and
    precision, are what a replay waits by.
    """
    if place.size > 1:
        raise InputError("bench step is of one process; for several write bench scaling")
    for precision in precisions:
        require_precision(precision, place.device)
    stands_on = evidence(place)  # before it adds to the load
    observations: list[TraceEntry] = []
    timelines: list[RankTimeline] = []

    def one(precision: str, batch: int) -> None:
        ready = subject(build(model, shape, 1000), shape, batch, precision, place.device, optimizer=optimizer)
        settings: dict[str, Setting] = {"precision": precision, "batch_per_gpu": batch}
        found, steps = _whole(ready, place.device, repeats, warm_up)
        found |= _layers(ready, place.device, repeats)
        timelines.extend([] if timelines else steps)
        for (quantity, name), samples in found.items():
            rounded = tuple(round(max(0.0, sample), 8) for sample in samples)
            observations.append(TraceEntry(quantity=quantity, subject=name, settings=settings, samples=rounded))
        progress()

    which_fit(precisions, batches, one, tell)
    shared: dict[str, Setting] = {"model": model, "input": "x".join(map(str, shape)), "optimizer": optimizer}
    return Trace(
        measured="step",
        evidence=stands_on,
        gpus=1,
        settings=shared | {"repeats": repeats, "warm_up": warm_up},
        observations=tuple(observations),
        timelines=tuple(timelines),
    )


def _whole(ready: Subject, device: torch.device, repeats: int, warm_up: int) -> tuple[Samples, list[RankTimeline]]:
    """Return the parts of *repeats* steps, back to back, and their timelines."""
    parameters = [(name, p) for name, p in ready.model.named_parameters() if p.requires_grad]
    timer = clock(device)
    recorder = StepRecorder(0, timer, [(name, p.numel()) for name, p in parameters])
    engine = GradientEngine(parameters, CommunicationOptions(overlap=False))
    samples: Samples = defaultdict(list)
    with _no_garbage():
        for number in range(warm_up + repeats):
            engine.recorder = recorder if number >= warm_up else None
            marks = _step(ready, engine, timer)
            if number >= warm_up:
                for (_, before), (name, after) in pairwise(marks):
                    samples[name, ""].append(timer.between(before, after))
                samples["step_time", ""].append(timer.between(marks[0][1], marks[-1][1]))
    engine.close()
    return samples, recorder.timelines()


def _step(ready: Subject, engine: GradientEngine, timer: Clock) -> list[tuple[str, Mark]]:
    """Run one step and return its marks: the copy comes before what its timeline holds."""
    marks = [("", timer.mark())]
    if ready.batch.device.type == "cuda":
        ready.batch.copy_(ready.host_batch, non_blocking=True)
        marks.append(("copy", timer.mark()))
    ready.optimizer.zero_grad()
    engine.begin_step()
    forwarded = ready.forward()
    marks.append(("forward", timer.mark()))
    _note(engine, "forward")
    forwarded.backward()
    marks.append(("backward", timer.mark()))
    _note(engine, "backward")
    engine.finish_step()
    marks.append(("engine", timer.mark()))
    ready.optimizer.step()
    marks.append(("update", timer.mark()))
    _note(engine, "step")
    return marks


def _note(engine: GradientEngine, name: str) -> None:
    if engine.recorder:
        engine.recorder.mark(name)


def _layers(ready: Subject, device: torch.device, repeats: int) -> Samples:
    """Return the seconds of each leaf module, forward and backward.

    Backward passes a layer from when the gradient of its output is there until the next layer's is, in the order in
    which autograd comes to them; the sum is the pass. A layer that is called twice counts both times.
    """
    timer, samples = clock(device), defaultdict(list)
    leaves = [(name, module) for name, module in ready.model.named_modules() if name and not any(module.children())]
    for number in range(repeats + 1):
        starts: dict[str, Mark] = {}
        passed: list[tuple[str, Mark, Mark]] = []
        back: list[tuple[str, Mark]] = []
        with _no_garbage(), _marking(leaves, timer, starts, passed, back):
            ready.optimizer.zero_grad()
            ready.forward().backward()
            back.append(("", timer.mark()))
        if number == 0:
            continue  # hooks warm up too
        sums: dict[tuple[str, str], float] = defaultdict(float)
        for name, before, after in passed:
            sums["layer.forward", name] += timer.between(before, after)
        for (name, before), (_, after) in pairwise(back):
            sums["layer.backward", name] += timer.between(before, after)
        for key, seconds in sums.items():
            samples[key].append(seconds)
    return samples


@contextmanager
def _marking(
    leaves: Sequence[tuple[str, nn.Module]],
    timer: Clock,
    starts: dict[str, Mark],
    passed: list[tuple[str, Mark, Mark]],
    back: list[tuple[str, Mark]],
) -> Iterator[None]:
    """Mark when each of *leaves* starts and ends, and when the gradient of its output is there."""

    def before(name: str) -> Callable[..., None]:
        def mark(*_: object) -> None:
            starts[name] = timer.mark()

        return mark

    def after(name: str) -> Callable[..., None]:
        def gradient(_: Tensor) -> None:
            back.append((name, timer.mark()))

        def mark(_module: nn.Module, _input: object, output: object) -> None:
            passed.append((name, starts[name], timer.mark()))
            if isinstance(output, Tensor) and output.requires_grad:
                output.register_hook(gradient)

        return mark

    hooks = [module.register_forward_pre_hook(before(name)) for name, module in leaves]
    hooks += [module.register_forward_hook(after(name)) for name, module in leaves]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Keep Python's collector out of what is timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
