"""Options that several commands share, and the scenario that they describe.

typer reads the signature of a command; the decorators `scenario_options`, `request_options` and
`request_options_without_file` add the options of a scenario to it.
"""

import inspect
from collections.abc import Callable, Container, Iterable
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from lbsim.errors import InputError
from lbsim.profiles import catalog
from lbsim.profiles.catalog import Folders
from lbsim.profiles.module_catalog import module_names
from lbsim.scenario.request import ScenarioRequest, build_scenario, read_scenario_tables
from lbsim.scenario.scenario import Scenario
from lbsim.workload.workload_file import SUFFIXES

__all__ = [
    "AllReduceOption",
    "AnchorOption",
    "BatchPerGpuOption",
    "CalibrationOption",
    "ClusterOption",
    "Format",
    "FormatOption",
    "FusionOption",
    "GpusOption",
    "LevelOption",
    "LibraryOption",
    "ModelOption",
    "PrecisionOption",
    "ProfilesOption",
    "RanksOption",
    "RowFormat",
    "ScenarioFileArgument",
    "SetOption",
    "SoftwareOption",
    "absolute_paths",
    "all_kinds",
    "all_names",
    "completion",
    "parse_changes",
    "profile_folders",
    "request_from",
    "request_options",
    "request_options_without_file",
    "scenario_from",
    "scenario_options",
    "without_none",
]


class Format(StrEnum):
    """Output format of a result."""

    TABLE = "table"
    JSON = "json"


class RowFormat(StrEnum):
    """Output format of a result of many rows."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def completion(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return a shell completion function for *names*."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return complete


def _profiles(kind: str) -> Callable[[str], list[str]]:
    return completion(lambda: catalog.SHIPPED.files(kind))


def _modules(package: str) -> Callable[[str], list[str]]:
    return completion(lambda: [name.replace("_", "-") for name in module_names(package)])


def all_names() -> Iterable[str]:
    """Return the names of all profiles, models and algorithms, for shell completion."""
    from lbsim.cli import profile_kinds  # late, for start-up time

    return [name for kind in profile_kinds.KINDS for name in profile_kinds.names(kind)]


def all_kinds() -> Iterable[str]:
    """Return the kinds of profiles, for shell completion."""
    from lbsim.cli import profile_kinds  # late, for start-up time

    return profile_kinds.KINDS


ScenarioFileArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Scenario: TOML with a [scenario] table, or JSON printed by --format json. Options override it."
    ),
]
GpusOption = Annotated[
    int | None, typer.Option(help="Number of GPUs, over all nodes. Required unless the scenario file has it.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=_modules("workloads"),
        help="Model: a name, or a .json or .toml file (see lbsim workload). Default: resnet50.",
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=_profiles("clusters"),
        help="Cluster: a profile's name, or a .toml file. Default: dgx-h100.",
    ),
]
SoftwareOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=_profiles("software"),
        help="Software: a profile's name, or a .toml file. Default: pytorch-nccl.",
    ),
]
BatchPerGpuOption = Annotated[int | None, typer.Option(help="Samples per GPU and step.")]
PrecisionOption = Annotated[str | None, typer.Option(metavar="fp32|tf32|mixed|bf16", help="Precision of compute.")]
AllReduceOption = Annotated[
    str | None, typer.Option(metavar="NAME", autocompletion=_modules("all_reduce"), help="All-reduce algorithm.")
]
FusionOption = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="How gradients are grouped into fusion buffers: none, one-buffer, threshold, ddp, horovod, split, mg-wfbp "
        "or optimal.",
    ),
]
AnchorOption = Annotated[
    str | None,
    typer.Option(
        metavar="RATE", help="Throughput measured on one GPU, e.g. '218 samples/s', to which compute is scaled."
    ),
]
LibraryOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=_profiles("libraries"),
        help="Communication library: a profile's name, or a .toml file. Default: the software's.",
    ),
]
RanksOption = Annotated[
    int | None,
    typer.Option(
        metavar="STEPS", help="Also simulate this many steps rank by rank, and show the distribution of step time."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override any value, e.g. cluster.inter_node.bandwidth='25 Gb/s'; repeatable.",
    ),
]
CalibrationOption = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="NAME",
        autocompletion=_profiles("calibrations"),
        help="Values fitted by lbsim calibrate: a profile's name, or a .toml file.",
    ),
]
LevelOption = Annotated[
    float, typer.Option(min=0.01, max=0.999, help="Probability that the interval contains the true value.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="Table to read, or JSON in SI units.")]
ProfilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--profiles", metavar="DIR", help="Folder of your own profiles, laid out as hardware_profiles/; repeatable."
    ),
]


def request_from(
    scenario_file: ScenarioFileArgument = None,
    gpus: GpusOption = None,
    model: ModelOption = None,
    cluster: ClusterOption = None,
    software: SoftwareOption = None,
    batch_per_gpu: BatchPerGpuOption = None,
    precision: PrecisionOption = None,
    all_reduce: AllReduceOption = None,
    fusion: FusionOption = None,
    anchor: AnchorOption = None,
    changes: SetOption = None,
    profile_dirs: ProfilesOption = None,
) -> ScenarioRequest:
    """Return the scenario file's tables with these options on top; the number of GPUs may be missing.

    The parameters are the scenario options of every command that takes them. Raises InputError for a file that cannot
    be read, a ``--set`` without a value and a ``--profiles`` folder without profiles.
    """
    tables = read_scenario_tables(scenario_file) if scenario_file else {}
    plan = {"gpus": gpus, "batch_per_gpu": batch_per_gpu, "precision": precision, "all_reduce": all_reduce}
    tables["plan"] = tables.get("plan", {}) | without_none(plan)
    named = {"cluster": cluster, "model": model, "software": software, "anchor": anchor, "plan.fusion": fusion}
    overrides = absolute_paths(without_none(named) | parse_changes(changes or []))
    folder = scenario_file.absolute().parent if scenario_file else None
    return ScenarioRequest(tables, overrides, Folders(profile_folders(profile_dirs), folder))


def scenario_from(request: ScenarioRequest) -> Scenario:
    """Return the scenario of *request*, or raise InputError if the number of GPUs is missing."""
    if "gpus" not in request.tables["plan"]:
        raise InputError("--gpus is missing; write e.g. lbsim predict --gpus 1024 --model resnet50")
    return build_scenario(request.tables, request.changes, request.folders)


def scenario_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the scenario options to *command* and pass their `Scenario` as its first argument.

    If the first parameter is annotated ``Scenario | None``, it is None when no scenario option is given. A scenario
    option that *command* has as a parameter too, such as ``profile_dirs``, is passed on as well.
    """
    first = next(iter(inspect.signature(command).parameters.values()))
    optional = first.annotation == Scenario | None
    return _with_options(command, lambda **values: scenario_from(request_from(**values)), optional=optional)


