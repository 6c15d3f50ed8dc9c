"""Benchmark of one rank's step: copy, forward and backward, in total and by layer, and update."""

import gc
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from lbsim.errors import InputError
from lbsim.harness import models
from lbsim.harness.bench.model import BenchmarkSetup, measure_fitting, prepare, require_precision
from lbsim.harness.bench.options import StepOptions
from lbsim.harness.bench.provenance import provenance
from lbsim.harness.communication.fusion_engine import FusionEngine
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.process_group import ProcessGroup
from lbsim.harness.communication.step_recorder import Clock, Mark, StepRecorder, clock
from lbsim.measurements.trace import RankTimeline, Setting, Trace, TraceEntry

__all__ = ["measure"]

Timings = dict[tuple[str, str], list[float]]
"""Seconds of each repeat, by quantity and layer."""
_CLASSES = 1000


def measure(
    group: ProcessGroup,
    options: StepOptions,
    progress: Callable[[], None] = lambda: None,
    report: Callable[[str], None] = lambda _: None,
) -> Trace:
    """Return the seconds of steps over batch sizes and precisions, in total and then by layer.

    The two are measured separately, because marks between layers take time. The timelines are those of the first batch
    and precision, for a replay. *progress* is called after each step; *report* receives those that do
    not fit into memory. Raises InputError for several ranks, and if nothing fits.
    """
    if group.size > 1:
        raise InputError("bench step measures one process; for several write bench scaling")
    for precision in options.precisions:
        require_precision(precision, group.device)
    source = provenance(group)  # before the benchmark adds to the load
    observations: list[TraceEntry] = []
    timelines: list[RankTimeline] = []

    def measure_one(precision: str, batch: int) -> None:
        model = models.build_model(options.model, options.shape, _CLASSES)
        setup = prepare(model, options.shape, batch, precision, group.device, optimizer=options.optimizer)
        settings: dict[str, Setting] = {"precision": precision, "batch_per_gpu": batch}
        timings, steps = _step_timings(setup, group.device, options, progress)
        timings |= _layer_timings(setup, group.device, options.repeats, progress)
        timelines.extend([] if timelines else steps)
        for (quantity, name), samples in timings.items():
            rounded = tuple(round(max(0.0, sample), 8) for sample in samples)
            observations.append(TraceEntry(quantity=quantity, subject=name, settings=settings, samples=rounded))

    measure_fitting(options.precisions, options.batches, measure_one, report)
    return Trace(
        measured="step",
        evidence=source,
        gpus=1,
        settings={
            "model": options.model,
            "input": "x".join(map(str, options.shape)),
            "optimizer": options.optimizer,
            "repeats": options.repeats,
            "warm_up": options.warm_up,
        },
        observations=tuple(observations),
        timelines=tuple(timelines),
    )


def _step_timings(
    setup: BenchmarkSetup, device: torch.device, options: StepOptions, progress: Callable[[], None]
) -> tuple[Timings, list[RankTimeline]]:
    """Return the seconds of the parts of steps that run back to back, and their timelines."""
    parameters = [(name, p) for name, p in setup.model.named_parameters() if p.requires_grad]
    timer = clock(device)
    recorder = StepRecorder(0, timer, [(name, p.numel()) for name, p in parameters])
    engine = FusionEngine(parameters, CommunicationOptions(overlap=False))
    samples: Timings = defaultdict(list)
    with _no_garbage():
        for number in range(options.warm_up + options.repeats):
            engine.recorder = recorder if number >= options.warm_up else None
            marks = _run(setup, engine, timer)
            progress()
            if number >= options.warm_up:
                for (_, before), (name, after) in pairwise(marks):
                    samples[name, ""].append(timer.between(before, after))
                samples["step_time", ""].append(timer.between(marks[0][1], marks[-1][1]))
    engine.close()
    return samples, recorder.timelines()


def _run(setup: BenchmarkSetup, engine: FusionEngine, timer: Clock) -> list[tuple[str, Mark]]:
    """Run one step and return its marks; the copy is before the start of the timeline."""
    marks = [("", timer.mark())]
    if setup.batch.device.type == "cuda":
        setup.batch.copy_(setup.host_batch, non_blocking=True)
        marks.append(("copy", timer.mark()))
    setup.optimizer.zero_grad()
    engine.begin_step()
    loss = setup.forward()
    marks.append(("forward", timer.mark()))
    _mark(engine, "forward")
    loss.backward()
    marks.append(("backward", timer.mark()))
    _mark(engine, "backward")
    engine.finish_step()
    marks.append(("engine", timer.mark()))
    setup.optimizer.step()
    marks.append(("update", timer.mark()))
    _mark(engine, "step")
    return marks


def _mark(engine: FusionEngine, name: str) -> None:
    if engine.recorder:
        engine.recorder.mark(name)


def _layer_timings(setup: BenchmarkSetup, device: torch.device, repeats: int, progress: Callable[[], None]) -> Timings:
    """Return the seconds of each leaf module, forward and backward.

    The backward time of a layer is from the gradient of its output to that of the next layer, in autograd's order; the
    sum over layers is the backward pass. The times of a layer that is called twice are added.
    """
    timer, samples = clock(device), defaultdict(list)
    leaves = [(name, module) for name, module in setup.model.named_modules() if name and not any(module.children())]
    for repeat in range(repeats + 1):
        starts: dict[str, Mark] = {}
        forward: list[tuple[str, Mark, Mark]] = []
        backward: list[tuple[str, Mark]] = []
        with _no_garbage(), _marking(leaves, timer, starts, forward, backward):
            setup.optimizer.zero_grad()
            setup.forward().backward()
            backward.append(("", timer.mark()))
        progress()
        if repeat == 0:
            continue  # warm-up of the hooks
        sums: dict[tuple[str, str], float] = defaultdict(float)
        for name, before, after in forward:
            sums["layer.forward", name] += timer.between(before, after)
        for (name, before), (_, after) in pairwise(backward):
            sums["layer.backward", name] += timer.between(before, after)
        for key, seconds in sums.items():
            samples[key].append(seconds)
    return samples


@contextmanager
def _marking(
    leaves: Sequence[tuple[str, nn.Module]],
    timer: Clock,
    starts: dict[str, Mark],
    forward: list[tuple[str, Mark, Mark]],
    backward: list[tuple[str, Mark]],
) -> Iterator[None]:
    """Mark start and end of the forward pass of each of *leaves*, and when the gradient of its output is ready."""

    def before(name: str) -> Callable[..., None]:
        def mark(*_: object) -> None:
            starts[name] = timer.mark()

        return mark

    def after(name: str) -> Callable[..., None]:
        def gradient(_: Tensor) -> None:
            backward.append((name, timer.mark()))

        def mark(_module: nn.Module, _input: object, output: object) -> None:
            forward.append((name, starts[name], timer.mark()))
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
    """Disable Python's garbage collector while time is measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
