"""``lbsim plan``: how long until the model is good, on how many GPUs, with which recipe.

What the command alone needs is imported where it is used: late, for start-up time alone; matplotlib for a figure only.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbsim.cli.options import (
    Changes,
    Cluster,
    Format,
    Model,
    OutputFormat,
    OwnProfiles,
    Precision,
    Software,
    own_folders,
    question_of,
    scenario_of,
)
from lbsim.cli.terminal import print_json, print_table
from lbsim.errors import InputError
from lbsim.units import PRICE, TIME, Dimension

if TYPE_CHECKING:
    from lbsim.accuracy.training_option import TimeToAccuracy, TimeToAccuracyRequest
    from lbsim.accuracy.training_run import FaultModel
    from lbsim.scenario.scenario import Scenario


def plan(
    target: Annotated[str, typer.Option(metavar="PERCENT", help="Top-1 accuracy to reach, e.g. 75%.")],
    gpus: Annotated[
        str, typer.Option(metavar="LIST", help="Numbers of GPUs: '8,16,32', or '8..1024' for doublings.")
    ] = "8..1024",
    model: Model = None,
    cluster: Cluster = None,
    software: Software = None,
    precision: Precision = None,
    changes: Changes = None,
    confidence: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Of runs that are to reach the target. Default: about half, as expected."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of lbsim profiles list recipes. Default: the best.")
    ] = None,
    noise_scale: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="Output folder of a run of the harness with --noise-scale-every, which takes the place of recipes and "
            "their evidence; repeatable.",
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Samples a step, over all GPUs. Default: the best.")] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="TIME", help="E.g. '1 h': choose the cheapest in time.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="MONEY", help="In the price's currency: choose the quickest within it.")
    ] = None,
    price: Annotated[str | None, typer.Option(metavar="PRICE", help="Of a GPU, e.g. '2.5 /h'.")] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated runs.")] = 0,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw time and goodput against GPUs.")] = None,
    own: OwnProfiles = None,
    output: OutputFormat = Format.TABLE,
) -> None:
    """Plan training to a target accuracy: batch, recipe, epochs, time and cost for each number of GPUs.

    How often a node fails is the cluster's: --set cluster.node_mtbf='90 d', and so cluster.restart.

    For example:  lbsim plan --model resnet50 --cluster dgx-h100 --target 75% --gpus 8..256 --price '2.5 /h'
    Of your own:  lbsim plan --model my_model.json --noise-scale my-run --target 92%
    """
    from lbsim.accuracy.search import time_to_accuracy
    from lbsim.accuracy.training_option import TimeToAccuracyRequest, recipes_for
    from lbsim.accuracy.training_run import FaultModel
    from lbsim.profiles.catalog import Folders

    request = TimeToAccuracyRequest(
        target=_percent("--target", target, "75%"),
        confidence=None if confidence is None else _percent("--confidence", confidence, "90%") / 100,
        deadline=_parsed(TIME, "--deadline", deadline),
        budget=budget,
        price=_parsed(PRICE, "--price", price),
        batch=batch,
    )
    asked: dict[str, Any] = {"model": model, "cluster": cluster, "software": software, "precision": precision}
    scenario = scenario_of(question_of(gpus=1, **asked, changes=changes, own=own))
    faults = FaultModel(seed=seed)
    if noise_scale:
        choices = _from_runs(scenario, _counts(gpus), request, noise_scale, recipe, faults)
    else:
        mine = recipes_for(scenario.model, recipe, Folders(own_folders(own)))
        choices = time_to_accuracy(scenario, _counts(gpus), request, mine, faults)
    if figure is not None:
        from lbsim.report.plan import draw

        draw(choices, figure)
    if output is Format.JSON:
        from lbsim.cli.json_plan import of_choices

        print_json(of_choices(choices))
    else:
        from lbsim.cli.tables.plan import of_choices as table_of_choices

        print_table(table_of_choices(choices))


def _from_runs(
    scenario: "Scenario",
    gpus: list[int],
    request: "TimeToAccuracyRequest",
    runs: list[Path],
    recipe: str | None,
    faults: "FaultModel",
) -> "TimeToAccuracy":
    """Return the choices that the user's own *runs* leave."""
    from lbsim.accuracy.noise_scale_law import recipe_of_runs
    from lbsim.accuracy.search import time_to_accuracy_by_laws

    if recipe is not None:
        raise InputError(f"--recipe {recipe} and --noise-scale: the run is the recipe; give one of them")
    own, law = recipe_of_runs(runs, scenario.model, scenario.workload.samples, request.target)
    return time_to_accuracy_by_laws(scenario, gpus, request, {own.name: (own, law)}, faults)


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
