"""``lbsim calibrate``: fits quantities of profiles to traces and cases.

What the command alone needs, numpy above all, is imported where it is used: late, for start-up time alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lbsim.cli import json_output
from lbsim.cli.options import Format, OutputFormat, asking_without_a_file
from lbsim.cli.terminal import print_json, print_note, print_table
from lbsim.errors import InputError
from lbsim.scenario.request import ScenarioRequest


@asking_without_a_file
def calibrate(
    question: Callable[[], ScenarioRequest],
    traces: Annotated[
        list[Path],
        typer.Argument(metavar="TRACE...", help="Of lbsim's harness, nccl-tests, OSU, PyTorch's profiler; CSV; cases."),
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="What to fit, e.g. cluster.inter_node.latency; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a .toml that --calibration takes.")] = None,
    output: OutputFormat = Format.TABLE,
) -> None:
    """Fit latencies, efficiencies and overheads to what you measured, and say what it cannot tell.

    For example:  lbsim calibrate nccl.txt --cluster dgx-a100 --out mine.toml
                  lbsim predict --gpus 1024 --cluster dgx-a100 --calibration mine.toml
    """
    from lbsim.atomic_write import write_atomically
    from lbsim.calibration.calibrate import fit
    from lbsim.calibration.observations import read_observations
    from lbsim.profiles.toml import profile_to_toml

    if out is not None and out.suffix != ".toml":
        raise InputError(f"--out {out}: a profile is a .toml file; write e.g. --out {out.with_suffix('.toml')}")
    asked = question()
    found = read_observations(traces, asked.tables, asked.changes, asked.folders)
    calibration = fit(found.observations, vary or found.paths, out.stem if out else "calibration")
    calibration = calibration.model_copy(update={"measured": found.sources})
    if out is not None:
        write_atomically(profile_to_toml(calibration), out)
    if output is Format.JSON:
        print_json(json_output.of_calibration(calibration) | {"left_out": list(found.left_out)})
        return
    from lbsim.cli.tables.calibration import of_calibration

    print_table(of_calibration(calibration))
    for reason in found.left_out:
        print_note(f"left out: {reason}")
