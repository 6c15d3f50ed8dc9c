"""Plan of a training run: GPUs, batch, precision, fusion, all-reduce, optimizer and epochs."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from lbsim.profiles.hardware import Precision
from lbsim.profiles.module_catalog import find_module
from lbsim.profiles.profile import Table
from lbsim.units import Bytes, Seconds

__all__ = ["AllReduceName", "FusionPolicy", "OptimizerKind", "Plan"]

FusionPolicy = Literal["none", "one-buffer", "threshold", "ddp", "horovod", "split", "mg-wfbp", "optimal"]
OptimizerKind = Literal["sgd", "lars", "adam", "lamb"]


def _all_reduce_name(given: object) -> object:
    if isinstance(given, str):
        find_module("all_reduce", given)
    return given


AllReduceName = Annotated[str, BeforeValidator(_all_reduce_name)]
"""Name of a module in ``lbsim/communication/all_reduce``."""


def _numbers(given: object) -> object:
    return tuple(part.strip() for part in given.split(",")) if isinstance(given, str) else given


class Plan(Table):
    """Choices of the user. Every field except *gpus* has a default."""

    gpus: int = Field(ge=1)
    batch_per_gpu: int = Field(default=64, ge=1)
    """Samples per GPU and step."""
    precision: Precision = "mixed"
    """Precision of compute."""
    communication_precision: Literal["fp32", "fp16", "bf16"] | None = None
    """Number format of gradients in messages; None takes fp16 for mixed, bf16 for bf16, otherwise fp32."""
    all_reduce: AllReduceName = "ring"
    group_size: int | None = Field(default=None, ge=1)
    """GPUs per group in a hierarchical all-reduce; None takes the GPUs per node."""
    fusion: FusionPolicy = "threshold"
    fusion_threshold: Bytes = 25 * 2.0**20
    """Bytes at which a fusion buffer is sent."""
    fusion_first: Bytes = 2.0**20
    """Bytes at which the first buffer is sent, with ``fusion = "ddp"``."""
    fusion_cycle: Seconds = 1e-3
    """Seconds between two cycles of the coordinator, with ``fusion = "horovod"``."""
    fusion_negotiation: Seconds = 0.0
    """Seconds of negotiation per rank and buffer, with ``fusion = "horovod"``."""
    fusion_split: Annotated[tuple[int, ...], BeforeValidator(_numbers)] = ()
    """Tensors after which buffers are split, counted from the input and from 1, with ``fusion = "split"``."""
    overlap: bool = True
    """Whether communication overlaps with backward."""
    optimizer: OptimizerKind = "sgd"
    epochs: float = Field(default=90, gt=0, allow_inf_nan=False)
    validate_each_epoch: bool = False
    """Whether time to train includes a pass over the validation set after each epoch."""
    startup: Seconds = 0.0
    """Seconds before the first step that time to train includes."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random numbers in the per-rank simulation."""

    @model_validator(mode="after")
    def _split_needs_tensors(self) -> "Plan":
        if self.fusion == "split" and not self.fusion_split:
            raise ValueError("fusion = 'split' needs fusion_split, e.g. --set plan.fusion_split=76")
        return self

    @property
    def batch(self) -> int:
        """Samples per step over all GPUs."""
        return self.gpus * self.batch_per_gpu

    @property
    def gradient_precision(self) -> Literal["fp32", "fp16", "bf16"]:
        """Number format of gradients in messages."""
        default: dict[Precision, Literal["fp32", "fp16", "bf16"]]
        default = {"fp32": "fp32", "tf32": "fp32", "mixed": "fp16", "bf16": "bf16"}
        return self.communication_precision or default[self.precision]
