"""Choices of recipe, batch and GPUs, and the wish they answer."""

from collections.abc import Mapping
from dataclasses import dataclass

from lbsim.accuracy.convergence import Estimate, Law
from lbsim.accuracy.recipe import Recipe
from lbsim.accuracy.run_time import TrainingRun
from lbsim.errors import InputError, unknown_name
from lbsim.profiles.catalog import SHIPPED, Folders
from lbsim.simulation.prediction import Prediction

_HOUR = 3600.0


Searched = Mapping[str, tuple[Recipe, Law]]
"""Recipes and their laws, by name."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of training."""

    target: float
    """Top-1, percent."""
    confidence: float | None = None
    """The share of runs that are to be at or above the target; if none, it is what is expected, and half are below."""
    deadline: float | None = None
    """Seconds."""
    budget: float | None = None
    """In the currency of the price."""
    price: float | None = None
    """Of a GPU for a second."""
    batch: int | None = None
    """Samples a step over all GPUs; if none, the best."""


@dataclass(frozen=True)
class Choice:
    """One way to the target on one number of GPUs."""

    recipe: Recipe
    prediction: Prediction
    epochs: float
    top1: Estimate
    """Expected after these epochs, with 90 %."""
    chance: float
    """That a run is at or above the target: the accuracy's doubt, and runs that never arrive."""
    run: TrainingRun
    efficiency: float
    """The fewest epochs to the target of any recipe at its smallest batch, over the epochs here."""
    beyond: bool
    """Whether the batch is not between those of the recipe's evidence."""
    cost: float | None
    """Expected, reruns included."""
    needed: Estimate | None = None
    """Epochs to the target, with 90 %, where runs of one's own take the evidence's place."""
    on_front: bool = False
    """Whether no other choice is both quicker and cheaper."""

    @property
    def gpus(self) -> int:
        """How many."""
        return self.prediction.scenario.plan.gpus

    @property
    def batch(self) -> int:
        """Samples a step, over all GPUs."""
        return self.prediction.scenario.plan.batch

    @property
    def gpu_hours(self) -> float:
        """Expected, reruns included."""
        return self.gpus * self.run.mean_with_reruns / _HOUR

    @property
    def goodput(self) -> float:
        """Samples a second times statistical efficiency: what a small batch would have to train to learn as fast."""
        return self.prediction.throughput * self.efficiency


@dataclass(frozen=True)
class Choices:
    """The best choice for each number of GPUs that has one."""

    wish: Wish
    choices: tuple[Choice, ...]
    refused: dict[int, str]
    """Numbers of GPUs without a choice, and why."""
    chosen: Choice
    """The cheapest that meets deadline and budget; without them the quickest."""

    @property
    def most_useful_gpus(self) -> int:
        """The number of GPUs with the highest goodput: more of those asked about do not help."""
        return max(self.choices, key=lambda choice: choice.goodput).gpus


def recipes_for(model: str, name: str | None = None, folders: Folders = SHIPPED) -> list[Recipe]:
    """Return the recipes of *model*: the one named, or all whose sources leave nothing open."""
    every = [Recipe.load(known, folders) for known in sorted(folders.files("recipes"))]
    if name is not None and name not in {recipe.name for recipe in every}:
        raise unknown_name(name, "lbsim/accuracy/recipes", (recipe.name for recipe in every))
    mine = [recipe for recipe in every if recipe.model == model]
    if not mine:
        raise InputError(f"no recipe for '{model}'; there are for: {', '.join(sorted({r.model for r in every}))}")
    if name is None:
        return [recipe for recipe in mine if recipe.unresolved is None]
    named = [recipe for recipe in mine if recipe.name == name]
    if not named:
        raise InputError(f"recipe '{name}' is not for '{model}'; there are: {', '.join(r.name for r in mine)}")
    return named
