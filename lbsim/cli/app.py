"""The command line. Shared options stand in `lbsim.cli.options`; some commands have a file in ``lbsim/cli/commands``.

What one command alone needs, tables, ranks or cases, is imported where it is used: late, for start-up time alone.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbsim.cli import json_output
from lbsim.cli.commands import (
    calibrate,
    collective,
    compare,
    explain,
    plan,
    report,
    sweep,
    testbed,
    timeline,
    tune,
    validate,
    workload,
)
from lbsim.cli.options import (
    CalibrationOption,
    Format,
    FormatOption,
    LevelOption,
    ProfilesOption,
    RanksOption,
    all_kinds,
    all_names,
    completion,
    profile_folders,
    scenario_options,
)
from lbsim.cli.terminal import print_error, print_json, print_table
from lbsim.errors import InputError
from lbsim.predict import predict as predict_scenario
from lbsim.profiles.catalog import Folders
from lbsim.scenario.scenario import Scenario
from lbsim.version import __version__

if TYPE_CHECKING:
    from lbsim.calibration.calibration import Calibration
    from lbsim.simulation.per_rank import RankRuns

_HELP = """Predict how fast large-batch training runs on machines that you have not rented yet.

\b
First:  lbsim predict --gpus 1024 --model resnet50
Then:   lbsim profiles list    what there is to choose from
        lbsim predict --help   what can be changed
        lbsim collective -h    one all-reduce, phase by phase
        lbsim validate         how far to trust the answers
"""


app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]}, pretty_exceptions_enable=False, rich_markup_mode=None
)
profiles = typer.Typer(
    rich_markup_mode=None, help="List, show and check hardware and software profiles, models and all-reduce algorithms."
)
app.add_typer(profiles, name="profiles")
app.add_typer(workload.app, name="workload")


@app.callback(invoke_without_command=True, help=_HELP)
def lbsim(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,  # noqa: FBT002
) -> None:
    """Print the version, or help if there is no command."""
    if version:
        typer.echo(f"lbsim {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
@scenario_options
def predict(
    scenario: Scenario,
    ranks: RanksOption = None,
    calibration: CalibrationOption = None,
    level: LevelOption = 0.9,
    profile_dirs: ProfilesOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Predict throughput, scaling efficiency and time to train.

    For example:  lbsim predict --gpus 1024 --model resnet50 --cluster mn-1
    """
    fitted = _calibration(calibration, Folders(profile_folders(profile_dirs)))
    prediction = predict_scenario(scenario, level, fitted)
    scenario = prediction.scenario
    runs = None if ranks is None else _simulate_ranks(scenario, ranks)
    if output is Format.JSON:
        print_json(json_output.prediction_json(prediction) | ({"ranks": json_output.ranks_json(runs)} if runs else {}))
    else:
        from lbsim.cli.tables.prediction import prediction_table, ranks_table

        print_table(prediction_table(prediction))
        if runs:
            print_table(ranks_table(runs))


def _calibration(name: str | None, folders: Folders) -> "Calibration | None":
    if name is None:
        return None
    from lbsim.calibration.calibration import Calibration

    return Calibration.load(name, folders)


def _simulate_ranks(scenario: Scenario, steps: int) -> "RankRuns":
    from lbsim.simulation.per_rank import simulate_ranks

    return simulate_ranks(scenario, steps)


app.command()(validate.validate)


@profiles.command("list")
def list_profiles(
    kind: Annotated[
        str,
        typer.Argument(autocompletion=completion(all_kinds), help="E.g. clusters, accelerators, models."),
    ] = "",
    profile_dirs: ProfilesOption = None,
    calibrated: Annotated[  # noqa: FBT002
        bool, typer.Option("--calibrated", help="Say what of each was fitted, on what, and the error that remained.")
    ] = False,
) -> None:
    """List what there is to choose from, with a line of description each."""
    from lbsim.cli.profile_listing import entries
    from lbsim.cli.tables.entries import entries_table

    print_table(entries_table(entries(kind, Folders(profile_folders(profile_dirs)), calibrated=calibrated)))


@profiles.command("show")
def show_profile(
    name: Annotated[str, typer.Argument(autocompletion=completion(all_names), help="NAME or KIND/NAME.")],
    profile_dirs: ProfilesOption = None,
) -> None:
    """Print a profile as TOML, complete, with units and source; a good start for one of your own."""
    from lbsim.cli.profile_sheet import profile_toml

    typer.echo(profile_toml(name, Folders(profile_folders(profile_dirs))), nl=False)


@profiles.command("check")
def check_profiles(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Profiles of your own.")],
    profile_dirs: ProfilesOption = None,
) -> None:
    """Say whether profiles of your own are valid, or what their first fault is."""
    from lbsim.cli.profile_sheet import check

    folders, faults = Folders(profile_folders(profile_dirs)), 0
    for file in files:
        try:
            typer.echo(f"{file}: ok ({check(file, folders)})")
        except InputError as error:
            print_error(error)
            faults += 1
    if faults:
        raise typer.Exit(2)


app.command()(collective.collective)
app.command()(explain.explain)
app.command()(tune.tune)
app.command()(calibrate.calibrate)
app.command()(timeline.timeline)
app.command()(compare.compare)
app.command("testbed", context_settings=testbed.SETTINGS)(testbed.run_testbed)
app.command()(report.report)
app.command()(sweep.sweep)
app.command()(plan.plan)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; whatever the user did wrong is one line on standard error."""
    try:
        code = app(None if arguments is None else list(arguments), prog_name="lbsim", standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        print_error(error)
        return 2
    except BrokenPipeError:
        # whoever read has gone; what is still buffered has nowhere to go at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # typer's usage errors, whose class it does not export
        if not hasattr(error, "format_message"):
            raise
        print_error(error.format_message())
        return 2
    return int(code or 0)
