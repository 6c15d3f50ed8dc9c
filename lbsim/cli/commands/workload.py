"""``lbsim workload``: workload files of any torch model.

The tracer is imported late: torch takes seconds to import, and is installed only with the extra ``harness``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbsim.cli.terminal import print_line, print_note
from lbsim.errors import InputError
from lbsim.printed_text import command_line, option
from lbsim.units import DATA
from lbsim.workload import workload_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbsim.harness.tracing.trace_model import TracedModel

__all__ = ["app", "trace", "workload"]

_IMAGENET = 1_281_167
"""Training images of ILSVRC 2012."""

app = typer.Typer(
    rich_markup_mode=None, help="Write a workload file of any torch model, for lbsim predict --model FILE."
)


@app.callback()
def workload() -> None:
    """Make ``trace`` a subcommand although it is the only one."""


@app.command()
def trace(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:CALLABLE", help="Function or class that returns a torch.nn.Module, e.g. my_models:resnet18."
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            metavar="SHAPE[:DTYPE]",
            help="Input shape of one sample, e.g. 3x224x224, 128:int64 or, by name, ids=128:int64; repeatable.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Output file (.json). Default: standard output.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Samples in the training set, for the time of an epoch.")
    ] = _IMAGENET,
    validation_samples: Annotated[int, typer.Option(min=0, help="Samples in the validation set.")] = 0,
    input_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Size of a sample as copied to the GPU, if it differs from the input's."),
    ] = None,
) -> None:
    """Run a torch model on the meta device, which holds no weights, and record the cost of its layers.

    For example:  lbsim workload trace my_models:resnet18 --input 3x224x224 --out resnet18.json
    """
    if out and out.suffix != ".json":
        named = command_line(option("--out", str(out.with_suffix(".json"))))
        raise InputError(f"--out {out}: a workload file is JSON; write e.g. {named}")
    if out:
        from lbsim.atomic_write import check_writable

        check_writable(out)
    traced = _tracer()(
        target,
        inputs,
        samples=samples,
        validation_samples=validation_samples,
        input_bytes=_bytes(input_size) if input_size else None,
    )
    _write(traced, out)
    if traced.unused:
        print_note(f"omitted, because forward does not use them: {', '.join(traced.unused)}")


def _tracer() -> "Callable[..., TracedModel]":
    try:
        from lbsim.harness.tracing.trace_model import trace as traced
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InputError("tracing a model needs torch; pip install 'lbsim[harness]'") from None
    return traced


def _bytes(text: str) -> float:
    try:
        return DATA.parse(text)
    except ValueError as error:
        raise InputError(f"--input-size: {error}") from None


def _write(traced: "TracedModel", out: Path | None) -> None:
    text = workload_file.workload_to_json(traced.workload)
    if out is None:
        typer.echo(text, nl=False)
        return
    from lbsim.atomic_write import write_atomically

    write_atomically(text, out)
    model = traced.workload
    print_line(
        f"{out}: {len(model.layers)} layers, {len(model.tensors)} tensors, {model.parameters:,} parameters, "
        f"{model.forward_flops / 1e9:,.4g} GFLOP forward a sample"
    )
    typer.echo(f"Next:  {command_line(['lbsim', 'predict', '--gpus', '64', *option('--model', str(out))])}")
