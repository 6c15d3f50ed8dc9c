"""Published training recipes and their results: optimizer, schedule, batch range, and accuracy reached."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lbsim.profiles.profile import Profile, Table, Text

__all__ = ["LearningRate", "OptimizerName", "OptimizerSettings", "PenaltyName", "PublishedResult", "Recipe"]

Percent = Annotated[float, Field(ge=0, le=100)]
OptimizerName = Literal["sgd", "lars", "rmsprop-to-sgd", "lamb", "adam", "adamw", "adagrad", "not stated"]
PenaltyName = Literal["lars", "linear-scaling"]


class PublishedResult(Table):
    """One published result of a recipe."""

    id: Text
    """Identifier of its row in ``lbsim/accuracy/evidence/convergence.csv``, if it has one."""
    batch: int = Field(ge=1)
    """Samples per step over all GPUs."""
    epochs: float = Field(gt=0)
    top1: Percent
    """Single-crop top-1 accuracy on the validation set, percent."""
    rate: float | None = Field(default=None, gt=0)
    """Peak learning rate."""
    warm_up: float | None = Field(default=None, ge=0)
    """Epochs of warm-up; None for the recipe's."""
    diverged: bool = False
    source: Text
    locator: Text


class OptimizerSettings(Table):
    """An optimizer and its hyper-parameters; None where the source does not give one."""

    name: OptimizerName
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float | None = Field(default=None, ge=0)
    trust: float | None = Field(default=None, gt=0)
    """Trust coefficient of LARS."""


class LearningRate(Table):
    """Scaling rule of the peak learning rate: *at* for a batch of *at_batch*, scaled by *rule* for others."""

    rule: Literal["linear", "square-root", "fixed"]
    at: float = Field(gt=0)
    at_batch: int = Field(ge=1)
    """Samples per step over all GPUs."""

    def peak(self, batch: int) -> float:
        """Return the peak learning rate for *batch*, samples per step over all GPUs.

        >>> LearningRate(rule="linear", at=0.1, at_batch=256).peak(8192)
        3.2
        """
        exponent = {"linear": 1.0, "square-root": 0.5, "fixed": 0.0}[self.rule]
        return float(self.at * (batch / self.at_batch) ** exponent)


class Recipe(Profile):
    """A recipe as its authors published it; None where the source does not give a value."""

    kind: ClassVar[str] = "recipes"

    model: Text
    """Name of a module in ``lbsim/workload/models``."""
    dataset: Text = "imagenet-1k"
    batch_least: int = Field(ge=1)
    """Smallest batch for which the recipe may be used: of its evidence, or the smallest that its authors state."""
    batch_most: int = Field(ge=1)
    """Largest batch for which the recipe may be used: of its evidence, or the largest that its authors state."""
    optimizer: OptimizerSettings
    rate: LearningRate | None = None
    warm_up: float | None = Field(default=None, ge=0)
    """Epochs of warm-up."""
    schedule: Literal["constant", "gradual-warm-up", "polynomial-decay", "slow-start"] | None = None
    epochs: float = Field(gt=0)
    not_decayed: tuple[Literal["bias", "batch-norm"], ...] | None = None
    """Parameters exempt from weight decay."""
    precision: Literal["fp32", "mixed"] | None = None
    batch_norm: Text | None = None
    """Initialisation, statistics and position of batch normalisation."""
    penalty: PenaltyName
    """Prior of the penalty of a large batch; see `lbsim.accuracy.convergence_fit`."""
    unresolved: Text | None = None
    """Contradictions or gaps in the sources that exclude the recipe from ``lbsim plan`` unless it is named."""
    evidence: tuple[PublishedResult, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _within_its_range(self) -> "Recipe":
        for row in self.evidence:
            if not self.batch_least <= row.batch <= self.batch_most:
                raise ValueError(f"evidence {row.id}: batch {row.batch} is not between batch_least and batch_most")
        return self

    @property
    def results(self) -> tuple[PublishedResult, ...]:
        """Results of the runs that did not diverge."""
        return tuple(row for row in self.evidence if not row.diverged)

    @property
    def best(self) -> str:
        """Summary of the best result."""
        best = max(self.results, key=lambda row: row.top1)
        return f"{self.model}, {best.top1:g} % top-1 at batch {best.batch:,} in {best.epochs:g} epochs"

    def covers(self, batch: int) -> bool:
        """Return whether the recipe may be used at *batch*."""
        return self.batch_least <= batch <= self.batch_most

    def extended_to(self, batch: int) -> Self:
        """Return the recipe with *batch* inside its range."""
        least, most = min(self.batch_least, batch), max(self.batch_most, batch)
        return self.model_copy(update={"batch_least": least, "batch_most": most})

    def peak_rate(self, batch: int) -> float | None:
        """Return the peak learning rate for *batch*: published, else by the scaling rule, else of the nearest batch."""
        known = [row for row in self.results if row.rate is not None]
        for row in sorted(known, key=lambda row: -row.top1):
            if row.batch == batch:
                return row.rate
        if self.rate is not None:
            return self.rate.peak(batch)
        return min(known, key=lambda row: abs(row.batch - batch)).rate if known else None

    def warm_up_for(self, batch: int) -> float | None:
        """Return the epochs of warm-up published for *batch*, else the recipe's."""
        return next(
            (row.warm_up for row in self.results if row.batch == batch and row.warm_up is not None), self.warm_up
        )
