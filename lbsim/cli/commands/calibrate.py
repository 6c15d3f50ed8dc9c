"""``lbsim calibrate``: fit values of profiles to traces and cases.

numpy and other imports that only this command needs are inside the function, to keep start-up short.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lbsim.cli import json_output
from lbsim.cli.options import Format, FormatOption, request_options_without_file
from lbsim.cli.terminal import print_json, print_note, print_table
from lbsim.errors import InputError
from lbsim.printed_text import command_line, option
from lbsim.scenario.request import ScenarioRequest

__all__ = ["calibrate"]


@request_options_without_file
def calibrate(
    request_of: Callable[[], ScenarioRequest],
    traces: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRACE...",
            help="Traces of lbsim's harness, output of nccl-tests or OSU, PyTorch profiler traces, CSV files "
            "or case files.",
        ),
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Value to fit, e.g. cluster.inter_node.latency; repeatable. Default: all that the data can determine.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a .toml file for the option --calibration.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Fit latencies, efficiencies and overheads to measurements, and list values that these do not determine.

    For example:  lbsim calibrate nccl.txt --cluster dgx-a100 --out mine.toml
                  lbsim predict --gpus 1024 --cluster dgx-a100 --calibration mine.toml
    """
    from lbsim.atomic_write import check_writable, write_atomically
    from lbsim.calibration.calibrate import fit
    from lbsim.calibration.observations import read_observations
    from lbsim.profiles.toml import profile_to_toml

    if out is not None and out.suffix != ".toml":
        named = command_line(option("--out", str(out.with_suffix(".toml"))))
        raise InputError(f"--out {out}: a calibration is a .toml file; write e.g. {named}")
    if out is not None:
        check_writable(out)
    request = request_of()
    observed = read_observations(traces, request.tables, request.changes, request.folders)
    calibration = fit(observed.observations, vary or observed.paths, out.stem if out else "calibration")
    calibration = calibration.model_copy(update={"measured": observed.sources})
    if out is not None:
        write_atomically(profile_to_toml(calibration), out)
    if output is Format.JSON:
        print_json(json_output.calibration_json(calibration) | {"left_out": list(observed.left_out)})
        return
    from lbsim.cli.tables.calibration import calibration_table

    print_table(calibration_table(calibration))
    for reason in observed.left_out:
        print_note(f"left out: {reason}")
