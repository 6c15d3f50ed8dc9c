"""How long until a model is good: for each number of GPUs the batch, the recipe and the epochs that get there first."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from lbsim.accuracy.choice import Choice, Choices, Searched, Wish
from lbsim.accuracy.convergence import MOST_EPOCHS, Law, law_of
from lbsim.accuracy.recipe import Recipe
from lbsim.accuracy.run_time import Faults, training_run
from lbsim.compute.memory import check_fits
from lbsim.compute.roofline import compute_times
from lbsim.errors import InputError
from lbsim.predict import predict
from lbsim.scenario.scenario import Scenario, override
from lbsim.simulation.anchor import anchor_factor
from lbsim.simulation.prediction import Prediction
from lbsim.simulation.step_result import simulate_step
from lbsim.units import TIME

_TRIED = 7
"""Batches for each number of GPUs, the largest that fit: a smaller one is slower and saves few epochs."""
_HALF = 0.5


class _Goal(NamedTuple):
    """What epochs are for: a share of the runs that arrive is to have this top-1 in percent."""

    top1: float
    share: float


def time_to_accuracy(
    scenario: Scenario, gpus: Iterable[int], wish: Wish, recipes: Sequence[Recipe], faults: Faults | None = None
) -> Choices:
    """Return the quickest way to *wish* on each number of *gpus*; InputError names the nearest that is possible."""
    return by_laws(scenario, gpus, wish, {recipe.name: (recipe, law_of(recipe)) for recipe in recipes}, faults)


def by_laws(
    scenario: Scenario, gpus: Iterable[int], wish: Wish, searched: Searched, faults: Faults | None = None
) -> Choices:
    """Return `time_to_accuracy` for recipes that come with their laws."""
    faults = faults or Faults()
    goal = _goal(wish, faults)
    _check_target(goal, searched)
    found, refused = [], {}
    for count in sorted(set(gpus)):
        try:
            found.append(_best(override(scenario, {"plan.gpus": count}), wish, goal, searched, faults=faults))
        except InputError as error:
            refused[count] = str(error)
    if not found:
        raise InputError(next(iter(refused.values())))
    marked = tuple(replace(choice, on_front=not any(_beats(other, choice) for other in found)) for choice in found)
    return Choices(wish, marked, refused, _chosen(marked, wish))


def _beats(one: Choice, other: Choice) -> bool:
    mine, others = (one.run.time.value, one.gpu_hours), (other.run.time.value, other.gpu_hours)
    return mine != others and mine[0] <= others[0] and mine[1] <= others[1]


def _goal(wish: Wish, faults: Faults) -> _Goal:
    """Return what epochs are for; a run that never arrives counts as one below the target."""
    if wish.confidence is None:
        return _Goal(wish.target, _HALF)
    most = 1 - faults.never_arrives
    if wish.confidence >= most:
        raise InputError(
            f"--confidence {wish.confidence:.0%}: {faults.never_arrives:.1%} of runs never arrive, however many epochs "
            f"they have; write less than {most:.1%}"
        )
    return _Goal(wish.target, wish.confidence / most)


def _check_target(goal: _Goal, searched: Searched) -> None:
    """Raise InputError if no recipe reaches *goal* at any of its batches, naming the one that comes nearest."""
    reached: list[tuple[float, Recipe, int]] = []
    for recipe, law in searched.values():
        for batch in {recipe.batch_least, recipe.batch_most, *(row.batch for row in recipe.results)}:
            if _epochs(law, batch, goal) is not None:
                return
            reached.append((law.top1_of(goal.share, batch, MOST_EPOCHS), recipe, batch))
    best, recipe, batch = max(reached, key=lambda one: one[0])
    how = "is expected to reach" if goal.share == _HALF else f"reaches in {goal.share:.0%} of runs that arrive"
    raise InputError(
        f"--target {goal.top1:g}%: no recipe reaches it within {MOST_EPOCHS:g} epochs; the best, {recipe.name} at "
        f"batch {batch:,}, {how} {best:.1f}%"
    )


@lru_cache(maxsize=4096)
def _epochs(law: Law, batch: int, goal: _Goal) -> float | None:
    epochs = law.epochs_to(batch, goal.top1, goal.share)
    return epochs if epochs is not None and epochs <= law.most_epochs else None


def _best(scenario: Scenario, wish: Wish, goal: _Goal, searched: Searched, *, faults: Faults) -> Choice:
    """Return the choice whose steps take least time, of every batch and recipe, on the GPUs of *scenario*."""
    recipes = [recipe for recipe, _ in searched.values()]
    options: list[tuple[float, Scenario, str, float]] = []
    fitting, problem = _fitting(scenario, _batches_per_gpu(scenario.plan.gpus, wish.batch, recipes))
    for one in fitting:
        schedules = list(_schedules(one.plan.batch, goal, searched))
        if schedules:
            throughput = one.plan.batch / _step_time(one)
            options += [(epochs / throughput, one, name, epochs) for name, epochs in schedules]
    if not options:
        raise problem if problem and not fitting else InputError(_why_none(scenario.plan.gpus, wish, recipes))
    _, best, name, epochs = min(options, key=lambda option: option[0])
    return _choice(predict(best), searched[name], epochs, wish=wish, fewest=_fewest(searched, goal), faults=faults)


def _step_time(scenario: Scenario) -> float:
    times = compute_times(scenario)
    return simulate_step(scenario, times.scaled(anchor_factor(scenario, times)), scenario.plan.gpus).timeline.step_time


def _fitting(scenario: Scenario, batches_per_gpu: Sequence[int]) -> tuple[list[Scenario], InputError | None]:
    """Return *scenario* with each batch that fits the memory, the largest few, and why the next larger does not."""
    fits: list[Scenario] = []
    problem: InputError | None = None
    for batch_per_gpu in batches_per_gpu:
        try:
            one = override(scenario, {"plan.batch_per_gpu": batch_per_gpu})
            check_fits(one)
        except InputError as error:
            problem = error
            break
        fits.append(one)
    return fits[-_TRIED:], problem


def _schedules(batch: int, goal: _Goal, searched: Searched) -> Iterator[tuple[str, float]]:
    """Yield each recipe that reaches *goal* at *batch*, with its epochs."""
    for name, (recipe, law) in searched.items():
        if recipe.batch_least <= batch <= recipe.batch_most:
            epochs = _epochs(law, batch, goal)
            if epochs is not None:
                yield name, epochs


def _batches_per_gpu(gpus: int, batch: int | None, recipes: Sequence[Recipe]) -> list[int]:
    """Return doublings, and what gives a batch with evidence, as far as a recipe covers them."""
    if batch is not None:
        if batch % gpus:
            near = max(gpus, round(batch / gpus) * gpus)
            raise InputError(f"--batch {batch:,} is no multiple of {gpus:,} GPUs; the nearest is {near:,}")
        return [batch // gpus]
    exact = {row.batch // gpus for recipe in recipes for row in recipe.results if row.batch % gpus == 0}
    return [
        each
        for each in sorted(exact | {2**power for power in range(13)})
        if any(recipe.batch_least <= each * gpus <= recipe.batch_most for recipe in recipes)
    ]


def _why_none(gpus: int, wish: Wish, recipes: Sequence[Recipe]) -> str:
    least, most = min(r.batch_least for r in recipes), max(r.batch_most for r in recipes)
    if wish.batch is not None and not least <= wish.batch <= most:
        return f"--batch {wish.batch:,}: no recipe covers it; they cover {least:,} to {most:,}"
    if gpus > most:
        return f"{gpus:,} GPUs: no recipe covers a batch so large; with one sample each, use {most:,} GPUs or fewer"
    return f"{gpus:,} GPUs: no recipe reaches {wish.target:g}% within {MOST_EPOCHS:g} epochs at a batch that fits"


def _choice(
    prediction: Prediction, how: tuple[Recipe, Law], epochs: float, *, wish: Wish, fewest: float, faults: Faults
) -> Choice:
    recipe, law = how
    plan = prediction.scenario.plan
    run = training_run(prediction, epochs, faults)
    return Choice(
        recipe=recipe,
        prediction=prediction,
        epochs=epochs,
        top1=law.top1(plan.batch, epochs),
        chance=law.share_of_runs(plan.batch, epochs, wish.target) * (1 - faults.never_arrives),
        run=run,
        needed=law.needed(plan.batch),
        efficiency=fewest / epochs,
        beyond=law.beyond(plan.batch),
        cost=None if wish.price is None else wish.price * plan.gpus * run.mean_with_reruns,
    )


def _fewest(searched: Searched, goal: _Goal) -> float:
    """Return the fewest epochs to *goal* of any recipe, at the smallest batch that it covers."""
    every = [_epochs(law, recipe.batch_least, goal) for recipe, law in searched.values()]
    return min((epochs for epochs in every if epochs is not None), default=MOST_EPOCHS)


def _chosen(choices: Sequence[Choice], wish: Wish) -> Choice:
    """Return the cheapest choice in time for the deadline and within the budget; without either, the quickest."""
    if wish.budget is not None and wish.price is None:
        raise InputError("--budget needs a price; write e.g. --price '2.5 /h'")
    if wish.deadline is None and wish.budget is None:
        return min(choices, key=lambda choice: choice.run.time.value)
    deadline, budget = wish.deadline or math.inf, wish.budget or math.inf
    in_time = [choice for choice in choices if choice.run.time.value <= deadline]
    if not in_time:
        best = min(choices, key=lambda choice: choice.run.time.value)
        raise InputError(
            f"--deadline {TIME.short(deadline, 3)} is not met; the quickest is {TIME.short(best.run.time.value, 3)} "
            f"on {best.gpus:,} GPUs"
        )
    affordable = [choice for choice in in_time if (choice.cost or 0.0) <= budget]
    if not affordable:
        least = min(in_time, key=lambda choice: choice.cost or 0.0)
        raise InputError(
            f"--budget {budget:g} is too small; the cheapest in time costs {least.cost:.4g} on {least.gpus:,} GPUs"
        )
    key = (lambda choice: choice.gpu_hours) if wish.budget is None else (lambda choice: choice.run.time.value)
    return min(affordable, key=key)
