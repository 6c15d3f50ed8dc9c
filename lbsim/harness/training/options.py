"""Options of a training run; all ranks must have the same."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from lbsim.profiles.profile import Table
from lbsim.units import Seconds

__all__ = ["OptimizerName", "ScheduleName", "TrainOptions", "TrainingPrecision"]

TrainingPrecision = Literal["fp32", "tf32", "mixed", "bf16"]
OptimizerName = Literal["sgd", "lars", "rmsprop-to-sgd"]
ScheduleName = Literal["constant", "gradual-warm-up", "polynomial-decay", "slow-start"]

_LARGEST = 1e6
"""Largest accepted epochs, rate, coefficient and seconds; products of them are far from overflow in fp32."""
_DEFAULT_SCHEDULE: dict[OptimizerName, ScheduleName] = {
    "sgd": "gradual-warm-up",
    "lars": "polynomial-decay",
    "rmsprop-to-sgd": "slow-start",
}


class TrainOptions(Table):
    """Options of a training run."""

    model: str = "resnet50"
    """Name of a model of the harness, or ``module:callable``."""
    data: str = "synthetic"
    """Name of the data: synthetic, digits, mnist5k or images."""
    folder: Path | None = None
    """Folder of images, with ``train`` and ``val`` inside, each with one folder per class."""
    batch_per_gpu: int = Field(default=32, ge=1, le=2**31)
    """Samples per step and rank."""
    epochs: float = Field(default=90, gt=0, le=_LARGEST)
    """Epochs of the run and of the schedule."""
    steps: int | None = Field(default=None, ge=1)
    """Steps after which to stop, for a trial; the schedule still covers all epochs."""
    optimizer: OptimizerName = "lars"
    """Update rule."""
    schedule: ScheduleName | None = None
    """Learning-rate schedule; None for the one that the optimizer's authors used."""
    rate: float | None = Field(default=None, gt=0, le=_LARGEST)
    """Peak learning rate; None for 0.1 per 256 samples of the batch."""
    warm_up: float = Field(default=5, ge=0, le=_LARGEST)
    """Epochs of the warm-up."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Coefficient of momentum."""
    weight_decay: float = Field(default=1e-4, ge=0, le=_LARGEST)
    """Coefficient λ of weight decay."""
    decay_vectors: bool = False
    """Whether biases and normalisation parameters decay too."""
    trust: float = Field(default=0.001, gt=0, le=_LARGEST)
    """Trust coefficient ρ of LARS."""
    precision: TrainingPrecision = "fp32"
    """Precision of compute."""
    loss_scale: float = Field(default=2.0**16, ge=1, le=2.0**32)
    """Initial loss scale of mixed precision."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of each rank; auto for a GPU if torch finds one."""
    engine: str = "plain"
    """Engine that averages the gradients, one of `engines.NAMES`."""
    communication: tuple[str, ...] = ()
    """Options of the engine, each ``KEY=VALUE``."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of weights, order of samples, augmentation and dropout."""
    output: Path = Path("harness-run")
    """Folder of checkpoints and tables."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints."""
    patience: Seconds = Field(default=300.0, ge=1, le=_LARGEST)
    """Seconds a rank may make no progress before the others stop."""
    watch_every: int = Field(default=0, ge=0)
    """Steps between rows of layer statistics; 0 for none."""
    watch_activation: str | None = None
    """Name of a layer whose output distribution is logged with the layer statistics."""
    noise_scale_every: int = Field(default=0, ge=0)
    """Steps between measurements of the gradient noise scale; 0 for none."""
    allow_nan: bool = False
    """Whether training goes on with a loss, gradient or weight that is not finite."""
    tensorboard: bool = False
    """Whether the tables are written for TensorBoard too."""

    @property
    def schedule_used(self) -> ScheduleName:
        """The given schedule, or the default of the optimizer."""
        return self.schedule or _DEFAULT_SCHEDULE[self.optimizer]

    def recipe(self) -> dict[str, object]:
        """Return the options that decide the losses, as JSON values; a resumed run must have the same."""
        without_effect = {
            "output",
            "checkpoint_every",
            "patience",
            "watch_every",
            "watch_activation",
            "noise_scale_every",
            "allow_nan",
            "tensorboard",
            "steps",
        }
        return self.model_dump(mode="json", exclude=without_effect)
