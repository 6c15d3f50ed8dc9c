"""The user's choices: how many GPUs, which batch, precision, fusion, all-reduce and recipe."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from lbsim.profiles.hardware import Precision
from lbsim.profiles.module_catalog import find_module
from lbsim.profiles.profile import Table
from lbsim.units import Bytes, Seconds

FusionPolicy = Literal["none", "one-buffer", "threshold", "ddp", "horovod", "split", "mg-wfbp", "optimal"]
OptimizerKind = Literal["sgd", "lars", "adam", "lamb"]


def _all_reduce_name(given: object) -> object:
    if isinstance(given, str):
        find_module("all_reduce", given)
    return given


AllReduceName = Annotated[str, BeforeValidator(_all_reduce_name)]
"""The name of a file in ``lbsim/communication/all_reduce``."""


def _numbers(given: object) -> object:
    return tuple(part.strip() for part in given.split(",")) if isinstance(given, str) else given


class Plan(Table):
    """How the training is run. Every field has a default but the number of GPUs."""

    gpus: int = Field(ge=1)
    batch_per_gpu: int = Field(default=64, ge=1)
    precision: Precision = "mixed"
    communication_precision: Literal["fp32", "fp16", "bf16"] | None = None
    """Of the gradients that travel; if none, that of the gradients: fp16 when mixed, bf16 when bf16, else fp32."""
    all_reduce: AllReduceName = "ring"
    group_size: int | None = Field(default=None, ge=1)
    """GPUs of a group in a hierarchical all-reduce; if none, a node's."""
    fusion: FusionPolicy = "threshold"
    fusion_threshold: Bytes = 25 * 2.0**20
    """A fusion buffer is sent as soon as it holds this much."""
    fusion_first: Bytes = 2.0**20
    """With ``fusion = "ddp"``: what the first buffer is sent at."""
    fusion_cycle: Seconds = 1e-3
    """With ``fusion = "horovod"``: how often the coordinator looks for what is ready."""
    fusion_negotiation: Seconds = 0.0
    """With ``fusion = "horovod"``: to hear each rank before a buffer is sent."""
    fusion_split: Annotated[tuple[int, ...], BeforeValidator(_numbers)] = ()
    """With ``fusion = "split"``: gradient tensors, counted from the input and from 1, after which buffers are cut."""
    overlap: bool = True
    """Whether communication starts while backward still runs."""
    optimizer: OptimizerKind = "sgd"
    epochs: float = Field(default=90, gt=0, allow_inf_nan=False)
    validate_each_epoch: bool = False
    """Whether time to train includes a pass over the validation set after each epoch."""
    startup: Seconds = 0.0
    """Time before the first step that time to train includes."""
    seed: int = Field(default=0, ge=0)
    """Of what is drawn by chance when ranks are simulated one by one."""

    @model_validator(mode="after")
    def _split_says_where(self) -> "Plan":
        if self.fusion == "split" and not self.fusion_split:
            raise ValueError("fusion = 'split' needs fusion_split, e.g. --set plan.fusion_split=76")
        return self

    @property
    def batch(self) -> int:
        """Samples a step, over all GPUs."""
        return self.gpus * self.batch_per_gpu

    @property
    def gradient_precision(self) -> Literal["fp32", "fp16", "bf16"]:
        """The number format in which gradients travel."""
        own: dict[Precision, Literal["fp32", "fp16", "bf16"]]
        own = {"fp32": "fp32", "tf32": "fp32", "mixed": "fp16", "bf16": "bf16"}
        return self.communication_precision or own[self.precision]
