"""The commands that measure; with `python -m lbsim.harness.bench`, or mounted under the harness's own.

Each writes a trace, rank 0 alone speaks, and what the user did wrong is one line and exit code 2 on every rank.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from lbsim.errors import InputError, unknown_name
from lbsim.harness.bench import all_reduce as bench_all_reduce
from lbsim.harness.bench import beside_plain as bench_beside
from lbsim.harness.bench import scaling as bench_scaling
from lbsim.harness.bench import step as bench_step
from lbsim.harness.bench.model import OPTIMIZERS, is_out_of_memory, sample_shape
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.process_group import CommunicationError, Ranks, RendezvousError, joined, together
from lbsim.measurements.trace import Trace, write_trace
from lbsim.units import DATA

app = typer.Typer(
    help="Measure steps, all-reduces and scaling; traces go to traces/harness/.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_FOLDER = Path("traces") / "harness"
_SIZES = "4 KiB, 16 KiB, 64 KiB, 256 KiB, 1 MiB, 4 MiB, 16 MiB"

Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Default: a name of its own in traces/harness/.")]
Timeout = Annotated[str, typer.Option(metavar="TIME", help="How long to wait for another rank.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Not on GPUs, even if there are any.")]
GroupSize = Annotated[int | None, typer.Option(help="Ranks of a group; a machine's if none is said.")]
Model = Annotated[str, typer.Option(metavar="NAME", help="One of the harness's, or module:callable.")]
Input = Annotated[str | None, typer.Option("--input", metavar="SHAPE", help="Of one sample; the model's own.")]
WarmUp = Annotated[int, typer.Option(min=0, help="Steps before those that are kept.")]


@app.command("step")
def step(
    model: Model = "resnet50",
    shape: Input = None,
    batches: Annotated[str, typer.Option(help="Samples a step.")] = "1,8,32",
    precisions: Annotated[str, typer.Option(help="Of compute: fp32, tf32, mixed, bf16.")] = "fp32",
    optimizer: Annotated[
        str, typer.Option(help="Of the update: torch-sgd, or what train has: sgd, lars, rmsprop-to-sgd.")
    ] = "torch-sgd",
    beside_plain: Annotated[bool, typer.Option(help="Train's step beside a plain PyTorch loop, whole.")] = False,  # noqa: FBT002
    repeats: Annotated[int, typer.Option(min=1)] = 10,
    warm_up: WarmUp = 3,
    cpu: Cpu = False,  # noqa: FBT002
    out: Out = None,
) -> None:
    """Time forward and backward by layer, the update and copies, over batch sizes and precisions."""
    numbers, kinds = [_count("--batches", part) for part in _parts(batches)], _parts(precisions)
    if optimizer not in OPTIMIZERS:
        raise unknown_name(optimizer, "optimizers", OPTIMIZERS)
    if beside_plain:
        with _joined(60.0, out, cpu=cpu) as place, _progress("bench step", len(numbers) * len(kinds)) as on:
            trace = bench_beside.measure(
                place,
                model=model,
                shape=sample_shape(model, shape),
                batches=numbers,
                precisions=kinds,
                optimizer=optimizer.removeprefix("torch-"),
                repeats=repeats,
                warm_up=warm_up,
                progress=on,
                tell=_complain,
            )
        for chosen, ratio in bench_beside.ratios(trace):
            _say(f"{chosen:<32} speed of the harness over the plain loop: {ratio:.3f}")
        _keep(trace, out, f"beside-{_file_name(model)}")
        return
    with _joined(60.0, out, cpu=cpu) as place, _progress("bench step", len(numbers) * len(kinds)) as on:
        trace = bench_step.measure(
            place,
            model=model,
            shape=sample_shape(model, shape),
            batches=numbers,
            precisions=kinds,
            repeats=repeats,
            warm_up=warm_up,
            progress=on,
            tell=_complain,
            optimizer=optimizer,
        )
    for observation in trace.observations:
        if not observation.quantity.startswith("layer."):
            chosen = " ".join(f"{key} {value}" for key, value in observation.settings.items())
            _say(f"{chosen:<32} {observation.quantity:<10} {observation.median * 1e3:>10.3f} ms")
    _keep(trace, out, f"step-{_file_name(model)}")


@app.command("all-reduce")
def all_reduce(
    sizes: Annotated[str, typer.Option(help="Messages, with commas between.")] = _SIZES,
    algorithms: Annotated[str, typer.Option(help="E.g. backend,hierarchical,two-level,hybrid.")] = "backend",
    precisions: Annotated[str, typer.Option(help="fp32, fp16, bf16.")] = "fp32",
    group_size: GroupSize = None,
    repeats: Annotated[int, typer.Option(min=1)] = 20,
    timeout: Timeout = "60 s",
    cpu: Cpu = False,  # noqa: FBT002
    out: Out = None,
) -> None:
    """Time all-reduces over sizes, algorithms and precisions, in nccl-tests' columns; start it with torchrun."""
    options = CommunicationOptions.of(group_size=group_size, timeout=timeout)
    messages, names, kinds = [_bytes(part) for part in _parts(sizes)], _parts(algorithms), _parts(precisions)
    turns = len(messages) * len(names) * len(kinds)
    with (
        _joined(options.timeout, out, cpu=cpu) as place,
        _progress("bench all-reduce", turns) as on,
    ):
        trace = bench_all_reduce.measure(
            place,
            sizes=messages,
            algorithms=names,
            precisions=kinds,
            options=options,
            repeats=repeats,
            progress=on,
        )
    for line in bench_all_reduce.rows(trace):
        _say(line)
    _keep(trace, out, f"all-reduce-{trace.evidence.backend}-{trace.gpus}")


