"""Options of the benchmarks, one model per command; the command line and reports build them."""

from pathlib import Path
from typing import Any

from pydantic import Field

from lbsim.errors import InputError, unknown_name
from lbsim.harness import models
from lbsim.harness.bench.model import OPTIMIZERS
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.profiles.profile import Table
from lbsim.units import DATA

__all__ = ["AllReduceOptions", "ScalingOptions", "StepOptions", "parse_shape", "sample_shape"]


class StepOptions(Table):
    """Options of ``bench step``."""

    model: str
    """Name of a model of the harness, or ``module:callable``."""
    shape: tuple[int, ...]
    """Shape of a sample."""
    batches: tuple[int, ...]
    """Samples per step; one measurement each."""
    precisions: tuple[str, ...]
    """Precisions of compute; one measurement each."""
    optimizer: str = "torch-sgd"
    """Update rule, one of `model.OPTIMIZERS`."""
    repeats: int = Field(ge=1)
    """Measured steps."""
    warm_up: int = Field(ge=0)
    """Steps before the measured ones."""

    @classmethod
    def of(cls, given: dict[str, Any]) -> "StepOptions":
        """Return the options of a command line; InputError if one is invalid."""
        batches = tuple(_count("--batches", part) for part in split(given["batches"]))
        if given["optimizer"] not in OPTIMIZERS:
            raise unknown_name(given["optimizer"], "optimizers", OPTIMIZERS)
        shape = sample_shape(given["model"], given["shape"])
        names = ("model", "optimizer", "repeats", "warm_up")
        chosen = {name: given[name] for name in names}
        return cls(shape=shape, batches=batches, precisions=split(given["precisions"]), **chosen)


class AllReduceOptions(Table):
    """Options of ``bench all-reduce``."""

    sizes: tuple[float, ...]
    """Bytes per message; one measurement each."""
    algorithms: tuple[str, ...] = ("backend",)
    """Names of all-reduce algorithms, of `collectives.NAMES`; one measurement each."""
    precisions: tuple[str, ...] = ("fp32",)
    """Precisions of the messages; one measurement each."""
    repeats: int = Field(default=20, ge=1)
    """Measured all-reduces."""
    communication: CommunicationOptions = CommunicationOptions()
    """Group size, hybrid threshold and timeout."""

    @classmethod
    def of(cls, given: dict[str, Any]) -> "AllReduceOptions":
        """Return the options of a command line; InputError if one is invalid."""
        return cls(
            sizes=tuple(_bytes(part) for part in split(given["sizes"])),
            algorithms=split(given["algorithms"]),
            precisions=split(given["precisions"]),
            repeats=given["repeats"],
            communication=CommunicationOptions.of(group_size=given["group_size"], timeout=given["timeout"]),
        )


class ScalingOptions(Table):
    """Options of ``bench scaling``: a model, or with *replay* the times of a trace, and its communication."""

    model: str = ""
    """Name of a model of the harness, or ``module:callable``; unused in a replay."""
    shape: tuple[int, ...] = ()
    """Shape of a sample; unused in a replay."""
    batch_per_gpu: int = Field(default=1, ge=1)
    """Samples per step and rank."""
    precision: str = "fp32"
    """Precision of compute."""
    replay: Path | None = None
    """Trace whose times replace the compute."""
    engine: str = "lbsim"
    """Engine, one of `engines.OVERLAPPING`."""
    steps: int = Field(default=20, ge=1)
    """Measured steps."""
    warm_up: int = Field(default=3, ge=0)
    """Steps before the measured ones."""
    communication: CommunicationOptions = CommunicationOptions()
    """Options of the engine."""

    @classmethod
    def of(cls, given: dict[str, Any]) -> "ScalingOptions":
        """Return the options of a command line; InputError if one is invalid."""
        shared = CommunicationOptions.model_fields.keys() & given.keys() - {"precision"}
        communication = CommunicationOptions.of(
            precision=given["communication_precision"], **{name: given[name] for name in shared}
        )
        chosen = {name: given[name] for name in cls.model_fields.keys() & given.keys() - {"shape"}}
        return cls(shape=sample_shape(given["model"], given["shape"]), communication=communication, **chosen)

    @property
    def compute_settings(self) -> dict[str, str | int]:
        """Engine and compute, as the settings of the trace."""
        if self.replay is not None:
            return {"engine": self.engine, "replay": str(self.replay)}
        return {
            "engine": self.engine,
            "model": self.model,
            "input": "x".join(map(str, self.shape)),
            "batch_per_gpu": self.batch_per_gpu,
            "precision": self.precision,
        }


def sample_shape(model: str, given: str | None) -> tuple[int, ...]:
    """Return the shape *given*, or that of the model; ImageNet's for a model of any shape."""
    return parse_shape(given) if given else models.input_shape(model) or (3, 224, 224)


def parse_shape(text: str) -> tuple[int, ...]:
    """Return the shape of a sample in *text*; InputError if it is invalid.

    >>> parse_shape("3x224x224")
    (3, 224, 224)
    """
    parts = text.lower().split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--input: '{text}' is not the shape of a sample; write e.g. 3x224x224")
    return tuple(int(part) for part in parts)


def split(text: str) -> tuple[str, ...]:
    """Return the parts of *text* between commas, without blanks.

    >>> split("fp32, bf16,")
    ('fp32', 'bf16')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _count(option: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{option}: '{text}' is not a positive integer; write e.g. {option} 1,8,32")
    return int(text)


def _bytes(text: str) -> float:
    try:
        return DATA.parse(text)
    except ValueError as error:
        raise InputError(f"--sizes: {error}") from None
