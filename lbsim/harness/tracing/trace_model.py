"""Tracing of a torch model into a workload: one run on the meta device, which computes shapes without data.

Changes to gradients inside the model's forward, such as ``no_grad`` and ``detach``, are not traced.
"""

import copy
import importlib
import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lbsim.errors import InputError, unknown_name
from lbsim.harness.tracing.dispatch_recorder import BATCH, DispatchRecorder
from lbsim.harness.tracing.operation_costs import RULES, other
from lbsim.workload.layers import Workload

__all__ = ["ModelInput", "TracedModel", "trace"]

_INPUT = re.compile(r"(?:(?P<name>\w+)=)?(?P<shape>\d+(?:x\d+)*)(?::(?P<dtype>\w+))?")


@dataclass(frozen=True)
class ModelInput:
    """Input of the model for one sample."""

    shape: tuple[int, ...]
    """Shape of a sample, without the batch."""
    dtype: torch.dtype = torch.float32
    name: str | None = None
    """Name of the argument; None for a positional argument."""

    @classmethod
    def parse(cls, text: str) -> "ModelInput":
        """Return the input in *text*, ``[NAME=]SHAPE[:DTYPE]``; InputError if it is invalid.

        >>> ModelInput.parse("3x224x224").shape, ModelInput.parse("words=128:int64").dtype
        ((3, 224, 224), torch.int64)
        """
        match = _INPUT.fullmatch(text)
        if match is None:
            raise InputError(
                f"--input {text}: not the shape of a sample; write e.g. 3x224x224, 128:int64 or ids=128:int64"
            )
        dtype = getattr(torch, match["dtype"] or "float32", None)
        if not isinstance(dtype, torch.dtype):
            raise InputError(f"--input {text}: torch has no dtype '{match['dtype']}'; write e.g. float32 or int64")
        shape = tuple(int(size) for size in match["shape"].split("x"))
        if 0 in shape:
            raise InputError(f"--input {text}: a dimension is 0; write positive sizes")
        return cls(shape, dtype, match["name"])

    @property
    def bytes(self) -> int:
        """Bytes of one sample."""
        return self.batch().numel() * self.dtype.itemsize // BATCH

    def batch(self) -> torch.Tensor:
        """Return a batch on the meta device."""
        return torch.empty((BATCH, *self.shape), dtype=self.dtype, device="meta")


@dataclass(frozen=True)
class TracedModel:
    """A workload, and the parameters of the model that are not in it."""

    workload: Workload
    unused: list[str]
    """Names of trainable parameters that forward does not use, which therefore get no gradient."""


def trace(
    target: str,
    inputs: Sequence[str],
    *,
    samples: int,
    validation_samples: int = 0,
    input_bytes: float | None = None,
) -> TracedModel:
    """Return the workload of the model that *target*, ``module:callable``, returns, in training on *inputs*.

    *samples* and *validation_samples* are those of an epoch; *input_bytes* per sample, None for the bytes of *inputs*.
    Parameters that no gradient reaches are left out. Raises InputError if the model cannot be imported, built or run.
    """
    parsed = [ModelInput.parse(text) for text in inputs]
    recorder = _recorded(target, _model(target), parsed)
    if not recorder.layers:
        raise InputError(f"{target}: the model computes nothing from its input; check --input")
    workload = Workload(
        name=target,
        layers=tuple(recorder.layers),
        source=f"traced from {target}, input {', '.join(inputs)} (torch {torch.__version__}, Python "
        f"{platform.python_version()})",
        input_bytes=float(sum(one.bytes for one in parsed)) if input_bytes is None else input_bytes,
        samples=samples,
        validation_samples=validation_samples,
    )
    return TracedModel(workload, recorder.unused)


def _recorded(target: str, model: torch.nn.Module, inputs: Sequence[ModelInput]) -> DispatchRecorder:
    recorder = DispatchRecorder(dict(model.named_parameters()), RULES, other)
    recorder.watch(model)
    batches = [(each.name, each.batch()) for each in inputs]
    for _, batch in batches:
        recorder.add_input(batch)
    positional = [batch for name, batch in batches if name is None]
    with torch.device("meta"), torch.inference_mode(), recorder:
        _call_user_code(
            f"{target} does not run on {', '.join(str(list(batch.shape)) for _, batch in batches)}",
            lambda: model(*positional, **{name: batch for name, batch in batches if name is not None}),
        )
    return recorder


def _model(target: str) -> torch.nn.Module:
    """Return the model in training mode, on the meta device."""
    build = _resolve(target)
    if isinstance(build, torch.nn.Module):
        return _on_meta(build).train()
    if not callable(build):
        raise InputError(f"{target} is a {type(build).__name__}; name a callable that returns a torch.nn.Module")
    try:
        with torch.device("meta"):
            model = build()
    except Exception:  # some constructors need values, such as those of torch.linspace
        model = _call_user_code(f"{target}() failed", build)
    if not isinstance(model, torch.nn.Module):
        raise InputError(
            f"{target}() returned a {type(model).__name__}; name a callable that returns a torch.nn.Module"
        )
    return _on_meta(model).train()


def _resolve(target: str) -> Any:
    """Return the object called *target*; modules are imported from the working directory too, as by ``python -m``."""
    name, _, path = target.partition(":")
    if not name or not path:
        raise InputError(f"'{target}' is not a module:callable; write e.g. my_models:resnet18")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    found = _call_user_code(f"cannot import '{name}'", lambda: importlib.import_module(name))
    for part in path.split("."):
        if not hasattr(found, part):
            raise unknown_name(part, name, [public for public in dir(found) if not public.startswith("_")])
        found = getattr(found, part)
    return found


def _on_meta(model: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of *model* without data; tied parameters stay tied."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    if all(tensor.is_meta for tensor in tensors.values()):
        return model
    memo: dict[int, Any] = {}
    for key, tensor in tensors.items():
        empty = torch.empty_like(tensor, device="meta")
        trained = isinstance(tensor, torch.nn.Parameter)
        memo[key] = torch.nn.Parameter(empty, tensor.requires_grad) if trained else empty
    return copy.deepcopy(model, memo)


def _call_user_code(doing: str, action: Callable[[], Any]) -> Any:
    """Return the result of *action*, code of the user; any exception becomes an InputError in one line."""
    try:
        return action()
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise InputError(f"{doing}: {type(error).__name__}{f': {lines[0]}' if lines else ''}") from error
