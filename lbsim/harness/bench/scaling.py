"""Times real, or replayed, steps over ranks, and keeps each rank's timeline."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from lbsim.errors import InputError
from lbsim.harness.bench.evidence import evidence
from lbsim.harness.bench.model import build, subject
from lbsim.harness.bench.replay import Replay
from lbsim.harness.communication.ddp import attach
from lbsim.harness.communication.gradient_engine import Engine, GradientEngine
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.process_group import Ranks, gathered, together
from lbsim.harness.communication.step_recorder import StepRecorder, clock
from lbsim.measurements.trace import RankTimeline, Setting, Trace, TraceEntry


@dataclass(frozen=True)
class Work:
    """What a step computes."""

    parameters: list[tuple[str, nn.Parameter]]
    forward: Callable[[], Tensor]
    zero: Callable[[], None]
    update: Callable[[], object]
    engine: Engine


@dataclass(frozen=True)
class Request:
    """What to compute: a model, or, if there is a *replay*, waits by that trace."""

    model: str
    shape: tuple[int, ...]
    batch: int
    precision: str
    replay: Path | None
    engine: str = "lbsim"

    @property
    def settings(self) -> dict[str, Setting]:
        """As the trace has them."""
        if self.replay is not None:
            return {"engine": self.engine, "replay": str(self.replay)}
        return {
            "engine": self.engine,
            "model": self.model,
            "input": "x".join(map(str, self.shape)),
            "batch_per_gpu": self.batch,
            "precision": self.precision,
        }


def measure(
    place: Ranks,
    request: Request,
    options: CommunicationOptions,
    *,
    steps: int,
    warm_up: int,
    progress: Callable[[], None],
) -> Trace:
    """Return the timelines of *steps* steps on all ranks, and how long each rank's were, end to end."""
    alike: dict[str, object] = {name: chosen for name, chosen in request.settings.items() if name != "replay"}
    place.require_same(alike | {"steps": steps, "warm_up": warm_up})
    stands_on = evidence(place)  # before it adds to the load
    work, recorder = _prepare(place, request, options)
    if options.timed and options.fusion_trace is None:
        warm_up = max(warm_up, options.fusion_warm_up)  # what is kept was planned by times
    for number in range(warm_up + steps):
        recording = recorder if number >= warm_up else None
        work.engine.recorder = recording
        _step(work, recording)
        progress()
    note = work.engine.note
    work.engine.close()
    timelines = [timeline for each in gathered(recorder.timelines()) for timeline in each]
    return Trace(
        measured="scaling",
        evidence=stands_on,
        gpus=place.size,
        settings=request.settings | _settings(options) | {"steps": steps, "warm_up": warm_up, "note": note},
        observations=tuple(_observations(timelines, place.size)),
        timelines=tuple(timelines),
    )


def _prepare(place: Ranks, request: Request, options: CommunicationOptions) -> tuple[Work, StepRecorder]:
    if request.replay is not None and request.engine != "lbsim":
        raise InputError("--replay: waits have no module for DistributedDataParallel; write --engine lbsim")
    if request.replay is not None:
        file = request.replay
        replay = together(lambda: Replay.read(file, place.rank))
        named = replay.named()
        recorder = _recorder(place, named)
        engine = GradientEngine(named, options)
        return Work(named, replay, lambda: _forget(named), replay.update, engine), recorder
    ready = together(
        lambda: subject(
            build(request.model, request.shape, 1000), request.shape, request.batch, request.precision, place.device
        )
    )
    named = [(name, p) for name, p in ready.model.named_parameters() if p.requires_grad]
    recorder = _recorder(place, named)
    through, either = attach(request.engine, ready.model, options, recorder)
    optimizer = ready.optimizer
    return Work(named, lambda: ready.forward(through), optimizer.zero_grad, optimizer.step, either), recorder


def _recorder(place: Ranks, named: list[tuple[str, nn.Parameter]]) -> StepRecorder:
    return StepRecorder(place.rank, clock(place.device), [(name, parameter.numel()) for name, parameter in named])


def _forget(named: list[tuple[str, nn.Parameter]]) -> None:
    for _, parameter in named:
        parameter.grad = None


def _step(work: Work, recorder: StepRecorder | None) -> None:
    work.zero()
    work.engine.begin_step()
    loss = work.forward()
    if recorder:
        recorder.mark("forward")
    loss.backward()
    if recorder:
        recorder.mark("backward")
    work.engine.finish_step()
    work.update()
    if recorder:
        recorder.mark("step")


def _observations(timelines: list[RankTimeline], ranks: int) -> list[TraceEntry]:
    """Return, rank by rank, how long its steps were."""
    return [
        TraceEntry(
            quantity="step_time",
            subject=f"rank {rank}",
            samples=tuple(timeline.marks["step"] for timeline in timelines if timeline.rank == rank),
        )
        for rank in range(ranks)
    ]


def _settings(options: CommunicationOptions) -> dict[str, Setting]:
    said = options.model_dump()
    said["fusion_trace"] = None if options.fusion_trace is None else str(options.fusion_trace)
    said["fusion_split"] = ",".join(map(str, options.fusion_split))
    said["communication_precision"] = said.pop("precision")
    return said
