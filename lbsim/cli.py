"""The command line: the only place that prints.

`lbsim.tables` and rich are imported where a table is printed, `lbsim.ranks` and numpy where ranks are asked for: late,
for start-up time alone.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbsim import __version__, answer, catalog, inventory, timing
from lbsim.catalog import Folders
from lbsim.errors import InputError
from lbsim.predict import predict as predict_scenario
from lbsim.question import ask, read_tables
from lbsim.validate import validate as validate_cases

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lbsim.ranks import RankRuns
    from lbsim.scenario import Scenario

_HELP = """Predict how fast large-batch training runs on machines that you have not rented yet.

\b
First:  lbsim predict --gpus 1024 --model resnet50
Then:   lbsim profiles list    what there is to choose from
        lbsim predict --help   what can be changed
        lbsim collective -h    one all-reduce, phase by phase
        lbsim validate         how far to trust the answers
"""


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"


def _completing(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return complete


def _profiles(kind: str) -> Callable[[str], list[str]]:
    return _completing(lambda: catalog.SHIPPED.files(kind))


def _modules(package: str) -> Callable[[str], list[str]]:
    return _completing(lambda: [name.replace("_", "-") for name in catalog.names(package)])


def _all_names() -> Iterable[str]:
    return [name for kind in inventory.KINDS for name in inventory.names(kind)]


ScenarioFile = Annotated[
    Path | None,
    typer.Argument(help="TOML with [scenario], or JSON that --format json printed. Options override it."),
]
Gpus = Annotated[int | None, typer.Option(help="How many, over all nodes. Required unless the file says.")]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", autocompletion=_modules("workloads"), help="Default: resnet50.")
]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="NAME", autocompletion=_profiles("clusters"), help="Or a .toml file. Default: dgx-h100."),
]
Software = Annotated[
    str | None,
    typer.Option(metavar="NAME", autocompletion=_profiles("software"), help="Or a .toml file. Default: pytorch-nccl."),
]
BatchPerGpu = Annotated[int | None, typer.Option(help="Samples a step on each GPU.")]
Precision = Annotated[str | None, typer.Option(metavar="fp32|tf32|mixed|bf16", help="Of compute.")]
AllReduce = Annotated[
    str | None, typer.Option(metavar="NAME", autocompletion=_modules("all_reduce"), help="The algorithm.")
]
Fusion = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="Which gradients travel together: none, one-buffer, threshold, ddp, horovod, split, mg-wfbp or optimal.",
    ),
]
Anchor = Annotated[
    str | None, typer.Option(metavar="RATE", help="Throughput that you measured on one GPU, e.g. '218 samples/s'.")
]
Library = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", autocompletion=_profiles("libraries"), help="Or a .toml file. Default: the software's."
    ),
]
Ranks = Annotated[
    int | None, typer.Option(metavar="STEPS", help="Simulate so many steps rank by rank too, and show how they spread.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Anything else, e.g. cluster.inter_node.bandwidth='25 Gb/s'; repeatable."
    ),
]
OutputFormat = Annotated[Format, typer.Option("--format", help="A table to read, or JSON in SI units to compute with.")]
OwnProfiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--profiles", metavar="DIR", help="A folder of your own profiles, laid out as hardware_profiles/; repeatable."
    ),
]

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]}, pretty_exceptions_enable=False, rich_markup_mode=None
)
profiles = typer.Typer(
    rich_markup_mode=None, help="List, show and check hardware and software profiles, models and all-reduce algorithms."
)
app.add_typer(profiles, name="profiles")


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
def predict(
    scenario_file: ScenarioFile = None,
    gpus: Gpus = None,
    model: Model = None,
    cluster: Cluster = None,
    software: Software = None,
    batch_per_gpu: BatchPerGpu = None,
    precision: Precision = None,
    all_reduce: AllReduce = None,
    fusion: Fusion = None,
    anchor: Anchor = None,
    ranks: Ranks = None,
    changes: Changes = None,
    own: OwnProfiles = None,
    output: OutputFormat = Format.TABLE,
) -> None:
    """Predict throughput, scaling efficiency and time to train.

    For example:  lbsim predict --gpus 1024 --model resnet50 --cluster mn-1
    """
    said = read_tables(scenario_file) if scenario_file else {}
    plan = {"gpus": gpus, "batch_per_gpu": batch_per_gpu, "precision": precision, "all_reduce": all_reduce}
    said["plan"] = said.get("plan", {}) | _given(plan)
    if "gpus" not in said["plan"]:
        raise InputError("--gpus is missing; write e.g. lbsim predict --gpus 1024 --model resnet50")
    named = _given({"cluster": cluster, "model": model, "software": software, "anchor": anchor, "plan.fusion": fusion})
    folders = Folders(_folders(own), scenario_file.absolute().parent if scenario_file else None)
    scenario = ask(said, _from_here(named | _pairs(changes or [])), folders)
    prediction = predict_scenario(scenario)
    runs = None if ranks is None else _simulate_ranks(scenario, ranks)
    if output is Format.JSON:
        _print_json(answer.of_prediction(prediction) | ({"ranks": answer.of_ranks(runs)} if runs else {}))
    else:
        from lbsim import tables

        _print_table(tables.of_prediction(prediction))
        if runs:
            _print_table(tables.of_ranks(runs))


@app.command()
def collective(
    gpus: Annotated[int, typer.Option(help="How many, over all nodes.")],
    message: Annotated[str | None, typer.Option(metavar="SIZE", help="What each GPU hands in, e.g. '100 MiB'.")] = None,
    first: Annotated[str, typer.Option("--from", metavar="SIZE", help="Smallest of a sweep.")] = "8",
    last: Annotated[str | None, typer.Option("--to", metavar="SIZE", help="Largest of a sweep, e.g. '1 GiB'.")] = None,
    factor: Annotated[float, typer.Option(help="From one size of a sweep to the next.")] = 2.0,
    all_reduce: AllReduce = None,
    group_size: Annotated[int | None, typer.Option(help="GPUs of a group. Default: a node's.")] = None,
    cluster: Cluster = None,
    software: Software = None,
    library: Library = None,
    per_rank: Annotated[bool, typer.Option("--per-rank", help="Follow each rank through each step.")] = False,  # noqa: FBT002
    changes: Changes = None,
    own: OwnProfiles = None,
    output: OutputFormat = Format.TABLE,
) -> None:
    """Time one all-reduce, or a sweep over sizes with the columns of nccl-tests.

    For example:  lbsim collective --all-reduce ring --gpus 1024 --message "100 MiB" --cluster mn-1
    """
    plan = _given({"gpus": gpus, "all_reduce": all_reduce, "group_size": group_size})
    named = _given({"cluster": cluster, "software": software, "software.library": library})
    scenario = ask({"plan": plan}, _from_here(named | _pairs(changes or [])), Folders(_folders(own)))
    sizes = timing.message_sizes(message, first, last, factor)
    timings = [timing.time_all_reduce(scenario, size) for size in sizes]
    done = _finish_times(scenario, sizes) if per_rank else ()
    if output is Format.JSON:
        _print_json(answer.of_sweep(timings) if message is None else answer.of_timing(timings[0], done))
    else:
        from lbsim import tables

        _print_table(tables.of_sweep(timings) if message is None else tables.of_timing(timings[0], done))


def _finish_times(scenario: "Scenario", sizes: Sequence[float]) -> tuple[float, ...]:
    from lbsim.ranks import finish_times

    if len(sizes) > 1:
        raise InputError("--per-rank: follows one all-reduce; write --message in place of --to")
    return finish_times(scenario, sizes[0])


def _simulate_ranks(scenario: "Scenario", steps: int) -> "RankRuns":
    from lbsim.ranks import simulate_ranks

    return simulate_ranks(scenario, steps)


@app.command()
def validate(
    cases: Annotated[
        Path, typer.Option(metavar="DIR", help="A folder of case files, or one file.", show_default="what ships")
    ] = catalog.PUBLISHED_CASES,
    only: Annotated[str, typer.Option(metavar="TEXT", help="Cases whose system, id, quantity ... has this text.")] = "",
    output: OutputFormat = Format.TABLE,
) -> None:
    """Predict what others have published or measured, and show how far off that is."""
    validation = validate_cases(cases, only)
    if output is Format.JSON:
        _print_json(answer.of_validation(validation))
    else:
        from lbsim import tables

        _print_table(tables.of_validation(validation))


@profiles.command("list")
def list_profiles(
    kind: Annotated[
        str,
        typer.Argument(
            autocompletion=_completing(lambda: inventory.KINDS), help="E.g. clusters, accelerators, models."
        ),
    ] = "",
    own: OwnProfiles = None,
) -> None:
    """List what there is to choose from, with a line of description each."""
    from lbsim import tables

    _print_table(tables.of_entries(inventory.entries(kind, Folders(_folders(own)))))


@profiles.command("show")
def show_profile(
    name: Annotated[str, typer.Argument(autocompletion=_completing(_all_names), help="NAME or KIND/NAME.")],
    own: OwnProfiles = None,
) -> None:
    """Print a profile as TOML, complete, with units and source; a good start for one of your own."""
    typer.echo(inventory.sheet(name, Folders(_folders(own))), nl=False)


@profiles.command("check")
def check_profiles(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Profiles of your own.")],
    own: OwnProfiles = None,
) -> None:
    """Say whether profiles of your own are valid, or what their first fault is."""
    folders, faults = Folders(_folders(own)), 0
    for file in files:
        try:
            typer.echo(f"{file}: ok ({inventory.check(file, folders)})")
        except InputError as error:
            _print_error(error)
            faults += 1
    if faults:
        raise typer.Exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; whatever the user did wrong is one line on standard error."""
    try:
        code = app(None if arguments is None else list(arguments), prog_name="lbsim", standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        _print_error(error)
        return 2
    except BrokenPipeError:
        # whoever read has gone; what is still buffered has nowhere to go at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # typer's usage errors, whose class it does not export
        if not hasattr(error, "format_message"):
            raise
        _print_error(error.format_message())
        return 2
    return int(code or 0)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _pairs(changes: Iterable[str]) -> dict[str, str]:
    for change in changes:
        if "=" not in change:
            raise InputError(f"--set {change}: no '='; write PATH=VALUE, e.g. --set cluster.nics=2")
    return {path.strip(): value.strip() for path, _, value in (change.partition("=") for change in changes)}


def _from_here(changes: dict[str, Any]) -> dict[str, Any]:
    """Return *changes* with paths to files as the user means them, not beside the scenario file."""
    return {
        path: str(Path(value).absolute()) if isinstance(value, str) and value.endswith(".toml") else value
        for path, value in changes.items()
    }


def _folders(own: Iterable[Path] | None) -> tuple[Path, ...]:
    folders = tuple(folder.absolute() for folder in own or ())
    for folder in folders:
        if not any((folder / kind).is_dir() for kind in catalog.kinds()):
            raise InputError(f"--profiles {folder}: no folder in it named any of: {', '.join(catalog.kinds())}")
    return folders


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=2, allow_nan=False))


def _print_table(table: "RenderableType") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _print_error(error: object) -> None:
    typer.echo(f"lbsim: {' '.join(str(error).split())}", err=True)


if __name__ == "__main__":
    sys.exit(main())
