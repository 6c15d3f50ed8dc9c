"""The harness's command line; the only place in it that prints.

``python -m lbsim.harness train ...`` for one process, ``torchrun ... -m lbsim.harness train ...`` for many.
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

# before torch is imported: its sockets print a stack for a peer that is not there, where we print a line
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from lbsim.errors import InputError, from_validation_error
from lbsim.harness.bench import cli
from lbsim.harness.bench.model import is_out_of_memory
from lbsim.harness.communication.process_group import RENDEZVOUS_LIMIT, meet, together
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.train import train as run_training

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]}, pretty_exceptions_enable=False, rich_markup_mode=None
)


app.add_typer(cli.app, name="bench")


@app.callback()
def harness() -> None:
    """Train for real, as the large-batch record systems did, and measure it."""


@app.command()
def train(
    model: Annotated[str | None, typer.Option(help="resnet50, alexnet-bn, vgg16, cnn ... or module:callable.")] = None,
    data: Annotated[str | None, typer.Option(help="synthetic, digits, mnist5k or images.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Of images: train/CLASS/*.jpg and val/CLASS/*.jpg.")] = None,
    batch_per_gpu: Annotated[int | None, typer.Option(help="Samples a step on each rank.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Default: 90.")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after so many, for a trial.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="lars, sgd or rmsprop-to-sgd.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="constant, gradual-warm-up, polynomial-decay or slow-start; the optimizer's own.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="At its peak. Default: 0.1 for 256 samples, in proportion.")
    ] = None,
    warm_up: Annotated[float | None, typer.Option(help="Epochs.")] = None,
    momentum: Annotated[float | None, typer.Option()] = None,
    weight_decay: Annotated[float | None, typer.Option()] = None,
    decay_vectors: Annotated[bool | None, typer.Option(help="Decay biases and batch norm too.")] = None,
    trust: Annotated[float | None, typer.Option(help="LARS's factor ρ.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, tf32, mixed or bf16.")] = None,
    loss_scale: Annotated[float | None, typer.Option(help="Of mixed precision, at the start.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    engine: Annotated[str | None, typer.Option(help="What carries the gradients: plain, lbsim or ddp.")] = None,
    communication: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the engine; repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    output: Annotated[Path | None, typer.Option(help="For checkpoints and tables. A run goes on from there.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps.")] = None,
    patience: Annotated[str | None, typer.Option(help="With a rank that stands still, e.g. '60 s'.")] = None,
    watch_every: Annotated[int | None, typer.Option(help="Steps between looks at the layers; 0 is never.")] = None,
    watch_activation: Annotated[str | None, typer.Option(help="A layer whose output to watch, e.g. pool5.")] = None,
    noise_scale_every: Annotated[
        int | None, typer.Option(help="Steps between measurements of the gradient noise scale; 0 is never.")
    ] = None,
    tensorboard: Annotated[bool | None, typer.Option(help="Write for TensorBoard too.")] = None,
) -> None:
    """Train a model, from the newest checkpoint in the output folder if there is one."""
    raise typer.Exit(_train({name: value for name, value in locals().items() if value is not None}))


def _train(given: dict[str, Any]) -> int:
    """Return the exit code of this rank."""
    fault: InputError | None = None
    options = TrainOptions()
    try:
        options = TrainOptions(**given)
    except ValidationError as error:
        fault = from_validation_error(error)
    # even with a fault, so that the others hear of it
    patience = options.patience
    device = str(given.get("device", options.device))
    # collectives wait longer than we do, for it is our line that names the rank
    ranks = meet(device, limit=min(patience, RENDEZVOUS_LIMIT), patience=10 * patience)
    try:
        with ExitStack() as stack:
            stack.callback(ranks.close)
            together(lambda: _raise(fault))
            progress = stack.enter_context(Progress(console=Console(stderr=True), disable=not _shown(ranks.first)))
            task = progress.add_task("training", total=None)
            outcome = run_training(
                options,
                ranks,
                tell=_tell,
                stop=_Interrupt(),
                progress=lambda step, of, text: progress.update(task, completed=step, total=of, description=text),
            )
    except InputError as error:
        if ranks.first:
            _tell(error)
        return 2
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        batch = options.batch_per_gpu
        _tell(f"rank {ranks.rank}: a step of {batch} samples does not fit into memory; write a smaller --batch-per-gpu")
        return 2
    return 128 + signal.SIGINT if outcome.stopped else 0


class _Interrupt:
    """Remembers Ctrl-C, or a scheduler's SIGTERM, until the step is done; a second one ends at once."""

    def __init__(self) -> None:
        self._came = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def __call__(self) -> bool:
        return self._came

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._came = True
        signal.signal(number, signal.SIG_DFL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; whatever the user did wrong is one line on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["bench"]:
        return cli.main(words[1:])
    try:
        code = app(words, prog_name="lbsim.harness", standalone_mode=False)
    except InputError as error:
        _tell(error)
        return 2
    except Exception as error:
        # typer's usage errors, whose class it does not export
        if not hasattr(error, "format_message"):
            raise
        _tell(error.format_message())
        return 2
    return int(code or 0)


def _raise(fault: InputError | None) -> None:
    if fault is not None:
        raise fault


def _shown(first: bool) -> bool:  # noqa: FBT001
    return first and sys.stderr.isatty()


def _tell(line: object) -> None:
    # one write, so that the lines of many ranks do not mix
    sys.stderr.write(f"lbsim: {' '.join(str(line).split())}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    # at once: torch's communication threads, torn down by an interpreter that ends, now and then abort
    os._exit(exit_code)
