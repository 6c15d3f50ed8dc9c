"""Benchmark commands: ``python -m lbsim.harness.bench``, also mounted as ``python -m lbsim.harness bench``.

Each command writes a trace. Rank 0 prints; a mistake of the user is one line and exit code 2 on every rank.
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

from lbsim.errors import InputError
from lbsim.harness.bench import all_reduce as bench_all_reduce
from lbsim.harness.bench import plain_loop as bench_plain_loop
from lbsim.harness.bench import scaling as bench_scaling
from lbsim.harness.bench import step as bench_step
from lbsim.harness.bench.model import is_out_of_memory
from lbsim.harness.bench.options import AllReduceOptions, ScalingOptions, StepOptions
from lbsim.harness.communication.process_group import (
    CommunicationError,
    ProcessGroup,
    RendezvousError,
    on_all_ranks,
    process_group,
)
from lbsim.measurements.trace import Trace, write_trace

app = typer.Typer(
    help="Measure steps, all-reduces and scaling; traces are written to traces/harness/.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_FOLDER = Path("traces") / "harness"
_SIZES = "4 KiB, 16 KiB, 64 KiB, 256 KiB, 1 MiB, 4 MiB, 16 MiB"
_STEP_TIMEOUT = 60.0

_Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Trace file; by default a new one in traces/harness/.")]
_Timeout = Annotated[str, typer.Option(metavar="TIME", help="Longest wait for another rank.")]
_Cpu = Annotated[bool, typer.Option("--cpu", help="Use CPUs even if there are GPUs.")]
_GroupSize = Annotated[int | None, typer.Option(help="Ranks per group; by default those of a machine.")]
_Model = Annotated[str, typer.Option(metavar="NAME", help="A model of the harness, or module:callable.")]
_Input = Annotated[
    str | None,
    typer.Option("--input", metavar="SHAPE", help="Shape of a sample, e.g. 3x224x224; by default the model's."),
]
_WarmUp = Annotated[int, typer.Option(min=0, help="Steps before the measured ones.")]


@app.command("step")
def step(
    model: _Model = "resnet50",
    shape: _Input = None,
    batches: Annotated[str, typer.Option(help="Samples per step, separated by commas.")] = "1,8,32",
    precisions: Annotated[str, typer.Option(help="Precisions of compute: fp32, tf32, mixed, bf16.")] = "fp32",
    optimizer: Annotated[
        str, typer.Option(help="Update rule: torch-sgd, or one of train: sgd, lars, rmsprop-to-sgd.")
    ] = "torch-sgd",
    beside_plain: Annotated[bool, typer.Option(help="Compare the step of train with a plain PyTorch loop.")] = False,  # noqa: FBT002  # typer
    repeats: Annotated[int, typer.Option(min=1, help="Measured steps.")] = 10,
    warm_up: _WarmUp = 3,
    cpu: _Cpu = False,  # noqa: FBT002  # typer
    out: _Out = None,
) -> None:
    """Measure forward and backward by layer, the update and copies, over batch sizes and precisions."""
    options = StepOptions.of(locals())
    measure = bench_plain_loop.measure if beside_plain else bench_step.measure
    steps = warm_up + repeats + (0 if beside_plain else repeats + 1)  # the layers have a warm-up of one step
    turns = len(options.batches) * len(options.precisions) * steps
    with _joined(_STEP_TIMEOUT, out, cpu=cpu) as group, _progress("bench step", turns) as advance:
        trace = measure(group, options, advance, _print_error)
    if beside_plain:
        for settings, ratio in bench_plain_loop.ratios(trace):
            _print(f"{settings:<32} speed of the harness over the plain loop: {ratio:.3f}")
    for observation in () if beside_plain else trace.observations:
        if not observation.quantity.startswith("layer."):
            settings = " ".join(f"{key} {value}" for key, value in observation.settings.items())
            _print(f"{settings:<32} {observation.quantity:<10} {observation.median * 1e3:>10.3f} ms")
    _write(trace, out, f"{'beside' if beside_plain else 'step'}-{_file_name(model)}")


@app.command("all-reduce")
def all_reduce(
    sizes: Annotated[str, typer.Option(help="Message sizes, separated by commas.")] = _SIZES,
    algorithms: Annotated[
        str, typer.Option(help="Algorithms, separated by commas: backend, hierarchical, two-level, hybrid.")
    ] = "backend",
    precisions: Annotated[str, typer.Option(help="Precisions of the messages: fp32, fp16, bf16.")] = "fp32",
    group_size: _GroupSize = None,
    repeats: Annotated[int, typer.Option(min=1, help="Measured all-reduces.")] = 20,
    timeout: _Timeout = "60 s",
    cpu: _Cpu = False,  # noqa: FBT002  # typer
    out: _Out = None,
) -> None:
    """Measure all-reduces over sizes, algorithms and precisions, in nccl-tests' columns; start it with torchrun."""
    options = AllReduceOptions.of(locals())
    turns = len(options.sizes) * len(options.algorithms) * len(options.precisions)
    with (
        _joined(options.communication.timeout, out, cpu=cpu) as group,
        _progress("bench all-reduce", turns) as advance,
    ):
        trace = bench_all_reduce.measure(group, options, advance)
    for line in bench_all_reduce.rows(trace):
        _print(line)
    _write(trace, out, f"all-reduce-{trace.evidence.backend}-{trace.gpus}")


