"""Benchmark of steps over ranks, of a model or of a replayed trace, with the timeline of each rank."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from lbsim.errors import InputError
from lbsim.harness import models
from lbsim.harness.bench.model import prepare
from lbsim.harness.bench.options import ScalingOptions
from lbsim.harness.bench.provenance import provenance
from lbsim.harness.bench.replay import Replay
from lbsim.harness.communication.engine import Engine
from lbsim.harness.communication.engines import OVERLAPPING, attach
from lbsim.harness.communication.fusion_engine import FusionEngine
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.process_group import ProcessGroup, all_gather, on_all_ranks
from lbsim.harness.communication.step_recorder import StepRecorder, clock
from lbsim.measurements.trace import RankTimeline, Setting, Trace, TraceEntry

__all__ = ["measure"]

_CLASSES = 1000


@dataclass(frozen=True)
class _StepFunctions:
    """Parts of a step, of a model or of a replay."""

    forward: Callable[[], Tensor]
    zero_gradients: Callable[[], None]
    update: Callable[[], object]
    engine: Engine


def measure(group: ProcessGroup, options: ScalingOptions, progress: Callable[[], None] = lambda: None) -> Trace:
    """Return a trace of the measured steps: each rank's step times in seconds and timelines.

    All ranks of *group* call this together; *progress* is called after each step. Raises InputError on all ranks for
    options that are invalid or differ between ranks.
    """
    same: dict[str, object] = {name: value for name, value in options.compute_settings.items() if name != "replay"}
    group.require_same(same | {"steps": options.steps, "warm_up": options.warm_up})
    source = provenance(group)  # before the benchmark adds to the load
    step, recorder = _prepare(group, options)
    warm_up = options.warm_up
    if options.communication.timed and options.communication.fusion_trace is None:
        warm_up = max(warm_up, options.communication.fusion_warm_up)  # measured steps use the plan by times
    for number in range(warm_up + options.steps):
        recording = recorder if number >= warm_up else None
        step.engine.recorder = recording
        _run(step, recording)
        progress()
    note = step.engine.note
    step.engine.close()
    timelines = [timeline for of_rank in all_gather(recorder.timelines()) for timeline in of_rank]
    counts: dict[str, Setting] = {"steps": options.steps, "warm_up": warm_up, "note": note}
    return Trace(
        measured="scaling",
        evidence=source,
        gpus=group.size,
        settings=options.compute_settings | _settings(options.communication) | counts,
        observations=tuple(_observations(timelines, group.size)),
        timelines=tuple(timelines),
    )


def _prepare(group: ProcessGroup, options: ScalingOptions) -> tuple[_StepFunctions, StepRecorder]:
    if options.engine not in OVERLAPPING:
        raise InputError(f"no engine '{options.engine}'; there are: {', '.join(OVERLAPPING)}")
    return _prepare_model(group, options) if options.replay is None else _prepare_replay(group, options)


def _prepare_replay(group: ProcessGroup, options: ScalingOptions) -> tuple[_StepFunctions, StepRecorder]:
    if options.engine != "lbsim" or options.replay is None:
        raise InputError("--replay: DistributedDataParallel needs a model; write --engine lbsim")
    file = options.replay
    replay = on_all_ranks(lambda: Replay.read(file, group.rank))
    parameters = replay.named()
    engine = FusionEngine(parameters, options.communication)
    step = _StepFunctions(replay, lambda: _zero_gradients(parameters), replay.update, engine)
    return step, _recorder(group, parameters)


def _prepare_model(group: ProcessGroup, options: ScalingOptions) -> tuple[_StepFunctions, StepRecorder]:
    def load() -> nn.Module:
        return models.build_model(options.model, options.shape, _CLASSES)

    setup = on_all_ranks(lambda: prepare(load(), options.shape, options.batch_per_gpu, options.precision, group.device))
    parameters = [(name, p) for name, p in setup.model.named_parameters() if p.requires_grad]
    recorder = _recorder(group, parameters)
    module, engine = attach(options.engine, setup.model, options.communication, recorder)
    optimizer = setup.optimizer
    step = _StepFunctions(lambda: setup.forward(module), optimizer.zero_grad, optimizer.step, engine)
    return step, recorder


def _recorder(group: ProcessGroup, parameters: list[tuple[str, nn.Parameter]]) -> StepRecorder:
    return StepRecorder(group.rank, clock(group.device), [(name, p.numel()) for name, p in parameters])


def _zero_gradients(parameters: list[tuple[str, nn.Parameter]]) -> None:
    for _, parameter in parameters:
        parameter.grad = None


def _run(step: _StepFunctions, recorder: StepRecorder | None) -> None:
    step.zero_gradients()
    step.engine.begin_step()
    loss = step.forward()
    if recorder:
        recorder.mark("forward")
    loss.backward()
    if recorder:
        recorder.mark("backward")
    step.engine.finish_step()
    step.update()
    if recorder:
        recorder.mark("step")


def _observations(timelines: list[RankTimeline], ranks: int) -> list[TraceEntry]:
    """Return the step times of each rank, in seconds."""
    return [
        TraceEntry(
            quantity="step_time",
            subject=f"rank {rank}",
            samples=tuple(timeline.marks["step"] for timeline in timelines if timeline.rank == rank),
        )
        for rank in range(ranks)
    ]


def _settings(options: CommunicationOptions) -> dict[str, Setting]:
    settings = options.model_dump()
    settings["fusion_trace"] = None if options.fusion_trace is None else str(options.fusion_trace)
    settings["fusion_split"] = ",".join(map(str, options.fusion_split))
    settings["communication_precision"] = settings.pop("precision")
    return settings
