"""Published choices of batch and GPUs, compared with those of ``lbsim plan``."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lbsim.accuracy.search import time_to_accuracy
from lbsim.accuracy.training_option import TimeToAccuracyRequest, TrainingOption, recipes_for
from lbsim.measurements.case import read_case_file
from lbsim.profiles.catalog import PUBLISHED_CASES
from lbsim.scenario.request import build_scenario
from lbsim.scenario.scenario import Scenario

__all__ = [
    "ALEXNET",
    "ALEXNET_BN",
    "PUBLISHED_CHOICES",
    "ChoiceComparison",
    "PublishedChoice",
    "compare",
    "over_front",
    "write_table",
]

ALEXNET = 58
"""Target of the slides, percent. They print 58.4 % at batch 4,096. Jia et al. print 58.6 % for You et al. at 32,768:
the law, which has the slides' 58.4 and 58.3 at 4,096 and 8,192 too, expects 58.2 % and gives 58.6 % 143 epochs."""
ALEXNET_BN = 60.2
"""Accuracy of the slides at batch 512, percent. They print 60.4 % at 4,096, more than their 60.1 % at 8,192."""
KNL = (256, 512, 1024, 2048, 4096)
SKX = {"cluster": "stampede2-skx"}
CONVOLUTIONS_APART = {"plan.fusion_split": [20]}
"""Fusion split of AlexNet-BN; see traces/published/jia2018.toml."""


@dataclass(frozen=True)
class PublishedChoice:
    """A published training run: machine, recipe, chosen batch and GPUs, epochs and time."""

    name: str
    case: str
    """Name of a file in traces/published, whose scenario is the machine and the software of the source."""
    recipe: str
    target: float
    """Top-1 accuracy in percent that the source prints for this batch; for AlexNet see the constants above."""
    gpus: int
    batch: int
    epochs: float
    minutes: float
    tried: tuple[int, ...]
    """Numbers of GPUs that the plan may choose from, around the published one."""
    model: str = "resnet50"
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scenario(self) -> Scenario:
        """Scenario of the published machine and software, without the number of GPUs and the batch."""
        tables = read_case_file(PUBLISHED_CASES / f"{self.case}.toml").scenario
        return build_scenario(tables, {"model": self.model, **self.changes})


PUBLISHED_CHOICES = (
    PublishedChoice(
        "Goyal et al.", "goyal2017", "goyal2017-resnet50-sgd", 76.26, 256, 8192, 90, 60, (32, 64, 128, 256, 512)
    ),
    PublishedChoice(
        "Akiba et al.", "akiba2017", "akiba2017-resnet50-rmsprop", 74.9, 1024, 32768, 90, 15, (128, 256, 512, 1024)
    ),
    PublishedChoice("Codreanu et al.", "codreanu2017", "codreanu2017-resnet50-sgd", 75.3, 1024, 32768, 90, 42, KNL),
    PublishedChoice(
        "You et al., 512", "you2017_imagenet_minutes", "you2017-resnet50-lars", 75.4, 512, 32768, 90, 60, KNL
    ),
    PublishedChoice(
        "You et al., 2,048", "you2017_imagenet_minutes", "you2017-resnet50-lars", 75.4, 2048, 32768, 90, 20, KNL
    ),
    PublishedChoice(
        "You et al., 64 epochs", "you2017_imagenet_minutes", "you2017-resnet50-lars", 74.9, 2048, 32768, 64, 14, KNL
    ),
    PublishedChoice(
        "You et al., CPU",
        "you2017_imagenet_minutes",
        "you2017-resnet50-lars",
        75.4,
        1024,
        32768,
        90,
        48,
        (128, 256, 512, 1024),
        changes=SKX,
    ),
    PublishedChoice(
        "You et al., AlexNet",
        "you2017_imagenet_minutes",
        "you2017-alexnet-lars",
        ALEXNET,
        1024,
        32768,
        100,
        11,
        (128, 256, 512, 1024),
        "alexnet",
        SKX,
    ),
    PublishedChoice(
        "Jia et al., 1,024", "jia2018", "jia2018-resnet50-lars", 76.2, 1024, 65536, 90, 8.7, (128, 256, 512, 1024, 2048)
    ),
    PublishedChoice(
        "Jia et al., 2,048", "jia2018", "jia2018-resnet50-lars", 76.2, 2048, 65536, 90, 6.6, (128, 256, 512, 1024, 2048)
    ),
    PublishedChoice(
        "Jia et al., AlexNet, 512",
        "jia2018",
        "jia2018-alexnet-pool5-bn-lars",
        58.8,
        512,
        65536,
        95,
        5,
        (128, 256, 512, 1024, 2048),
        "alexnet-bn",
        CONVOLUTIONS_APART,
    ),
    PublishedChoice(
        "Jia et al., AlexNet, 1,024",
        "jia2018",
        "jia2018-alexnet-pool5-bn-lars",
        58.7,
        1024,
        65536,
        95,
        4,
        (128, 256, 512, 1024, 2048),
        "alexnet-bn",
        CONVOLUTIONS_APART,
    ),
    PublishedChoice(
        "LARS slides, AlexNet",
        "you2017_lars_slides",
        "you2017-alexnet-lars",
        ALEXNET,
        8,
        4096,
        100,
        130.9,
        (1, 2, 4, 8),
        "alexnet",
    ),
    PublishedChoice(
        "LARS slides, AlexNet-BN",
        "you2017_lars_slides",
        "you2017-alexnet-bn-lars",
        ALEXNET_BN,
        8,
        4096,
        100,
        139.4,
        (1, 2, 4, 8),
        "alexnet-bn",
    ),
)