def request_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the scenario options to *command* and pass their `ScenarioRequest` as its first argument."""
    return _with_options(command, request_from)


def request_options_without_file(command: Callable[..., None]) -> Callable[..., None]:
    """Add the scenario options to *command*, except the scenario file.

    The first argument of *command* is a function from a scenario file, or None, to the `ScenarioRequest`: for commands
    that find the scenario file among their own arguments.
    """
    return _with_options(command, lambda **values: partial(request_from, **values), without={"scenario_file"})


def _with_options(
    command: Callable[..., None],
    first_argument: Callable[..., object],
    without: Container[str] = (),
    *,
    optional: bool = False,
) -> Callable[..., None]:
    """Return *command* with the parameters of `request_from`, from which *first_argument* makes its first argument."""
    options = inspect.signature(request_from).parameters
    shared = {name: option for name, option in options.items() if name not in without}
    remaining = {option.name: option for option in list(inspect.signature(command).parameters.values())[1:]}

    @wraps(command)
    def run(**values: Any) -> None:
        given = {name: values[name] for name in shared}
        absent = optional and not any(value for name, value in given.items() if name != "profile_dirs")
        first = None if absent else first_argument(**given)
        command(first, **{name: value for name, value in values.items() if name in remaining})

    parameters = (shared | remaining).values()
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # typer reads the signature
        [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in parameters]
    )
    run.__annotations__ = {option.name: option.annotation for option in parameters}
    return run


def without_none(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, which are those that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def parse_changes(changes: Iterable[str]) -> dict[str, str]:
    """Return paths and values of ``--set PATH=VALUE``, or raise InputError for a change without '='."""
    for change in changes:
        if "=" not in change:
            raise InputError(f"--set {change}: no '='; write PATH=VALUE, e.g. --set cluster.nics=2")
    return {path.strip(): value.strip() for path, _, value in (change.partition("=") for change in changes)}


def absolute_paths(changes: dict[str, Any]) -> dict[str, Any]:
    """Return *changes* with file names made absolute: on the command line they are relative to the current folder."""
    return {
        path: str(Path(value).absolute()) if isinstance(value, str) and value.endswith(SUFFIXES) else value
        for path, value in changes.items()
    }


def profile_folders(profile_dirs: Iterable[Path] | None) -> tuple[Path, ...]:
    """Return the folders of ``--profiles`` as absolute paths, or raise InputError for one without profiles."""
    folders = tuple(folder.absolute() for folder in profile_dirs or ())
    for folder in folders:
        if not any((folder / kind).is_dir() for kind in catalog.profile_kinds()):
            raise InputError(f"--profiles {folder}: it has no subfolder named {', '.join(catalog.profile_kinds())}")
    return folders
