"""Everything that `train` can be told; all ranks must be told the same."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from lbsim.profiles.profile import Table
from lbsim.units import Seconds

Precision = Literal["fp32", "tf32", "mixed", "bf16"]
OptimizerName = Literal["sgd", "lars", "rmsprop-to-sgd"]
ScheduleName = Literal["constant", "gradual-warm-up", "polynomial-decay", "slow-start"]

_SCHEDULE_OF: dict[OptimizerName, ScheduleName] = {
    "sgd": "gradual-warm-up",
    "lars": "polynomial-decay",
    "rmsprop-to-sgd": "slow-start",
}


class TrainOptions(Table):
    """One training run."""

    model: str = "resnet50"
    data: str = "synthetic"
    folder: Path | None = None
    """Of images, with ``train`` and ``val`` inside, a folder a class."""
    batch_per_gpu: int = Field(default=32, ge=1)
    epochs: float = Field(default=90, gt=0, allow_inf_nan=False)
    steps: int | None = Field(default=None, ge=1)
    """Stop after so many, for a trial; the schedule still runs over all epochs."""
    optimizer: OptimizerName = "lars"
    schedule: ScheduleName | None = None
    """If none, the one that the optimizer's authors used."""
    rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """At its peak; if none, 0.1 for every 256 samples of the batch."""
    warm_up: float = Field(default=5, ge=0, allow_inf_nan=False)
    """Epochs."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0, allow_inf_nan=False)
    decay_vectors: bool = False
    """Whether biases and normalisation parameters decay too."""
    trust: float = Field(default=0.001, gt=0, allow_inf_nan=False)
    """LARS's ρ."""
    precision: Precision = "fp32"
    loss_scale: float = Field(default=2.0**16, ge=1, allow_inf_nan=False)
    """Of mixed precision, at the start."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: str = "plain"
    communication: tuple[str, ...] = ()
    """KEY=VALUE for the engine."""
    seed: int = Field(default=0, ge=0)
    output: Path = Path("harness-run")
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps."""
    patience: Seconds = Field(default=300.0, ge=1)
    """How long a rank may stand still before the others stop."""
    watch_every: int = Field(default=0, ge=0)
    """Steps between two looks at the layers; 0 is never."""
    watch_activation: str | None = None
    noise_scale_every: int = Field(default=0, ge=0)
    """Steps between two measurements of the gradient noise scale; 0 is never."""
    tensorboard: bool = False

    @property
    def schedule_used(self) -> ScheduleName:
        """The schedule given, or the optimizer's."""
        return self.schedule or _SCHEDULE_OF[self.optimizer]

    def recipe(self) -> dict[str, object]:
        """Return what decides the losses, as plain values: what a checkpoint and every rank must agree on."""
        bystanders = {
            "output",
            "checkpoint_every",
            "patience",
            "watch_every",
            "watch_activation",
            "noise_scale_every",
            "tensorboard",
            "steps",
        }
        return self.model_dump(mode="json", exclude=bystanders)
