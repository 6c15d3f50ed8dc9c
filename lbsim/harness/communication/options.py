"""How gradients travel, as a user says it."""

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from lbsim.errors import from_validation_error, unknown_name
from lbsim.harness.communication import collectives
from lbsim.profiles.profile import Table
from lbsim.scenario.plan import FusionPolicy, Plan
from lbsim.units import Bytes, BytesPerSecond, Seconds

Precision = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def _known(given: str) -> str:
    if given not in collectives.NAMES:
        raise unknown_name(given, "the harness's all-reduce algorithms", collectives.NAMES)
    return given


def _parts(given: object) -> object:
    return tuple(part for part in given.split(",") if part) if isinstance(given, str) else given


class CommunicationOptions(Table):
    """How gradients travel. ``CommunicationOptions.of`` makes one of what a user wrote."""

    all_reduce: Annotated[str, BeforeValidator(_known)] = "backend"
    group_size: int | None = Field(default=None, ge=1)
    """Ranks of a group, in algorithms that have groups; if none, a machine's."""
    hybrid_threshold: Bytes = 4 * 2.0**20
    """Buffers of at least this much go by the backend's own algorithm in a hybrid all-reduce."""
    fusion: FusionPolicy = "threshold"
    """Of lbsim's policies; horovod, mg-wfbp and optimal plan by times, taken in the first steps or from a trace."""
    fusion_threshold: Bytes = 25 * 2.0**20
    fusion_split: Annotated[tuple[int, ...], BeforeValidator(_parts)] = ()
    """Gradient tensors, counted from the input and from 1, after which buffers are cut."""
    fusion_cycle: Seconds = 1e-3
    """Gradients that become ready within one of Horovod's cycles travel together, here as soon as the last is ready."""
    fusion_warm_up: int = Field(default=4, ge=1)
    """Steps, by threshold, in which a policy that plans by times takes them; of several the first does not count."""
    fusion_trace: Path | None = None
    """Takes the times from this trace instead. Measured, a run sums as another only where it goes on from it."""
    fusion_latency: Seconds | None = None
    """Of a link, from which a ring all-reduce's cost follows; if it is not given, the all-reduce is timed."""
    fusion_bandwidth: BytesPerSecond | None = None
    """Of a link, one direction."""
    precision: Precision = "fp32"
    """Of the gradients that travel. They are divided by the ranks first, so that their sum stays in range."""
    overlap: bool = True
    order: Literal["backward", "measured"] = "backward"
    """In which order gradients are taken to become ready: that of the parameters, backwards, or that of the first step,
    which a checkpoint keeps."""
    timeout: Seconds = 300.0
    """How long to wait for another rank."""

    @classmethod
    def of(cls, **given: Any) -> "CommunicationOptions":
        """Return the options that are *given*; InputError if they make no sense."""
        try:
            return cls(**given)
        except ValidationError as error:
            raise from_validation_error(error) from None

    @model_validator(mode="after")
    def _split_says_where(self) -> "CommunicationOptions":
        if self.fusion == "split" and not self.fusion_split:
            raise ValueError("fusion split needs fusion_split, the tensors to cut after, e.g. 76")
        return self

    @model_validator(mode="after")
    def _link_is_whole(self) -> "CommunicationOptions":
        if (self.fusion_latency is None) != (self.fusion_bandwidth is None):
            raise ValueError("fusion_latency and fusion_bandwidth are of one link; give both, or neither to time it")
        return self

    @property
    def timed(self) -> bool:
        """Whether the fusion policy plans by times."""
        return self.fusion in {"horovod", "mg-wfbp", "optimal"}

    def plan(self, gpus: int) -> Plan:
        """Return the plan in lbsim's words, as far as fusion needs it."""
        return Plan(
            gpus=gpus,
            communication_precision=self.precision,
            fusion=self.fusion,
            fusion_threshold=self.fusion_threshold,
            fusion_split=self.fusion_split,
            fusion_cycle=self.fusion_cycle,
        )
