"""Traces: what was measured, how and on what, with every sample and each rank's timeline.

A trace is JSON in SI units. The harness writes it, the readers make it of other tools' output, calibration fits to it.
"""

from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from lbsim.atomic_write import write_atomically
from lbsim.errors import InputError, from_validation_error
from lbsim.profiles.profile import Table, Text

SCHEMA = 1
_A_DAY = 86_400.0

Time = Annotated[float, Field(ge=0, le=_A_DAY, allow_inf_nan=False)]
"""Seconds; a day is more than any step, buffer or pause takes."""
Setting = str | int | float | bool | None


class Evidence(Table):
    """On what, with what and when a trace was taken; what does not apply is none."""

    command: Text
    date: Text
    """ISO 8601, with its offset from UTC."""
    commit: Text
    """Of lbsim; ``-dirty`` if the checkout differed from it."""
    host: Text
    cpu: Text
    cpus: int = Field(ge=1)
    """That the process may run on."""
    load: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Processes that ran or waited for a processor, over the minute before: well above 0, others were at work."""
    threads: int = Field(ge=1)
    """That one process computes with."""
    python: Text
    torch: Text
    backend: Literal["gloo", "nccl", "none"]
    """Of communication."""
    gpu: Text | None = None
    driver: Text | None = None
    cuda: Text | None = None
    nccl: Text | None = None


class TraceEntry(Table):
    """One thing, measured many times under the same settings."""

    quantity: Text
    """E.g. ``all_reduce``, ``step_time``, ``forward``, ``layer.forward``."""
    subject: str = ""
    """What it belongs to: a layer, a buffer, a direction; nothing if it is the whole."""
    settings: dict[str, Setting] = Field(default_factory=dict)
    """What was chosen, in SI units: ``message``, ``gpus``, ``all_reduce``, ``precision``, ``batch_per_gpu`` ..."""
    samples: Annotated[tuple[Time, ...], Field(min_length=1)]
    """Seconds, each one measured, in the order in which they were."""

    @property
    def median(self) -> float:
        """Seconds."""
        return median(self.samples)


class Gradient(Table):
    """When one rank's backward had made a gradient."""

    name: Text
    elements: int = Field(ge=1)
    ready: Time | None
    """Seconds after the rank's step began; none for a parameter that took no part in the step."""


class Buffer(Table):
    """When one rank sent a fusion buffer and had it back, reduced."""

    tensors: Annotated[tuple[Text, ...], Field(min_length=1)]
    message: float = Field(gt=0, allow_inf_nan=False)
    """Bytes."""
    all_reduce: Text
    """The algorithm that carried it; ``backend`` is the communication library's own choice."""
    ready: Time
    """Seconds after the rank's step began, as the next two: when its last gradient was there."""
    sent: Time
    """When it was packed and given to the first collective."""
    received: Time

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.ready <= self.sent <= self.received:
            raise ValueError(f"received: a buffer is ready ({self.ready}), sent ({self.sent}), received, in this order")
        return self


class RankTimeline(Table):
    """One step of one rank."""

    rank: int = Field(ge=0)
    step: int = Field(ge=0)
    began: float = Field(ge=0, allow_inf_nan=False)
    """Seconds since 1970 by the rank's own clock."""
    marks: dict[str, Time] = Field(default_factory=dict)
    """Seconds after it began when parts of the step ended: ``forward``, ``backward``, ``all_reduce``, ``step``."""
    gradients: tuple[Gradient, ...] = ()
    """In the order in which the plan sends them."""
    buffers: tuple[Buffer, ...] = ()


class Trace(Table):
    """What one run measured."""

    version: int = SCHEMA
    measured: Literal["step", "all-reduce", "scaling"]
    evidence: Evidence
    gpus: int = Field(ge=1)
    """Ranks; accelerators, or processes where there are none."""
    settings: dict[str, Setting] = Field(default_factory=dict)
    """What all observations share, in SI units."""
    observations: tuple[TraceEntry, ...] = ()
    timelines: tuple[RankTimeline, ...] = ()

    @field_validator("version", mode="before")
    @classmethod
    def _is_readable(cls, given: Any) -> Any:
        if given != SCHEMA or isinstance(given, bool):
            raise ValueError(f"{given!r} is another schema than this lbsim reads, which is {SCHEMA}")
        return given

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.observations and not self.timelines:
            raise ValueError("neither observations nor timelines: nothing was measured")
        strange = [timeline.rank for timeline in self.timelines if timeline.rank >= self.gpus]
        if strange:
            raise ValueError(f"timelines: rank {strange[0]} of {self.gpus} ranks, which count from 0")
        return self


def read_trace(file: Path) -> Trace:
    """Return the trace in *file*; InputError names the file and the first field that is wrong."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from None
    return parse_trace(text, file)


def parse_trace(text: str | bytes, file: Path) -> Trace:
    """Return the trace that *text*, the content of *file*, is; InputError names the first field that is wrong."""
    try:
        return Trace.model_validate_json(text)
    except ValidationError as error:
        raise _fault(error, file) from None


def write_trace(trace: Trace, file: Path) -> None:
    """Write *trace* to *file* whole or not at all."""
    write_atomically(trace.model_dump_json(indent=1, exclude_defaults=False) + "\n", file)


def _fault(error: ValidationError, file: Path) -> InputError:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "json_invalid":
        return InputError(f"{file}: {fault['msg']}")
    if fault["type"] == "extra_forbidden":
        return InputError(f"{file}: no field '{where}' in a trace of schema {SCHEMA}")
    return from_validation_error(error, str(file))