@app.command("scaling")
def scaling(
    model: _Model = "resnet50",
    shape: _Input = None,
    batch_per_gpu: Annotated[int, typer.Option(min=1, help="Samples per step and rank.")] = 8,
    precision: Annotated[str, typer.Option(help="Precision of compute: fp32, tf32, mixed or bf16.")] = "fp32",
    replay: Annotated[
        Path | None, typer.Option(metavar="TRACE", help="Wait for the times of this trace instead of computing.")
    ] = None,
    engine: Annotated[str, typer.Option(help="Engine: lbsim or ddp.")] = "lbsim",
    all_reduce: Annotated[str, typer.Option(help="Algorithm: backend, hierarchical, two-level or hybrid.")] = "backend",
    group_size: _GroupSize = None,
    hybrid_threshold: Annotated[
        str, typer.Option(metavar="SIZE", help="Smallest message that hybrid sends by the backend.")
    ] = "4 MiB",
    fusion: Annotated[
        str, typer.Option(help="none, one-buffer, threshold, ddp, split; by times: horovod, mg-wfbp, optimal.")
    ] = "threshold",
    fusion_threshold: Annotated[str, typer.Option(metavar="SIZE", help="Size at which a buffer is closed.")] = "25 MiB",
    fusion_split: Annotated[str, typer.Option(help="Tensors after which to cut, counted from 1; e.g. 76.")] = "",
    fusion_cycle: Annotated[str, typer.Option(metavar="TIME", help="Cycle time of horovod.")] = "1 ms",
    fusion_trace: Annotated[
        Path | None, typer.Option(help="Plan by the times of this trace instead of the first steps.")
    ] = None,
    fusion_latency: Annotated[
        str | None, typer.Option(metavar="TIME", help="Latency of a link; by default the all-reduce is measured.")
    ] = None,
    fusion_bandwidth: Annotated[
        str | None, typer.Option(metavar="RATE", help="Bandwidth of a link; by default the all-reduce is measured.")
    ] = None,
    communication_precision: Annotated[str, typer.Option(help="Precision of messages: fp32, fp16 or bf16.")] = "fp32",
    overlap: Annotated[bool, typer.Option(help="Send during the backward pass.")] = True,  # noqa: FBT002  # typer
    steps: Annotated[int, typer.Option(min=1, help="Measured steps.")] = 20,
    warm_up: _WarmUp = 3,
    timeout: _Timeout = "300 s",
    cpu: _Cpu = False,  # noqa: FBT002  # typer
    out: _Out = None,
) -> None:
    """Measure steps over ranks, with the timeline of each rank; start it with torchrun."""
    options = ScalingOptions.of(locals())
    with (
        _joined(options.communication.timeout, out, cpu=cpu or replay is not None) as group,
        _progress("bench scaling", warm_up + steps) as advance,
    ):
        trace = bench_scaling.measure(group, options, advance)
    for observation in trace.observations:
        _print(f"{observation.subject:<10} step_time {observation.median * 1e3:>10.3f} ms")
    slowest = [max(each) for each in zip(*(of_rank.samples for of_rank in trace.observations), strict=True)]
    _print(f"{'slowest':<10} step_time {median(slowest) * 1e3:>10.3f} ms")
    _write(trace, out, f"scaling-{'replay' if replay else _file_name(model)}-{trace.gpus}")


def main(arguments: list[str] | None = None) -> int:
    """Run a command with *arguments*, by default those of the process, and return its exit code."""
    try:
        code = app(arguments, prog_name="lbsim.harness.bench", standalone_mode=False)
    except InputError as error:
        if _is_first() or isinstance(error, RendezvousError):
            _print_error(error)
        return 2
    except CommunicationError as error:
        _print_error(error)
        return 1
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        _print_error(f"rank {os.environ.get('RANK', '0')}: a step does not fit into memory; write smaller batches")
        return 2
    except Exception as error:
        # usage errors of typer, which does not export their class
        if not hasattr(error, "format_message"):
            raise
        if _is_first():
            _print_error(error.format_message())
        return 2
    return int(code or 0)


def _is_first() -> bool:
    """Return whether this is rank 0, which prints."""
    return os.environ.get("RANK", "0") == "0"


def _print(line: str) -> None:
    if _is_first():
        typer.echo(line)


def _print_error(error: object) -> None:
    typer.echo(f"lbsim: {' '.join(str(error).split())}", err=True)


@contextmanager
def _progress(name: str, turns: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar of *turns* turns on standard error of rank 0; yield the function that advances it."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (_is_first() and console.is_terminal)) as bar:
        task = bar.add_task(name, total=turns)
        yield lambda: bar.advance(task)


@contextmanager
def _joined(timeout: float, out: Path | None, *, cpu: bool) -> Iterator[ProcessGroup]:
    """Join the process group; InputError on all ranks if rank 0 cannot write the trace."""
    with process_group(timeout, "cpu" if cpu else "auto") as group:
        on_all_ranks(lambda: _require_writable(out or _FOLDER / "trace.json") if group.first else None)
        yield group


def _require_writable(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {file}: {error.strerror}") from None
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise InputError(f"--out {file}: {'is a folder' if file.is_dir() else 'its folder cannot be written to'}")


def _write(trace: Trace, out: Path | None, name: str) -> None:
    """Write *trace* on rank 0 and print the name of the file."""
    if not _is_first():
        return
    stamp = trace.evidence.date[:19].replace(":", "")
    file = out or _FOLDER / f"{name}-{stamp}.json"
    write_trace(trace, file)
    typer.echo(f"wrote {file}")


def _file_name(model: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in model)
