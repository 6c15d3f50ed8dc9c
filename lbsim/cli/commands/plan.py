"""``lbsim plan``: time to a target accuracy, by number of GPUs, with batch, recipe and cost.

Imports that only this command needs are inside the functions, to keep start-up short; matplotlib for a figure only.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbsim.cli.options import (
    ClusterOption,
    Format,
    FormatOption,
    ModelOption,
    PrecisionOption,
    ProfilesOption,
    SetOption,
    SoftwareOption,
    profile_folders,
    request_from,
    scenario_from,
)
from lbsim.cli.terminal import print_json, print_table
from lbsim.errors import InputError
from lbsim.units import PRICE, TIME, Dimension

_DEFAULT_MODEL = "resnet50"
"""Model of a scenario that names none."""

if TYPE_CHECKING:
    from lbsim.accuracy.benchmark import Benchmark
    from lbsim.accuracy.training_option import TimeToAccuracy, TimeToAccuracyRequest
    from lbsim.accuracy.training_run import FaultModel
    from lbsim.scenario.scenario import Scenario

__all__ = ["plan"]


def plan(
    target: Annotated[
        str, typer.Option(metavar="PERCENT", help="Target top-1 accuracy, e.g. 75%, or the target of a benchmark.")
    ],
    gpus: Annotated[
        str, typer.Option(metavar="LIST", help="Numbers of GPUs: '8,16,32', or '8..1024' for doublings.")
    ] = "8..1024",
    model: ModelOption = None,
    cluster: ClusterOption = None,
    software: SoftwareOption = None,
    precision: PrecisionOption = None,
    changes: SetOption = None,
    confidence: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Share of runs that must reach the target. Default: about half of them."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name in lbsim profiles list recipes, or of a benchmark, e.g. mlperf-rnn-t. Default: the best one.",
        ),
    ] = None,
    noise_scale: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="Output folder of a training run of the harness with --noise-scale-every, used instead of published "
            "recipes; repeatable.",
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Samples per step, over all GPUs. Default: the best batch.")
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Time limit, e.g. '1 h'; the cheapest option within it is chosen."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="MONEY", help="Cost limit, in the currency of --price; the fastest option within it is chosen."
        ),
    ] = None,
    price: Annotated[str | None, typer.Option(metavar="PRICE", help="Price per GPU and hour, e.g. '2.5 /h'.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated runs.")] = 0,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plot time and goodput over GPUs, as .png, .svg or .pdf.")
    ] = None,
    profile_dirs: ProfilesOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Plan training to a target accuracy: batch, recipe, epochs, time and cost for each number of GPUs.

    The cluster has the failure rate of nodes and the restart time: --set cluster.node_mtbf='90 d', cluster.restart.

    For example:  lbsim plan --model resnet50 --cluster dgx-h100 --target 75% --gpus 8..256 --price '2.5 /h'
    A benchmark:  lbsim plan --model bert-large --target 72%
    Own model:    lbsim plan --model my_model.json --noise-scale my-run --target 92%
    """
    from lbsim.accuracy.benchmark import benchmark_recipe
    from lbsim.accuracy.search import time_to_accuracy, time_to_accuracy_by_laws
    from lbsim.accuracy.training_option import TimeToAccuracyRequest, recipes_for
    from lbsim.accuracy.training_run import FaultModel
    from lbsim.atomic_write import check_writable
    from lbsim.profiles.catalog import Folders

    if figure is not None:
        check_writable(figure)
    benchmark = None if noise_scale else _benchmark(model, recipe, profile_dirs)
    if benchmark is not None and benchmark.trains(model):
        if benchmark.workload is None:
            _print_work(benchmark, target, batch, output)
            return
        model = benchmark.workload
    request = TimeToAccuracyRequest(
        target=_percent("--target", target, "75%") if benchmark is None else benchmark.check_target(target),
        confidence=None if confidence is None else _percent("--confidence", confidence, "90%") / 100,
        deadline=_parsed(TIME, "--deadline", deadline),
        budget=budget,
        price=_parsed(PRICE, "--price", price),
        batch=batch,
    )
    profiles: dict[str, Any] = {"model": model, "cluster": cluster, "software": software, "precision": precision}
    scenario = scenario_from(request_from(gpus=1, **profiles, changes=changes, profile_dirs=profile_dirs))
    faults = FaultModel(seed=seed)
    if noise_scale:
        choices = _from_runs(scenario, _counts(gpus), request, noise_scale, recipe, faults)
    elif benchmark is not None:
        law = benchmark_recipe(benchmark, scenario.model, scenario.workload.samples)
        choices = time_to_accuracy_by_laws(scenario, _counts(gpus), request, {benchmark.name: law}, faults)
    else:
        recipes = recipes_for(scenario.model, recipe, Folders(profile_folders(profile_dirs)))
        choices = time_to_accuracy(scenario, _counts(gpus), request, recipes, faults)
    if figure is not None:
        from lbsim.report.plan import draw

        draw(choices, figure)
    if output is Format.JSON:
        from lbsim.cli.json_plan import choices_json

        print_json(choices_json(choices))
    else:
        from lbsim.cli.tables.plan import choices_table

        print_table(choices_table(choices))


