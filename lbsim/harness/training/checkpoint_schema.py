"""Schema of a checkpoint: a state whose checksum is right may still not be that of this run."""

from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from lbsim.errors import InputError, from_validation_error
from lbsim.harness.training.checkpoint import State
from lbsim.harness.training.components import Components

__all__ = ["require_valid"]

_Count = Annotated[int, Field(ge=0, le=2**62)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, strict=True)


class _LossScale(_Part):
    scale: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    good_steps: _Count


class _Masters(_Part):
    weights: dict[str, Tensor]
    scale: _LossScale | None


class _Optimizer(_Part):
    state: dict[int, dict[str, Tensor]]
    param_groups: list[dict[str, Any]]


class _FusionTimes(_Part):
    ready: tuple[_Seconds, ...]
    startup: _Seconds
    per_byte: _Seconds


class _Engine(_Part):
    """State of any engine: ``plain`` has none of the keys, ``lbsim`` the first two, ``ddp`` the last."""

    pace: _FusionTimes | None = None
    warm_up: list[list[_Seconds | None]] = []
    input: tuple[tuple[_Count, ...], str] | None = None


class _MovingAverages(_Part):
    sums: Annotated[list[float], Field(min_length=2, max_length=2)]
    weight: Annotated[float, Field(ge=0, le=1)]


class _Checkpoint(_Part):
    recipe: dict[str, Any]
    step: _Count
    model: dict[str, Tensor]
    masters: _Masters
    optimizer: _Optimizer
    engine: _Engine
    epoch: tuple[Annotated[list[float], Field(min_length=2, max_length=2)], _Count]
    noise_scale: _MovingAverages | None = None


def require_valid(state: State, step: int, parts: Components) -> None:
    """Raise InputError unless *state* has the fields and shapes of a checkpoint of *parts* after *step* steps."""
    try:
        checked = _Checkpoint.model_validate({**state, "epoch": tuple(state["epoch"])})
    except ValidationError as error:
        raise from_validation_error(error) from None
    except (TypeError, KeyError) as error:
        raise InputError(f"its content is not a checkpoint ({type(error).__name__}: {error})") from None
    if checked.step != step or step > parts.planned_steps:
        raise InputError(f"it is of step {checked.step}; its name has {step}, the run {parts.planned_steps} steps")
    if (checked.masters.scale is None) != (parts.masters.scale is None):
        raise InputError("its loss scale is missing, or not needed")
    _require_same_shapes("model", checked.model, parts.model.state_dict())
    _require_same_shapes("masters", checked.masters.weights, dict(parts.masters.named))
    _require_same_optimizer(checked.optimizer, parts)
    _require_same_engine(checked.engine, parts)


def _require_same_shapes(part: str, saved: dict[str, Tensor], expected: dict[str, Any]) -> None:
    differing = saved.keys() ^ expected.keys()
    differing |= {name for name in saved.keys() & expected.keys() if saved[name].shape != expected[name].shape}
    if differing:
        raise InputError(f"{part}: '{min(differing)}' is missing, unknown, or of another shape")


def _require_same_optimizer(saved: _Optimizer, parts: Components) -> None:
    fresh = parts.optimizer.state_dict()["param_groups"]
    if [group.get("params") for group in saved.param_groups] != [group["params"] for group in fresh]:
        raise InputError("optimizer: its parameter groups are not those of the model")
    for group, expected in zip(saved.param_groups, fresh, strict=True):
        options = {name: type(value) for name, value in group.items() if name in {"lr", *expected}}
        if group.keys() != expected.keys() or any(kind not in {int, float, list} for kind in options.values()):
            raise InputError("optimizer: its options are not those of the update rule")
    parameters = [parameter for group in parts.optimizer.param_groups for parameter in group["params"]]
    for index, tensors in saved.state.items():
        if not 0 <= index < len(parameters) or any(t.shape != parameters[index].shape for t in tensors.values()):
            raise InputError(f"optimizer: its state of parameter {index} is of another shape")


def _require_same_engine(saved: _Engine, parts: Components) -> None:
    parameters = sum(parameter.requires_grad for parameter in parts.model.parameters())
    times = ([] if saved.pace is None else [saved.pace.ready]) + [tuple(step) for step in saved.warm_up]
    if any(len(each) != parameters for each in times):
        raise InputError("engine: its ready times are not those of the model's parameters")
    if saved.input is not None and not isinstance(getattr(torch, saved.input[1], None), torch.dtype):
        raise InputError(f"engine: '{saved.input[1]}' is not a type of torch")
