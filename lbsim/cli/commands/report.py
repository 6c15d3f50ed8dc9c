"""``lbsim report``: figures, their numbers and an HTML page, in one folder.

`lbsim.report`, which imports matplotlib and jinja2, is imported inside the functions, to keep start-up short.
"""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from lbsim.cli.options import profile_folders, request_from, scenario_from, scenario_options
from lbsim.cli.terminal import print_line
from lbsim.errors import InputError
from lbsim.printed_text import command_line
from lbsim.printed_text import option as option_words
from lbsim.profiles.catalog import Folders
from lbsim.scenario.scenario import Scenario, override

__all__ = ["report"]

_GPUS = 1024


@scenario_options
def report(
    scenario: Scenario | None,
    context: typer.Context,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="CLUSTER_OR_FILE",
            help="Add a cluster, or a scenario file, to the same figures; repeatable.",
        ),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(metavar="PRICE", help="Price per GPU and hour, e.g. '2.50 USD'; once, or once per scenario."),
    ] = None,
    seeds: Annotated[  # noqa: FBT002
        bool, typer.Option("--seeds", help="Write the reports of the three record systems that lbsim reproduces.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Output folder.", show_default="reports/MODEL-GPUS-CLUSTER")
    ] = None,
) -> None:
    """Write figures, their numbers and an HTML page. Default scenario: 1,024 GPUs and the default profiles.

    For example:  lbsim report --gpus 1024 --cluster dgx-h100 --with dgx-a100
    """
    from lbsim import report as reports

    command = _command(context)
    if seeds:
        if scenario is not None or others or price:
            raise InputError("--seeds has its own scenarios; leave out scenario options, --with and --price")
        folder = out or Path("reports") / "seeds"
        for system in reports.RECORD_SYSTEMS:
            _print_summary(reports.write(reports.record_report(system, command), folder / system.name))
        return
    first = scenario or Scenario.of(gpus=_GPUS)
    prices = [reports.Price.parse(text) for text in price or ()]
    profile_dirs = context.params["profile_dirs"]
    entries = reports.labelled([first, *(_other(text, first, profile_dirs) for text in others or ())], prices)
    title = f"{Path(first.model).stem} on {first.plan.gpus:,} GPUs of {first.cluster.name}"
    name = re.sub(r"[^\w.-]+", "-", f"{Path(first.model).stem}-{first.plan.gpus}-{first.cluster.name}")
    _print_summary(
        reports.write(reports.Report(title, reports.ReportScenarios(entries), command), out or Path("reports") / name)
    )


def _other(text: str, first: Scenario, profile_dirs: list[Path] | None) -> Scenario:
    """Return the scenario in the file *text*, or *first* on the cluster that *text* names."""
    file = Path(text)
    if file.suffix == ".json" or (
        file.suffix == ".toml" and file.is_file() and "[scenario" in file.read_text(errors="replace")
    ):
        return scenario_from(request_from(file, profile_dirs=profile_dirs))
    named = str(file.absolute()) if file.suffix == ".toml" else text
    return override(first, {"cluster": named}, Folders(profile_folders(profile_dirs)))


def _command(context: typer.Context) -> str:
    """Return the command line as given, for the page to show how it was made."""
    words = ["lbsim", "report"]
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is not None and source.name == "COMMANDLINE":
            words += _words(option, context.params[option.name or ""])
    return command_line(words)


def _words(option: Any, value: Any) -> list[str]:
    if option.param_type_name == "argument":
        return [f"./{value}" if str(value).startswith("-") else str(value)]
    name = max(option.opts, key=len)
    if value is True:
        return [name]
    each = value if isinstance(value, list | tuple) else [value]
    return [word for one in each for word in option_words(name, str(one))]


def _print_summary(files: list[Path]) -> None:
    print_line(f"{files[0]}: {sum(file.suffix == '.png' for file in files)} figures, {len(files)} files")