@dataclass(frozen=True)
class ChoiceComparison:
    """A published choice compared with the choice of `lbsim plan`; the fields are the columns of the report's table."""

    seed: str
    gpus: int
    target: float
    batch: int
    batch_planned: int
    """Batch of the plan on the same number of GPUs, with the published recipe."""
    epochs: float
    epochs_at_batch: float
    """Epochs of the plan at the published batch."""
    minutes_published: float
    minutes_predicted: float
    """Predicted minutes of the published batch and GPUs with those epochs, validation, checkpoints and failures."""
    time_over_front: float
    """Time over that of the fastest option of the front that costs no more GPU-hours."""
    gpu_hours_over_front: float
    """GPU-hours over those of the cheapest option of the front that takes no longer."""
    free_recipe: str
    """Recipe of the plan on the same number of GPUs if every recipe is allowed."""
    free_batch: int
    free_epochs: float
    free_minutes: float

    @property
    def over_front(self) -> float:
        """Larger of the two ratios; 1 is on the front."""
        return max(self.time_over_front, self.gpu_hours_over_front)


def compare(published: PublishedChoice) -> ChoiceComparison:
    """Return the comparison of *published* with the plan for its target on its machine."""
    own = recipes_for(published.model, published.recipe)
    chosen = time_to_accuracy(
        published.scenario, [published.gpus], TimeToAccuracyRequest(published.target, batch=published.batch), own
    ).chosen
    planned = time_to_accuracy(
        published.scenario, published.tried, TimeToAccuracyRequest(published.target), own
    ).options
    free = time_to_accuracy(
        published.scenario, [published.gpus], TimeToAccuracyRequest(published.target), recipes_for(published.model)
    ).chosen
    beside = next(option for option in planned if option.gpus == published.gpus)
    time, gpu_hours = over_front(chosen, [option for option in planned if option.on_front])
    return ChoiceComparison(
        seed=published.name,
        gpus=published.gpus,
        target=published.target,
        batch=published.batch,
        batch_planned=beside.batch,
        epochs=published.epochs,
        epochs_at_batch=chosen.epochs,
        minutes_published=published.minutes,
        minutes_predicted=minutes(chosen),
        time_over_front=round(time, 3),
        gpu_hours_over_front=round(gpu_hours, 3),
        free_recipe=free.recipe.name,
        free_batch=free.batch,
        free_epochs=free.epochs,
        free_minutes=minutes(free),
    )


def minutes(choice: TrainingOption) -> float:
    """Return the minutes of *choice*, with three significant digits."""
    return float(f"{choice.run.time.value / 60:.3g}")


def over_front(choice: TrainingOption, front: Sequence[TrainingOption]) -> tuple[float, float]:
    """Return time and GPU-hours of *choice* over the lowest of the options of *front* that are better in both."""
    better = [one for one in front if one.run.time.value <= choice.run.time.value and one.gpu_hours <= choice.gpu_hours]
    time = min([one.run.time.value for one in better], default=choice.run.time.value)
    gpu_hours = min([one.gpu_hours for one in better], default=choice.gpu_hours)
    return choice.run.time.value / time, choice.gpu_hours / gpu_hours


def write_table(comparisons: Sequence[ChoiceComparison], file: Path) -> None:
    """Write *comparisons* to *file* as CSV, one row each."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(asdict(comparisons[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, comparisons))