def _benchmark(model: str | None, recipe: str | None, profile_dirs: list[Path] | None) -> "Benchmark | None":
    """Return the benchmark that *recipe* names, or without a recipe that of a *model* with no other recipe."""
    from lbsim.accuracy.benchmark import find
    from lbsim.accuracy.training_option import has_recipe
    from lbsim.profiles.catalog import Folders

    name = model or _DEFAULT_MODEL
    folders = Folders(profile_folders(profile_dirs))
    return None if has_recipe(name, recipe, folders) else find(name, recipe)


def _print_work(benchmark: "Benchmark", target: str, batch: int | None, output: Format) -> None:
    """Print the work to *target* by batch of a benchmark whose model has no workload."""
    from lbsim.cli.benchmark_work import work_json, work_table

    benchmark.check_target(target)
    if output is Format.JSON:
        print_json(work_json(benchmark, batch))
    else:
        print_table(work_table(benchmark, batch))


def _from_runs(
    scenario: "Scenario",
    gpus: list[int],
    request: "TimeToAccuracyRequest",
    runs: list[Path],
    recipe: str | None,
    faults: "FaultModel",
) -> "TimeToAccuracy":
    """Return the options by the noise scale that the user's training *runs* measured, not by published recipes."""
    from lbsim.accuracy.noise_scale_law import recipe_of_runs
    from lbsim.accuracy.search import time_to_accuracy_by_laws

    if recipe is not None:
        raise InputError(
            f"--recipe {recipe} and --noise-scale exclude each other: the run is the recipe; give one of them"
        )
    measured, law = recipe_of_runs(runs, scenario.model, scenario.workload.samples, request.target)
    return time_to_accuracy_by_laws(scenario, gpus, request, {measured.name: (measured, law)}, faults)


def _percent(option: str, text: str, example: str) -> float:
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = 0.0
    if not 1 < value < 100:  # a share, 0.75, is refused too
        raise InputError(f"{option} {text}: write a percentage between 1 and 100, e.g. {option} {example}")
    return value


def _parsed(dimension: Dimension, option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = dimension.parse(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    if value <= 0:
        raise InputError(f"{option} {text}: it must be more than zero; write e.g. '{dimension.example}'")
    return value


def _counts(text: str) -> list[int]:
    """Return the numbers of GPUs that *text* lists.

    >>> _counts("8..64"), _counts("4, 12")
    ([8, 16, 32, 64], [4, 12])
    """
    wrong = InputError(f"--gpus {text}: write numbers of GPUs, e.g. 8,16,32, or 8..1024 for doublings")
    try:
        if ".." in text:
            least, most = (int(part) for part in text.split(".."))
            counts = [least * 2**power for power in range(32) if least * 2**power <= most] if least > 0 else []
        else:
            counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise wrong from None
    if not counts or min(counts) < 1:
        raise wrong
    return counts
