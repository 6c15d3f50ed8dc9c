"""``lbsim validate``: errors of predictions against published and measured values.

Imports that only this command needs are inside the functions, to keep start-up short; matplotlib for a figure only.
"""

from pathlib import Path
from typing import Annotated

import typer

from lbsim.cli import json_output
from lbsim.cli.commands.leave_out import print_left_out
from lbsim.cli.commands.targets import print_targets
from lbsim.cli.options import RowFormat
from lbsim.cli.terminal import print_csv, print_json, print_note, print_table
from lbsim.errors import InputError
from lbsim.profiles import catalog

__all__ = ["validate"]

_PICTURES = (".png", ".svg")


def validate(
    cases: Annotated[
        Path, typer.Option(metavar="DIR", help="Case file, or a folder of case files.", show_default="published cases")
    ] = catalog.PUBLISHED_CASES,
    only: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Only cases with this text in their system, source, id, quantity, class or role."
        ),
    ] = "",
    without: Annotated[
        str,
        typer.Option(
            "--leave-out",
            metavar="system|scale|model",
            help="Cross-validate: hold out each system, scale or model in turn, fit to the other multi-GPU cases.",
        ),
    ] = "",
    targets: Annotated[  # noqa: FBT002
        bool, typer.Option("--targets", help="Compare accuracy with the targets set for lbsim; takes some minutes.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plot predicted over observed values, as .png or .svg.")
    ] = None,
    output: Annotated[
        RowFormat, typer.Option("--format", help="Table to read, or JSON or CSV in SI units.")
    ] = RowFormat.TABLE,
) -> None:
    """Predict published and measured values, and show the errors."""
    _check(only, without, figure, targets=targets)
    if targets:
        print_targets(cases, output)
        return
    if without:
        print_left_out(without, cases, output)
        return
    from lbsim.atomic_write import check_writable
    from lbsim.evaluation.validate import validate as validate_cases

    if figure is not None:
        check_writable(figure)
    validation = validate_cases(cases, only)
    if figure is not None:
        from lbsim.report import write_parity

        write_parity(validation, figure)
    if output is RowFormat.JSON:
        print_json(json_output.validation_json(validation))
    elif output is RowFormat.CSV:
        print_csv(json_output.validation_json(validation)["cases"])
    else:
        from lbsim.cli.tables.validation import validation_table

        print_table(validation_table(validation))
    if figure is not None:
        print_note(f"wrote {figure}")


def _check(only: str, without: str, figure: Path | None, *, targets: bool) -> None:
    """Raise InputError for options that exclude each other, or for an unknown figure format, before any work."""
    if figure is not None and figure.suffix.lower() not in _PICTURES:
        raise InputError(f"--figure {figure}: write a name that ends in {' or '.join(_PICTURES)}")
    used = [name for name, given in (("--only", only), ("--leave-out", without), ("--figure", figure)) if given]
    if targets and used:
        raise InputError(f"--targets uses all cases and cannot be combined with {used[0]}; leave one of them out")
    if without and len(used) > 1:
        other = next(name for name in used if name != "--leave-out")
        raise InputError(f"--leave-out uses all cases and cannot be combined with {other}; leave one of them out")
