"""Command line of the harness; only the command lines print.

``python -m lbsim.harness train ...`` starts one process, ``torchrun ... -m lbsim.harness train ...`` several.
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

# before torch is imported: its sockets print a stack trace for a rank that is missing, where this prints one line
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from lbsim.errors import InputError, from_validation_error
from lbsim.harness.bench import cli
from lbsim.harness.bench.model import is_out_of_memory
from lbsim.harness.communication.process_group import RENDEZVOUS_TIMEOUT, ProcessGroup, join, on_all_ranks
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.train import TrainingResult
from lbsim.harness.training.train import train as run_training

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]}, pretty_exceptions_enable=False, rich_markup_mode=None
)


app.add_typer(cli.app, name="bench")


@app.callback()
def harness() -> None:
    """Train models as the large-batch record systems did, and measure training."""


@app.command()
def train(
    model: Annotated[
        str | None, typer.Option(help="resnet50, alexnet-bn, vgg16, cnn ... or module:callable. Default: resnet50.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="synthetic, digits, mnist5k or images. Default: synthetic.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of images: train/CLASS/*.jpg and val/CLASS/*.jpg.")
    ] = None,
    batch_per_gpu: Annotated[int | None, typer.Option(help="Samples per step and rank. Default: 32.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs of the run. Default: 90.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps after which to stop, for a trial.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="lars, sgd or rmsprop-to-sgd. Default: lars.")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="constant, gradual-warm-up, polynomial-decay or slow-start. Default: that of the optimizer's authors."
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Peak learning rate. Default: 0.1 per 256 samples of the batch.")
    ] = None,
    warm_up: Annotated[float | None, typer.Option(help="Epochs of the warm-up. Default: 5.")] = None,
    momentum: Annotated[float | None, typer.Option(help="Coefficient of momentum. Default: 0.9.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Coefficient of weight decay. Default: 0.0001.")] = None,
    decay_vectors: Annotated[bool | None, typer.Option(help="Apply weight decay to biases and batch norm too.")] = None,
    trust: Annotated[float | None, typer.Option(help="Trust coefficient of LARS. Default: 0.001.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precision of compute: fp32, tf32, mixed or bf16. Default: fp32.")
    ] = None,
    loss_scale: Annotated[
        float | None, typer.Option(help="Initial loss scale of mixed precision. Default: 65536.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: auto.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="Engine that averages the gradients: plain, lbsim or ddp. Default: plain.")
    ] = None,
    communication: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the engine; may be repeated.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of weights, sample order, augmentation and dropout. Default: 0.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of checkpoints and tables; a run resumes from it. Default: harness-run.")
    ] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps between checkpoints. Default: 500.")] = None,
    patience: Annotated[
        str | None, typer.Option(help="Longest time a rank may make no progress. Default: 300 s.")
    ] = None,
    watch_every: Annotated[int | None, typer.Option(help="Steps between layer statistics. Default: none.")] = None,
    watch_activation: Annotated[
        str | None, typer.Option(help="Layer whose output distribution to log with them, e.g. pool5.")
    ] = None,
    noise_scale_every: Annotated[
        int | None, typer.Option(help="Steps between measurements of the gradient noise scale. Default: none.")
    ] = None,
    allow_nan: Annotated[
        bool | None, typer.Option("--allow-nan", help="Go on with a loss, gradient or weight that is not finite.")
    ] = None,
    tensorboard: Annotated[bool | None, typer.Option(help="Write the tables for TensorBoard too.")] = None,
) -> None:
    """Train a model; resume from the newest checkpoint in the output folder if there is one."""
    raise typer.Exit(_train({name: value for name, value in locals().items() if value is not None}))


def _train(given: dict[str, Any]) -> int:
    """Return the exit code of this rank."""
    fault: InputError | None = None
    options = TrainOptions()
    try:
        options = TrainOptions(**given)
    except ValidationError as error:
        fault = from_validation_error(error)
    # joins even with a fault, so that the other ranks learn of it; collectives wait longer than the watchdog, whose
    # message names the rank at fault
    patience = options.patience
    group = join(
        str(given.get("device", options.device)),
        rendezvous_timeout=min(patience, RENDEZVOUS_TIMEOUT),
        timeout=10 * patience,
    )
    try:
        result = _run(options, group, fault)
    except InputError as error:
        if group.first:
            _print_error(error)
        return 2
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        batch = options.batch_per_gpu
        _print_error(
            f"rank {group.rank}: a step of {batch} samples does not fit into memory; write a smaller --batch-per-gpu"
        )
        return 2
    return 128 + signal.SIGINT if result.stopped else 0


def _run(options: TrainOptions, group: ProcessGroup, fault: InputError | None) -> TrainingResult:
    with ExitStack() as stack:
        stack.callback(group.close)
        on_all_ranks(lambda: _raise(fault))
        shown = group.first and sys.stderr.isatty()
        progress = stack.enter_context(Progress(console=Console(stderr=True), disable=not shown))
        task = progress.add_task("training", total=None)
        return run_training(
            options,
            group,
            report=_print_error,
            stop=_Interrupt(),
            progress=lambda step, of, text: progress.update(task, completed=step, total=of, description=text),
        )


class _Interrupt:
    """Whether SIGINT or SIGTERM has arrived, to stop after the current step; a second signal ends the process."""

    def __init__(self) -> None:
        self._received = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def __call__(self) -> bool:
        return self._received

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the signature of a signal handler
        self._received = True
        signal.signal(number, signal.SIG_DFL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command with *arguments*, by default those of the process, and return its exit code.

    A mistake of the user is one line on standard error and exit code 2.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["bench"]:
        return cli.main(words[1:])
    try:
        code = app(words, prog_name="lbsim.harness", standalone_mode=False)
    except InputError as error:
        _print_error(error)
        return 2
    except Exception as error:
        # usage errors of typer, which does not export their class
        if not hasattr(error, "format_message"):
            raise
        _print_error(error.format_message())
        return 2
    return int(code or 0)


def _raise(fault: InputError | None) -> None:
    if fault is not None:
        raise fault


def _print_error(message: object) -> None:
    # one write, so that the lines of several ranks do not mix
    sys.stderr.write(f"lbsim: {' '.join(str(message).split())}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    # without the interpreter's teardown, in which torch's communication threads sometimes abort
    os._exit(exit_code)
