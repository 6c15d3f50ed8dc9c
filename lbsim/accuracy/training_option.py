"""Training options: a recipe, batch and number of epochs per number of GPUs, with time, cost and probability."""

from collections.abc import Mapping
from dataclasses import dataclass

from lbsim.accuracy.benchmark import benchmarks
from lbsim.accuracy.convergence_law import ConvergenceLaw, Estimate
from lbsim.accuracy.recipe import Recipe
from lbsim.accuracy.training_run import TrainingRun
from lbsim.errors import InputError, unknown_name
from lbsim.profiles.catalog import SHIPPED, Folders
from lbsim.simulation.prediction import Prediction

__all__ = ["RecipeLaws", "TimeToAccuracy", "TimeToAccuracyRequest", "TrainingOption", "has_recipe", "recipes_for"]

_HOUR = 3600.0

RecipeLaws = Mapping[str, tuple[Recipe, ConvergenceLaw]]
"""Recipes and their convergence laws, by name of the recipe."""


@dataclass(frozen=True)
class TimeToAccuracyRequest:
    """A target accuracy and the constraints on reaching it."""

    target: float
    """Top-1 accuracy, percent; or the target of a benchmark."""
    confidence: float | None = None
    """Share of runs required to reach the target; None if the target is the expected accuracy, which half miss."""
    deadline: float | None = None
    """Longest training time, seconds."""
    budget: float | None = None
    """Highest cost, in the currency of the price."""
    price: float | None = None
    """Price per GPU and second."""
    batch: int | None = None
    """Samples per step over all GPUs; None to choose the batch."""


@dataclass(frozen=True)
class TrainingOption:
    """One recipe, batch and number of epochs that reach the target on one number of GPUs."""

    recipe: Recipe
    prediction: Prediction
    epochs: float
    top1: Estimate
    """Top-1 accuracy after these epochs, percent."""
    probability: float
    """Probability that a run reaches the target, from the uncertainty of the accuracy and the share of failed runs."""
    run: TrainingRun
    statistical_efficiency: float
    """Ratio of the fewest epochs to the target, over all recipes at their smallest batches, to the epochs here."""
    beyond_evidence: bool
    """Whether the batch is outside the range of the recipe's evidence."""
    cost: float | None
    """Expected cost with reruns, in the currency of the price."""
    epochs_to_target: Estimate | None = None
    """Epochs to the target with a 90 % interval, for a law that is fitted to epochs to a target."""
    on_front: bool = False
    """Whether no other option is both faster and cheaper."""

    @property
    def gpus(self) -> int:
        """Number of GPUs."""
        return self.prediction.scenario.plan.gpus

    @property
    def batch(self) -> int:
        """Samples per step over all GPUs."""
        return self.prediction.scenario.plan.batch

    @property
    def gpu_hours(self) -> float:
        """Expected GPU-hours, with reruns."""
        return self.gpus * self.run.mean_time_with_reruns / _HOUR

    @property
    def goodput(self) -> float:
        """Throughput times statistical efficiency: samples per second at a small batch that train equally fast."""
        return self.prediction.throughput * self.statistical_efficiency


@dataclass(frozen=True)
class TimeToAccuracy:
    """The fastest option per number of GPUs, and the option chosen under the request's constraints."""

    request: TimeToAccuracyRequest
    options: tuple[TrainingOption, ...]
    refused: dict[int, str]
    """Reason per number of GPUs without an option."""
    chosen: TrainingOption
    """Cheapest option that meets deadline and budget; without them the fastest."""

    @property
    def gpus_of_highest_goodput(self) -> int:
        """Number of GPUs with the highest goodput, beyond which more GPUs do not help."""
        return max(self.options, key=lambda option: option.goodput).gpus


def has_recipe(model: str, name: str | None = None, folders: Folders = SHIPPED) -> bool:
    """Return whether there is a recipe called *name*, or without a name one of *model*."""
    if name is not None:
        return name in folders.files("recipes")
    return any(Recipe.load(known, folders).model == model for known in folders.files("recipes"))


def recipes_for(model: str, name: str | None = None, folders: Folders = SHIPPED) -> list[Recipe]:
    """Return the recipe called *name*, or without a name all recipes of *model* that are not marked unresolved.

    InputError if there is no such recipe, if it is for another model, or if *model* has none.
    """
    every = [Recipe.load(known, folders) for known in sorted(folders.files("recipes"))]
    if name is not None and name not in {recipe.name for recipe in every}:
        raise unknown_name(name, "lbsim/accuracy/recipes", [*(recipe.name for recipe in every), *benchmarks()])
    of_model = [recipe for recipe in every if recipe.model == model]
    if not of_model:
        known = sorted({recipe.model for recipe in every} | {benchmark.model for benchmark in benchmarks().values()})
        raise InputError(f"no recipe for '{model}'; there are recipes for: {', '.join(known)}")
    if name is None:
        return [recipe for recipe in of_model if recipe.unresolved is None]
    named = [recipe for recipe in of_model if recipe.name == name]
    if not named:
        raise InputError(f"recipe '{name}' is not for '{model}'; there are: {', '.join(r.name for r in of_model)}")
    return named
