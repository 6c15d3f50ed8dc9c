"""Options of gradient communication: all-reduce algorithm, tensor fusion, precision and overlap."""

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from lbsim.errors import from_validation_error, unknown_name
from lbsim.harness.communication import collectives
from lbsim.profiles.profile import Table
from lbsim.scenario.plan import FusionPolicy, Plan
from lbsim.units import Bytes, BytesPerSecond, Seconds

__all__ = ["DTYPES", "CommunicationOptions", "CommunicationPrecision"]

CommunicationPrecision = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[CommunicationPrecision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def _known(name: str) -> str:
    if name not in collectives.NAMES:
        raise unknown_name(name, "the harness's all-reduce algorithms", collectives.NAMES)
    return name


def _split_commas(given: object) -> object:
    return tuple(part for part in given.split(",") if part) if isinstance(given, str) else given


class CommunicationOptions(Table):
    """Options of the engines ``lbsim`` and ``ddp``; `CommunicationOptions.of` parses them from text."""

    all_reduce: Annotated[str, BeforeValidator(_known)] = "backend"
    """Name of the all-reduce algorithm, one of `collectives.NAMES`."""
    group_size: int | None = Field(default=None, ge=1)
    """Ranks per group in algorithms with groups; None for the ranks of one machine."""
    hybrid_threshold: Bytes = 4 * 2.0**20
    """Smallest message in bytes that the hybrid all-reduce sends by the backend's algorithm."""
    fusion: FusionPolicy = "threshold"
    """Fusion policy of lbsim; horovod, mg-wfbp and optimal plan by times, from the first steps or from a trace."""
    fusion_threshold: Bytes = 25 * 2.0**20
    """Bytes at which a fusion buffer is closed."""
    fusion_split: Annotated[tuple[int, ...], BeforeValidator(_split_commas)] = ()
    """Gradient tensors after which buffers are cut, counted from the input and from 1."""
    fusion_cycle: Seconds = 1e-3
    """Seconds per Horovod cycle: gradients that become ready within a cycle share a buffer, sent once all are ready."""
    fusion_warm_up: int = Field(default=4, ge=1)
    """Steps, fused by threshold, in which ready times are measured; the first of several is ignored."""
    fusion_trace: Path | None = None
    """Trace to read ready times from. Measured times make sums reproducible only within a run and its resumptions."""
    fusion_latency: Seconds | None = None
    """Seconds per hop of a link, for the cost of a ring all-reduce; None to measure the all-reduce."""
    fusion_bandwidth: BytesPerSecond | None = None
    """Bytes per second of a link in one direction; None to measure the all-reduce."""
    precision: CommunicationPrecision = "fp32"
    """Precision of the messages. Gradients are divided by the ranks before the cast, so that their sum is in range."""
    overlap: bool = True
    """Whether buffers are sent during the backward pass."""
    order: Literal["backward", "measured"] = "backward"
    """Order in which gradients are expected: the parameters' order reversed, or that of the first step, which a
    checkpoint keeps."""
    timeout: Seconds = 300.0
    """Seconds to wait for another rank."""

    @classmethod
    def of(cls, **given: Any) -> "CommunicationOptions":
        """Return the options *given* as text; InputError, in one line, if one is invalid."""
        try:
            return cls(**given)
        except ValidationError as error:
            raise from_validation_error(error) from None

    @model_validator(mode="after")
    def _require_cuts(self) -> "CommunicationOptions":
        if self.fusion == "split" and not self.fusion_split:
            raise ValueError("fusion split needs fusion_split, the tensors to cut after, e.g. 76")
        return self

    @model_validator(mode="after")
    def _require_both_link_figures(self) -> "CommunicationOptions":
        if (self.fusion_latency is None) != (self.fusion_bandwidth is None):
            raise ValueError("fusion_latency and fusion_bandwidth belong together; give both, or neither to measure it")
        return self

    @property
    def timed(self) -> bool:
        """Whether the fusion policy plans by times."""
        return self.fusion in {"horovod", "mg-wfbp", "optimal"}

    def plan(self, gpus: int) -> Plan:
        """Return lbsim's plan with these fusion options."""
        return Plan(
            gpus=gpus,
            communication_precision=self.precision,
            fusion=self.fusion,
            fusion_threshold=self.fusion_threshold,
            fusion_split=self.fusion_split,
            fusion_cycle=self.fusion_cycle,
        )
