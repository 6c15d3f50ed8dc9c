"""``lbsim validate``: predictions beside what was really observed, and how far off they are.

What the command alone needs is imported where it is used: late, for start-up time alone; matplotlib for a figure only.
"""

from pathlib import Path
from typing import Annotated

import typer

from lbsim.cli import json_output
from lbsim.cli.commands.leave_out import left_out
from lbsim.cli.commands.targets import targets as print_targets
from lbsim.cli.options import RowFormat
from lbsim.cli.terminal import print_csv, print_json, print_note, print_table
from lbsim.errors import InputError
from lbsim.profiles import catalog

_PICTURES = (".png", ".svg")


def validate(
    cases: Annotated[
        Path, typer.Option(metavar="DIR", help="A folder of case files, or one file.", show_default="what ships")
    ] = catalog.PUBLISHED_CASES,
    only: Annotated[str, typer.Option(metavar="TEXT", help="Cases whose system, id, quantity ... has this text.")] = "",
    without: Annotated[
        str,
        typer.Option(
            "--leave-out", metavar="system|scale|model", help="Fit to the other cases of several GPUs, predict these."
        ),
    ] = "",
    targets: Annotated[  # noqa: FBT002
        bool, typer.Option("--targets", help="What lbsim was to reach, and what it does; takes some minutes.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw predicted over observed, as .png or .svg.")
    ] = None,
    output: Annotated[
        RowFormat, typer.Option("--format", help="A table to read; JSON or CSV in SI units to compute with.")
    ] = RowFormat.TABLE,
) -> None:
    """Predict what others have published or measured, and show how far off that is."""
    _check(only, without, figure, targets=targets)
    if targets:
        print_targets(cases, output)
        return
    if without:
        left_out(without, cases, output)
        return
    from lbsim.evaluation.validate import validate as validate_cases

    validation = validate_cases(cases, only)
    if output is RowFormat.JSON:
        print_json(json_output.validation_json(validation))
    elif output is RowFormat.CSV:
        print_csv(json_output.validation_json(validation)["cases"])
    else:
        from lbsim.cli.tables.validation import validation_table

        print_table(validation_table(validation))
    if figure is not None:
        from lbsim.report import write_parity

        write_parity(validation, figure)
        print_note(f"wrote {figure}")


def _check(only: str, without: str, figure: Path | None, *, targets: bool) -> None:
    """Raise InputError for options that say nothing together, or a picture of another kind, before any work."""
    if figure is not None and figure.suffix.lower() not in _PICTURES:
        raise InputError(f"--figure {figure}: write a name that ends in {' or '.join(_PICTURES)}")
    said = [name for name, given in (("--only", only), ("--leave-out", without), ("--figure", figure)) if given]
    if targets and said:
        raise InputError(f"--targets with {said[0]}: the targets are of all cases; write one or the other")
    if without and len(said) > 1:
        other = next(name for name in said if name != "--leave-out")
        raise InputError(f"--leave-out with {other}: what is left out is of all cases; write one or the other")