@app.command("scaling")
def scaling(
    model: Model = "resnet50",
    shape: Input = None,
    batch_per_gpu: Annotated[int, typer.Option(min=1)] = 8,
    precision: Annotated[str, typer.Option(help="Of compute: fp32, tf32, mixed, bf16.")] = "fp32",
    replay: Annotated[Path | None, typer.Option(metavar="TRACE", help="Wait as this trace says; no model.")] = None,
    engine: Annotated[str, typer.Option(help="lbsim or ddp.")] = "lbsim",
    all_reduce_name: Annotated[str, typer.Option("--all-reduce")] = "backend",
    group_size: GroupSize = None,
    hybrid_threshold: Annotated[str, typer.Option(metavar="SIZE")] = "4 MiB",
    fusion: Annotated[
        str, typer.Option(help="none, one-buffer, threshold, ddp, split; by times: horovod, mg-wfbp, optimal.")
    ] = "threshold",
    fusion_threshold: Annotated[str, typer.Option(metavar="SIZE")] = "25 MiB",
    fusion_split: Annotated[str, typer.Option(help="Tensors, from 1, after which to cut; e.g. 76.")] = "",
    fusion_cycle: Annotated[str, typer.Option(metavar="TIME", help="Of horovod.")] = "1 ms",
    fusion_trace: Annotated[Path | None, typer.Option(help="Plan by its times, not by the first steps'.")] = None,
    fusion_latency: Annotated[str | None, typer.Option(metavar="TIME", help="Of a link; else it is timed.")] = None,
    fusion_bandwidth: Annotated[str | None, typer.Option(metavar="RATE", help="Of a link; else it is timed.")] = None,
    communication_precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    overlap: Annotated[bool, typer.Option(help="Send while backward runs.")] = True,  # noqa: FBT002
    steps: Annotated[int, typer.Option(min=1)] = 20,
    warm_up: WarmUp = 3,
    timeout: Timeout = "300 s",
    cpu: Cpu = False,  # noqa: FBT002
    out: Out = None,
) -> None:
    """Time real steps over ranks, with each rank's timeline; start it with torchrun."""
    options = CommunicationOptions.of(
        all_reduce=all_reduce_name,
        group_size=group_size,
        hybrid_threshold=hybrid_threshold,
        fusion=fusion,
        fusion_threshold=fusion_threshold,
        fusion_split=fusion_split,
        fusion_cycle=fusion_cycle,
        fusion_trace=fusion_trace,
        fusion_latency=fusion_latency,
        fusion_bandwidth=fusion_bandwidth,
        precision=communication_precision,
        overlap=overlap,
        timeout=timeout,
    )
    request = bench_scaling.Request(model, sample_shape(model, shape), batch_per_gpu, precision, replay, engine)
    with (
        _joined(options.timeout, out, cpu=cpu or replay is not None) as place,
        _progress("bench scaling", warm_up + steps) as on,
    ):
        trace = bench_scaling.measure(place, request, options, steps=steps, warm_up=warm_up, progress=on)
    for observation in trace.observations:
        _say(f"{observation.subject:<10} step_time {observation.median * 1e3:>10.3f} ms")
    longest = [max(each) for each in zip(*(one.samples for one in trace.observations), strict=True)]
    _say(f"{'slowest':<10} step_time {median(longest) * 1e3:>10.3f} ms")
    _keep(trace, out, f"scaling-{'replay' if replay else _file_name(model)}-{trace.gpus}")


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        code = app(arguments, prog_name="lbsim.harness.bench", standalone_mode=False)
    except InputError as error:
        if _speaks() or isinstance(error, RendezvousError):
            _complain(error)
        return 2
    except CommunicationError as error:
        _complain(error)
        return 1
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        _complain(f"rank {os.environ.get('RANK', '0')}: a step does not fit into memory; write smaller batches")
        return 2
    except Exception as error:
        # typer's usage errors, whose class it does not export
        if not hasattr(error, "format_message"):
            raise
        if _speaks():
            _complain(error.format_message())
        return 2
    return int(code or 0)


def _speaks() -> bool:
    """Return whether this is rank 0, the one that prints."""
    return os.environ.get("RANK", "0") == "0"


def _say(line: str) -> None:
    if _speaks():
        typer.echo(line)


def _complain(error: object) -> None:
    typer.echo(f"lbsim: {' '.join(str(error).split())}", err=True)


@contextmanager
def _progress(name: str, turns: int) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error, of *turns* turns, each a call of what this yields; rank 0 only."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (_speaks() and console.is_terminal)) as bar:
        task = bar.add_task(name, total=turns)
        yield lambda: bar.advance(task)


@contextmanager
def _joined(timeout: float, out: Path | None, *, cpu: bool) -> Iterator[Ranks]:
    """Meet the other ranks; InputError on all if rank 0 could not write what is measured."""
    with joined(timeout, "cpu" if cpu else "auto") as place:
        together(lambda: _require_place(out or _FOLDER / "trace.json") if place.first else None)
        yield place


def _require_place(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {file}: {error.strerror}") from None
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise InputError(f"--out {file}: {'a folder' if file.is_dir() else 'its folder cannot be written to'}")


def _keep(trace: Trace, out: Path | None, name: str) -> None:
    """Write *trace*, on rank 0, and say where."""
    if not _speaks():
        return
    stamp = trace.evidence.date[:19].replace(":", "")
    file = out or _FOLDER / f"{name}-{stamp}.json"
    write_trace(trace, file)
    typer.echo(f"wrote {file}")


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _count(option: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{option}: '{text}' is no count; write e.g. {option} 1,8,32")
    return int(text)


def _bytes(text: str) -> float:
    try:
        return DATA.parse(text)
    except ValueError as error:
        raise InputError(f"--sizes: {error}") from None


def _file_name(model: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in model)
