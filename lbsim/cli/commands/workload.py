"""``lbsim workload``: models of one's own, as files.

The tracer is imported late: torch takes seconds to import, and is there only with the extra ``harness``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbsim.errors import InputError
from lbsim.units import DATA
from lbsim.workload import workload_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbsim.harness.tracing.trace_model import Traced

_IMAGENET = 1_281_167
"""Training images of ILSVRC 2012."""

app = typer.Typer(rich_markup_mode=None, help="Make a file of any torch model, for lbsim predict --model FILE.")


@app.callback()
def workload() -> None:
    """Keep ``trace`` a command of its own, though it is the only one."""


@app.command()
def trace(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:CALLABLE", help="What makes the torch.nn.Module, e.g. my_models:resnet18.")
    ],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            metavar="SHAPE[:DTYPE]",
            help="Of one sample, e.g. 3x224x224, 128:int64 or, by name, ids=128:int64; repeatable.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A .json file; printed if left out.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="In the training set; for the time of an epoch.")] = _IMAGENET,
    validation_samples: Annotated[int, typer.Option(min=0, help="Likewise.")] = 0,
    input_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of a sample as it is copied to the GPU, if not as it is fed.")
    ] = None,
) -> None:
    """Run a torch model on the meta device, which holds no weights, and write down what its layers cost.

    For example:  lbsim workload trace my_models:resnet18 --input 3x224x224 --out resnet18.json
    """
    if out and out.suffix != ".json":
        raise InputError(f"--out {out}: written as JSON; write e.g. --out {out.with_suffix('.json')}")
    traced = _tracer()(
        target,
        inputs,
        samples=samples,
        validation_samples=validation_samples,
        input_bytes=_bytes(input_size) if input_size else None,
    )
    _write(traced, out)
    if traced.unused:
        typer.echo(f"lbsim: left out, for forward does not use them: {', '.join(traced.unused)}", err=True)


def _tracer() -> "Callable[..., Traced]":
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


def _write(traced: "Traced", out: Path | None) -> None:
    text = workload_file.workload_to_json(traced.workload)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    model = traced.workload
    typer.echo(
        f"{out}: {len(model.layers)} layers, {len(model.tensors)} tensors, {model.parameters:,} parameters, "
        f"{model.forward_flops / 1e9:,.4g} GFLOP forward a sample"
    )
    typer.echo(f"Next:  lbsim predict --gpus 64 --model {out}")
