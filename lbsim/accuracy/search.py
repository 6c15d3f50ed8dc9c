"""Search for the fastest training to a target accuracy: recipe, batch and epochs for each number of GPUs."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from lbsim.accuracy.convergence_law import MOST_EPOCHS, ConvergenceLaw
from lbsim.accuracy.recipe import Recipe
from lbsim.accuracy.recipe_law import law_of
from lbsim.accuracy.training_option import RecipeLaws, TimeToAccuracy, TimeToAccuracyRequest, TrainingOption
from lbsim.accuracy.training_run import FaultModel, training_run
from lbsim.compute.memory import check_fits
from lbsim.compute.roofline import compute_times
from lbsim.errors import InputError
from lbsim.predict import predict
from lbsim.scenario.scenario import Scenario, override
from lbsim.simulation.anchor import anchor_factor
from lbsim.simulation.prediction import Prediction
from lbsim.simulation.step_result import simulate_step
from lbsim.units import TIME

__all__ = ["time_to_accuracy", "time_to_accuracy_by_laws"]

_BATCHES_TRIED = 7
"""Batches per number of GPUs, the largest that fit in memory: smaller ones are slower and save few epochs."""
_HALF = 0.5


class _Goal(NamedTuple):
    """Top-1 accuracy, in percent, and the share of the runs that do not fail which must reach it."""

    top1: float
    share: float


def time_to_accuracy(
    scenario: Scenario,
    gpus: Iterable[int],
    request: TimeToAccuracyRequest,
    recipes: Sequence[Recipe],
    faults: FaultModel | None = None,
) -> TimeToAccuracy:
    """Return the fastest training that meets *request* on each number of *gpus*, with one of *recipes*.

    InputError if none does; its text names the nearest possible target, batch, deadline or budget.
    """
    laws = {recipe.name: (recipe, law_of(recipe)) for recipe in recipes}
    return time_to_accuracy_by_laws(scenario, gpus, request, laws, faults)


def time_to_accuracy_by_laws(
    scenario: Scenario,
    gpus: Iterable[int],
    request: TimeToAccuracyRequest,
    laws: RecipeLaws,
    faults: FaultModel | None = None,
) -> TimeToAccuracy:
    """Return `time_to_accuracy` for recipes whose convergence *laws* are given."""
    faults = faults or FaultModel()
    laws = _extrapolated(laws, request.batch, scenario.workload.samples)
    goal = _goal(request, faults)
    _check_target(goal, laws)
    found, refused = [], {}
    for count in sorted(set(gpus)):
        try:
            found.append(_best(override(scenario, {"plan.gpus": count}), request, goal, laws, faults=faults))
        except InputError as error:
            refused[count] = str(error)
    if not found:
        raise InputError(next(iter(refused.values())))
    options = tuple(replace(option, on_front=not any(_beats(other, option) for other in found)) for option in found)
    return TimeToAccuracy(request, options, refused, _chosen(options, request))


def _extrapolated(laws: RecipeLaws, batch: int | None, samples: int) -> RecipeLaws:
    """Return *laws*, with recipes that cover *batch* if it is from 1 to half of the *samples* and none does."""
    if batch is None or not 1 <= batch <= samples // 2 or any(recipe.covers(batch) for recipe, _ in laws.values()):
        return laws
    return {name: (recipe.extended_to(batch), law) for name, (recipe, law) in laws.items()}


def _beats(one: TrainingOption, other: TrainingOption) -> bool:
    """Return whether *one* is at least as fast and as cheap as *other*, and not equal in both."""
    mine, others = (one.run.time.value, one.gpu_hours), (other.run.time.value, other.gpu_hours)
    return mine != others and mine[0] <= others[0] and mine[1] <= others[1]


def _goal(request: TimeToAccuracyRequest, faults: FaultModel) -> _Goal:
    """Return the goal of *request*; a failed run counts as one below the target."""
    if request.confidence is None:
        return _Goal(request.target, _HALF)
    most = 1 - faults.failure_share
    if request.confidence >= most:
        raise InputError(
            f"--confidence {request.confidence:.0%}: {faults.failure_share:.1%} of runs fail whatever their number of "
            f"epochs; write less than {most:.1%}"
        )
    return _Goal(request.target, request.confidence / most)


def _check_target(goal: _Goal, laws: RecipeLaws) -> None:
    """Raise InputError if no recipe reaches *goal* at any of its batches; the error names the nearest recipe."""
    reached: list[tuple[float, Recipe, int]] = []
    for recipe, law in laws.values():
        for batch in {recipe.batch_least, recipe.batch_most, *(row.batch for row in recipe.results)}:
            if _epochs(law, batch, goal) is not None:
                return
            reached.append((law.top1_of(goal.share, batch, MOST_EPOCHS), recipe, batch))
    best, recipe, batch = max(reached, key=lambda candidate: candidate[0])
    how = "is expected to reach" if goal.share == _HALF else f"reaches in {goal.share:.0%} of runs that do not fail"
    raise InputError(
        f"--target {goal.top1:g}%: no recipe reaches it within {MOST_EPOCHS:g} epochs; the best, {recipe.name} at "
        f"batch {batch:,}, {how} {best:.1f}%"
    )


@lru_cache(maxsize=4096)
def _epochs(law: ConvergenceLaw, batch: int, goal: _Goal) -> float | None:
    epochs = law.epochs_to(batch, goal.top1, goal.share)
    return epochs if epochs is not None and epochs <= law.most_epochs else None


def _best(
    scenario: Scenario, request: TimeToAccuracyRequest, goal: _Goal, laws: RecipeLaws, *, faults: FaultModel
) -> TrainingOption:
    """Return the option with the shortest fault-free time, over batches and recipes, on the GPUs of *scenario*."""
    recipes = [recipe for recipe, _ in laws.values()]
    candidates: list[tuple[float, Scenario, str, float]] = []
    fitting, problem = _fitting(scenario, _batches_per_gpu(scenario.plan.gpus, request.batch, recipes))
    for variant in fitting:
        schedules = list(_schedules(variant.plan.batch, goal, laws))
        if schedules:
            throughput = variant.plan.batch / _step_time(variant)
            candidates += [(epochs / throughput, variant, name, epochs) for name, epochs in schedules]
    if not candidates:
        raise problem if problem and not fitting else InputError(_why_none(scenario.plan.gpus, request, recipes))
    _, best, name, epochs = min(candidates, key=lambda candidate: candidate[0])
    fewest = _fewest_epochs(laws, goal)
    return _option(predict(best), laws[name], epochs, request=request, fewest=fewest, faults=faults)


def _step_time(scenario: Scenario) -> float:
    times = compute_times(scenario)
    return simulate_step(scenario, times.scaled(anchor_factor(scenario, times)), scenario.plan.gpus).timeline.step_time


def _fitting(scenario: Scenario, batches_per_gpu: Sequence[int]) -> tuple[list[Scenario], InputError | None]:
    """Return *scenario* with each of the largest batches that fit in memory, and the error of the next larger."""
    fits: list[Scenario] = []
    problem: InputError | None = None
    for batch_per_gpu in batches_per_gpu:
        try:
            variant = override(scenario, {"plan.batch_per_gpu": batch_per_gpu})
            check_fits(variant)
        except InputError as error:
            problem = error
            break
        fits.append(variant)
    return fits[-_BATCHES_TRIED:], problem


def _schedules(batch: int, goal: _Goal, laws: RecipeLaws) -> Iterator[tuple[str, float]]:
    """Yield the name and the epochs of each recipe that reaches *goal* at *batch*."""
    for name, (recipe, law) in laws.items():
        if recipe.covers(batch):
            epochs = _epochs(law, batch, goal)
            if epochs is not None:
                yield name, epochs


def _batches_per_gpu(gpus: int, batch: int | None, recipes: Sequence[Recipe]) -> list[int]:
    """Return the batches per GPU to try: powers of two and batches of the evidence that a recipe covers."""
    if batch is not None:
        if batch % gpus:
            near = max(gpus, round(batch / gpus) * gpus)
            raise InputError(f"--batch {batch:,} is not a multiple of {gpus:,} GPUs; the nearest is {near:,}")
        return [batch // gpus]
    exact = {row.batch // gpus for recipe in recipes for row in recipe.results if row.batch % gpus == 0}
    candidates = sorted(exact | {2**power for power in range(13)})
    return [each for each in candidates if any(recipe.covers(each * gpus) for recipe in recipes)]


def _why_none(gpus: int, request: TimeToAccuracyRequest, recipes: Sequence[Recipe]) -> str:
    least, most = min(r.batch_least for r in recipes), max(r.batch_most for r in recipes)
    if request.batch is not None and not least <= request.batch <= most:
        return f"--batch {request.batch:,}: no recipe covers it; they cover {least:,} to {most:,}"
    if gpus > most:
        return f"{gpus:,} GPUs: no recipe covers a batch so large; with one sample each, use {most:,} GPUs or fewer"
    return f"{gpus:,} GPUs: no recipe reaches {request.target:g}% within {MOST_EPOCHS:g} epochs at a batch that fits"


def _option(
    prediction: Prediction,
    recipe_law: tuple[Recipe, ConvergenceLaw],
    epochs: float,
    *,
    request: TimeToAccuracyRequest,
    fewest: float,
    faults: FaultModel,
) -> TrainingOption:
    recipe, law = recipe_law
    plan = prediction.scenario.plan
    run = training_run(prediction, epochs, faults)
    return TrainingOption(
        recipe=recipe,
        prediction=prediction,
        epochs=epochs,
        top1=law.top1(plan.batch, epochs),
        probability=law.share_of_runs(plan.batch, epochs, request.target) * (1 - faults.failure_share),
        run=run,
        epochs_to_target=law.epochs_to_target(plan.batch),
        statistical_efficiency=fewest / epochs,
        beyond_evidence=law.beyond_evidence(plan.batch),
        cost=None if request.price is None else request.price * plan.gpus * run.mean_time_with_reruns,
    )


def _fewest_epochs(laws: RecipeLaws, goal: _Goal) -> float:
    """Return the fewest epochs to *goal* over all recipes, each at the smallest batch that it covers."""
    every = [_epochs(law, recipe.batch_least, goal) for recipe, law in laws.values()]
    return min((epochs for epochs in every if epochs is not None), default=MOST_EPOCHS)


def _chosen(options: Sequence[TrainingOption], request: TimeToAccuracyRequest) -> TrainingOption:
    """Return the cheapest option within deadline and budget; the fastest if there is no deadline."""
    if request.budget is not None and request.price is None:
        raise InputError("--budget needs a price; write e.g. --price '2.5 /h'")
    if request.deadline is None and request.budget is None:
        return min(options, key=_time)
    in_time = _in_time(options, request.deadline or math.inf)
    budget = request.budget or math.inf
    affordable = [option for option in in_time if _cost(option) <= budget]
    if not affordable:
        cheapest = min(in_time, key=_cost)
        raise InputError(
            f"--budget {budget:g} is too small; the cheapest in time costs {_cost(cheapest):.4g} on "
            f"{cheapest.gpus:,} GPUs"
        )
    return min(affordable, key=_gpu_hours if request.budget is None else _time)


def _in_time(options: Sequence[TrainingOption], deadline: float) -> list[TrainingOption]:
    in_time = [option for option in options if _time(option) <= deadline]
    if not in_time:
        fastest = min(options, key=_time)
        raise InputError(
            f"--deadline {TIME.short(deadline, 3)} is not met; the fastest is {TIME.short(_time(fastest), 3)} "
            f"on {fastest.gpus:,} GPUs"
        )
    return in_time


def _time(option: TrainingOption) -> float:
    return option.run.time.value


def _gpu_hours(option: TrainingOption) -> float:
    return option.gpu_hours


def _cost(option: TrainingOption) -> float:
    return option.cost or 0.0
