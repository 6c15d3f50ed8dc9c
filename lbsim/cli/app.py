"""Command ``lbsim``: its typer application and entry point.

Shared options are in `lbsim.cli.options`, most commands in ``lbsim/cli/commands``. Imports inside functions keep
start-up short: they are of modules that only one command or one output format needs.
"""

import signal
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
from lbsim.cli.standard_output import checked_output
from lbsim.cli.terminal import print_error, print_json, print_line, print_table
from lbsim.errors import InputError
from lbsim.predict import predict as predict_scenario
from lbsim.profiles.catalog import Folders
from lbsim.scenario.scenario import Scenario
from lbsim.signals import end_on_interrupt, exiting_on_signals
from lbsim.version import __version__

if TYPE_CHECKING:
    from lbsim.calibration.calibration import Calibration
    from lbsim.simulation.per_rank import RankRuns

__all__ = ["app", "check_profiles", "lbsim", "list_profiles", "main", "predict", "profiles", "show_profile"]

_HELP = """Predict how fast large-batch training runs on machines that you have not rented yet.

\b
First:  lbsim predict --gpus 1024 --model resnet50
Then:   lbsim profiles list    available clusters, software, models and algorithms
        lbsim predict --help   options of a prediction
        lbsim collective -h    one all-reduce, phase by phase
        lbsim validate         accuracy against published measurements
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
    """Print the version or, without a command, the help."""
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
    loaded = _calibration(calibration, Folders(profile_folders(profile_dirs)))
    prediction = predict_scenario(scenario, level, loaded)
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
        typer.Argument(
            autocompletion=completion(all_kinds), help="Kind, e.g. clusters, accelerators or models. Default: all."
        ),
    ] = "",
    profile_dirs: ProfilesOption = None,
    calibrated: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--calibrated", help="Show which values were fitted, to which data, and the remaining error."),
    ] = False,
) -> None:
    """List profiles, models and all-reduce algorithms, with one line of description each."""
    from lbsim.cli.profile_listing import entries
    from lbsim.cli.tables.entries import entries_table

    print_table(entries_table(entries(kind, Folders(profile_folders(profile_dirs)), calibrated=calibrated)))


@profiles.command("show")
def show_profile(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=completion(all_names),
            help="Name in lbsim profiles list, or KIND/NAME if several kinds have it.",
        ),
    ],
    profile_dirs: ProfilesOption = None,
) -> None:
    """Print a complete profile as TOML, with units and source; copy it to write your own."""
    from lbsim.cli.profile_sheet import profile_toml

    typer.echo(profile_toml(name, Folders(profile_folders(profile_dirs))), nl=False)


@profiles.command("check")
def check_profiles(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Profile files (.toml) to check.")],
    profile_dirs: ProfilesOption = None,
) -> None:
    """Check profile files: print the kind of each valid one and the first error of each other one."""
    from lbsim.cli.profile_sheet import check

    folders, errors = Folders(profile_folders(profile_dirs)), 0
    for file in files:
        try:
            print_line(f"{file}: ok ({check(file, folders)})")
        except InputError as error:
            print_error(error)
            errors += 1
    if errors:
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
    """Run the command line *arguments*, by default those of the process, and return the exit code.

    A mistake of the user (InputError, or a usage error of typer) is one line on standard error and exit code 2, and so
    is output that cannot be written. A reader that closes the pipe is exit code 1; SIGTERM and SIGHUP raise SystemExit.
    """
    try:
        with exiting_on_signals(), checked_output():
            code = app(None if arguments is None else list(arguments), prog_name="lbsim", standalone_mode=False)
    except InputError as error:
        print_error(error)
        return 2
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        # a usage error of typer, whose class it does not export
        if not hasattr(error, "format_message"):
            raise
        print_error(error.format_message())
        return 2
    finally:
        if arguments is None:
            end_on_interrupt()
    return int(code or 0)
