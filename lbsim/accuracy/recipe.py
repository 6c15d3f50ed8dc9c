"""A published training recipe and its evidence: what was trained with which constants, and how good it became."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lbsim.profiles.profile import Profile, Table, Text

Percent = Annotated[float, Field(ge=0, le=100)]
RateRule = Literal["linear", "square-root", "fixed"]


class Evidence(Table):
    """One published result of a recipe."""

    id: Text
    """Of its row in ``lbsim/accuracy/evidence/convergence.csv``, where one stands there."""
    batch: int = Field(ge=1)
    epochs: float = Field(gt=0)
    top1: Percent
    """Single crop, on the validation set."""
    rate: float | None = Field(default=None, gt=0)
    """Peak learning rate."""
    warm_up: float | None = Field(default=None, ge=0)
    """Epochs; if none, the recipe's."""
    diverged: bool = False
    source: Text
    locator: Text


class Optimizer(Table):
    """An update rule and its constants; none where the source does not say."""

    name: Literal["sgd", "lars", "rmsprop-to-sgd"]
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float | None = Field(default=None, ge=0)
    trust: float | None = Field(default=None, gt=0)
    """LARS's ρ."""


class Rate(Table):
    """How the peak learning rate follows from the batch: *at* for a batch of *at_batch*, else by *rule*."""

    rule: RateRule
    at: float = Field(gt=0)
    at_batch: int = Field(ge=1)

    def peak(self, batch: int) -> float:
        """Return the peak rate for *batch*.

        >>> Rate(rule="linear", at=0.1, at_batch=256).peak(8192)
        3.2
        """
        exponent = {"linear": 1.0, "square-root": 0.5, "fixed": 0.0}[self.rule]
        return float(self.at * (batch / self.at_batch) ** exponent)


class Recipe(Profile):
    """One recipe as its authors published it. None says that the source does not."""

    kind: ClassVar[str] = "recipes"

    model: Text
    """A file in ``lbsim/workload/models``."""
    dataset: Text = "imagenet-1k"
    batch_least: int = Field(ge=1)
    batch_most: int = Field(ge=1)
    """Batches between which the recipe may be used: those of its evidence, and those its authors say it covers."""
    optimizer: Optimizer
    rate: Rate | None = None
    warm_up: float | None = Field(default=None, ge=0)
    """Epochs."""
    schedule: Literal["constant", "gradual-warm-up", "polynomial-decay", "slow-start"] | None = None
    epochs: float = Field(gt=0)
    not_decayed: tuple[Literal["bias", "batch-norm"], ...] | None = None
    """What weight decay leaves alone."""
    precision: Literal["fp32", "mixed"] | None = None
    batch_norm: Text | None = None
    """How it is initialised, whose statistics it uses, where it stands."""
    penalty: Literal["lars", "linear-scaling"]
    """The law by which a larger batch needs more epochs; see `lbsim.accuracy.convergence`."""
    unresolved: Text | None = None
    """What the sources contradict or leave open, if that keeps `lbsim plan` from choosing the recipe."""
    evidence: tuple[Evidence, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _within_its_range(self) -> "Recipe":
        for row in self.evidence:
            if not self.batch_least <= row.batch <= self.batch_most:
                raise ValueError(f"evidence {row.id}: batch {row.batch} is not between batch_least and batch_most")
        return self

    @property
    def results(self) -> tuple[Evidence, ...]:
        """The evidence of runs that trained."""
        return tuple(row for row in self.evidence if not row.diverged)

    @property
    def best(self) -> str:
        """The best result in a few words."""
        best = max(self.results, key=lambda row: row.top1)
        return f"{self.model}, {best.top1:g} % top-1 at batch {best.batch:,} in {best.epochs:g} epochs"

    def peak_rate(self, batch: int) -> float | None:
        """Return the peak rate published for *batch*, else by the rule, else of the nearest batch published."""
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
