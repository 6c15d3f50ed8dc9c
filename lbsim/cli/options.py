"""The options that several commands share, and the scenario that they ask for.

typer reads the signature of a command; `asking_for_a_scenario` writes those of a scenario into it.
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


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"


class RowFormat(StrEnum):
    """How an answer of many rows is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def completing(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return what completes a name that has been begun."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return complete


def _profiles(kind: str) -> Callable[[str], list[str]]:
    return completing(lambda: catalog.SHIPPED.files(kind))


def _modules(package: str) -> Callable[[str], list[str]]:
    return completing(lambda: [name.replace("_", "-") for name in module_names(package)])


def all_names() -> Iterable[str]:
    """Return the names of all that there is to choose."""
    from lbsim.cli import profile_listing  # late, for start-up time alone

    return [name for kind in profile_listing.KINDS for name in profile_listing.names(kind)]


def all_kinds() -> Iterable[str]:
    """Return the kinds of what there is to choose."""
    from lbsim.cli import profile_listing  # late, for start-up time alone

    return profile_listing.KINDS


ScenarioFile = Annotated[
    Path | None,
    typer.Argument(help="TOML with [scenario], or JSON that --format json printed. Options override it."),
]
Gpus = Annotated[int | None, typer.Option(help="How many, over all nodes. Required unless the file says.")]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=_modules("workloads"),
        help="Or a .json or .toml file, see lbsim workload. Default: resnet50.",
    ),
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
CalibrationName = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="NAME",
        autocompletion=_profiles("calibrations"),
        help="Use values that lbsim calibrate fitted: a name, or a .toml file.",
    ),
]
Level = Annotated[
    float, typer.Option(min=0.01, max=0.999, help="Probability with which the truth lies in the interval.")
]
OutputFormat = Annotated[Format, typer.Option("--format", help="A table to read, or JSON in SI units to compute with.")]
OwnProfiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--profiles", metavar="DIR", help="A folder of your own profiles, laid out as hardware_profiles/; repeatable."
    ),
]


def question_of(
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
    changes: Changes = None,
    own: OwnProfiles = None,
) -> ScenarioRequest:
    """Return what these options ask, which may not say how many GPUs."""
    said = read_scenario_tables(scenario_file) if scenario_file else {}
    plan = {"gpus": gpus, "batch_per_gpu": batch_per_gpu, "precision": precision, "all_reduce": all_reduce}
    said["plan"] = said.get("plan", {}) | given(plan)
    named = given({"cluster": cluster, "model": model, "software": software, "anchor": anchor, "plan.fusion": fusion})
    folders = Folders(own_folders(own), scenario_file.absolute().parent if scenario_file else None)
    return ScenarioRequest(said, from_here(named | pairs(changes or [])), folders)


def scenario_of(question: ScenarioRequest) -> Scenario:
    """Return the scenario that *question* asks about, or raise InputError if it does not say how many GPUs."""
    if "gpus" not in question.tables["plan"]:
        raise InputError("--gpus is missing; write e.g. lbsim predict --gpus 1024 --model resnet50")
    return build_scenario(question.tables, question.changes, question.folders)


def asking_for_a_scenario(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command*, whose first parameter is a scenario, the options of a scenario in its place.

    One of these that it takes too, it is given as well. A command whose scenario may be none gets none where no such
    option is written.
    """
    first = next(iter(inspect.signature(command).parameters.values()))
    return _asking(
        command, lambda **values: scenario_of(question_of(**values)), optional=first.annotation == Scenario | None
    )


def asking_for_a_question(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command*, whose first parameter is a question, the options of a scenario in its place."""
    return _asking(command, question_of)


def asking_without_a_file(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the options of a scenario; its first parameter makes a question of a scenario file, or None.

    For a command with arguments of its own, among which it finds the file itself.
    """
    return _asking(command, lambda **values: partial(question_of, **values), without={"scenario_file"})


def _asking(
    command: Callable[..., None],
    answer: Callable[..., object],
    without: Container[str] = (),
    *,
    optional: bool = False,
) -> Callable[..., None]:
    options = inspect.signature(question_of).parameters
    asked = {name: one for name, one in options.items() if name not in without}
    takes = {one.name: one for one in list(inspect.signature(command).parameters.values())[1:]}

    @wraps(command)
    def asks(**values: Any) -> None:
        options = {name: values[name] for name in asked}
        said = any(value for name, value in options.items() if name != "own")
        command(
            answer(**options) if said or not optional else None,
            **{name: value for name, value in values.items() if name in takes},
        )

    parameters = (asked | takes).values()
    asks.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    )
    asks.__annotations__ = {one.name: one.annotation for one in parameters}
    return asks


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were written."""
    return {name: value for name, value in options.items() if value is not None}


def pairs(changes: Iterable[str]) -> dict[str, str]:
    """Return the paths and values of ``--set``, or raise InputError for one without a value."""
    for change in changes:
        if "=" not in change:
            raise InputError(f"--set {change}: no '='; write PATH=VALUE, e.g. --set cluster.nics=2")
    return {path.strip(): value.strip() for path, _, value in (change.partition("=") for change in changes)}


def from_here(changes: dict[str, Any]) -> dict[str, Any]:
    """Return *changes* with paths to files as the user means them, not beside the scenario file."""
    return {
        path: str(Path(value).absolute()) if isinstance(value, str) and value.endswith(SUFFIXES) else value
        for path, value in changes.items()
    }


def own_folders(own: Iterable[Path] | None) -> tuple[Path, ...]:
    """Return the user's folders of profiles, or raise InputError for one that holds none."""
    folders = tuple(folder.absolute() for folder in own or ())
    for folder in folders:
        if not any((folder / kind).is_dir() for kind in catalog.profile_kinds()):
            raise InputError(f"--profiles {folder}: no folder in it named any of: {', '.join(catalog.profile_kinds())}")
    return folders
