"""Any torch model as a workload: it runs once on the meta device, which computes shapes and holds no data.

What the model does to gradients inside its forward, as ``no_grad`` and ``detach``, is not seen.
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
from lbsim.harness.tracing.dispatch_recorder import BATCH, Recording
from lbsim.harness.tracing.operation_costs import RULES, other
from lbsim.workload.layers import Workload

_INPUT = re.compile(r"(?:(?P<name>\w+)=)?(?P<shape>\d+(?:x\d+)*)(?::(?P<dtype>\w+))?")


@dataclass(frozen=True)
class Input:
    """What one sample feeds the model with."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    name: str | None = None
    """Of the argument, if it is not told by its place."""

    @classmethod
    def parse(cls, text: str) -> "Input":
        """Return what *text* means.

        >>> Input.parse("3x224x224").shape, Input.parse("words=128:int64").dtype
        ((3, 224, 224), torch.int64)
        """
        match = _INPUT.fullmatch(text)
        if match is None:
            raise InputError(
                f"--input {text}: no shape of one sample; write e.g. 3x224x224, 128:int64 or ids=128:int64"
            )
        dtype = getattr(torch, match["dtype"] or "float32", None)
        if not isinstance(dtype, torch.dtype):
            raise InputError(f"--input {text}: torch has no type '{match['dtype']}'; write e.g. float32 or int64")
        shape = tuple(int(size) for size in match["shape"].split("x"))
        if 0 in shape:
            raise InputError(f"--input {text}: a size of 0 holds nothing")
        return cls(shape, dtype, match["name"])

    @property
    def bytes(self) -> int:
        """Of one sample."""
        return self.batch().numel() * self.dtype.itemsize // BATCH

    def batch(self) -> torch.Tensor:
        """Return samples of nothing but shape."""
        return torch.empty((BATCH, *self.shape), dtype=self.dtype, device="meta")


@dataclass(frozen=True)
class Traced:
    """A workload, and what of the model is not in it."""

    workload: Workload
    unused: list[str]
    """Trainable parameters that forward does not use, which therefore get no gradient."""


def trace(
    target: str,
    inputs: Sequence[str],
    *,
    samples: int,
    validation_samples: int = 0,
    input_bytes: float | None = None,
) -> Traced:
    """Return the model that *target*, ``module:callable``, makes, as it trains on *inputs*.

    Parameters that no gradient reaches are left out. InputError, in a line, if it cannot be found, made or run.
    """
    fed = [Input.parse(text) for text in inputs]
    recording = _recorded(target, _model(target), fed)
    if not recording.layers:
        raise InputError(f"{target}: computes nothing from its input that has a cost")
    workload = Workload(
        name=target,
        layers=tuple(recording.layers),
        source=f"traced from {target}, input {', '.join(inputs)} (torch {torch.__version__}, Python "
        f"{platform.python_version()})",
        input_bytes=float(sum(one.bytes for one in fed)) if input_bytes is None else input_bytes,
        samples=samples,
        validation_samples=validation_samples,
    )
    return Traced(workload, recording.unused)


def _recorded(target: str, model: torch.nn.Module, inputs: Sequence[Input]) -> Recording:
    recording = Recording(dict(model.named_parameters()), RULES, other)
    recording.watch(model)
    batches = [(one.name, one.batch()) for one in inputs]
    for _, batch in batches:
        recording.feed(batch)
    places = [batch for name, batch in batches if name is None]
    with torch.device("meta"), torch.inference_mode(), recording:
        _told(
            f"{target} does not run on {', '.join(str(list(batch.shape)) for _, batch in batches)}",
            lambda: model(*places, **{name: batch for name, batch in batches if name is not None}),
        )
    return recording


def _model(target: str) -> torch.nn.Module:
    """Return the model in training, all on the meta device."""
    make = _found(target)
    if isinstance(make, torch.nn.Module):
        return _on_meta(make).train()
    if not callable(make):
        raise InputError(f"{target} is a {type(make).__name__}; name what makes a torch.nn.Module when called")
    try:
        with torch.device("meta"):
            model = make()
    except Exception:  # some need values to be made, such as of torch.linspace
        model = _told(f"{target}() failed", make)
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"{target}() makes a {type(model).__name__}; name what makes a torch.nn.Module when called")
    return _on_meta(model).train()


def _found(target: str) -> Any:
    """Return what *target* names; modules are looked for in the working directory too, as ``python -m`` does."""
    name, _, path = target.partition(":")
    if not name or not path:
        raise InputError(f"'{target}' is no module:callable; write e.g. my_models:resnet18")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found = _told(f"cannot import '{name}'", lambda: importlib.import_module(name))
    for part in path.split("."):
        if not hasattr(found, part):
            raise unknown_name(part, name, [public for public in dir(found) if not public.startswith("_")])
        found = getattr(found, part)
    return found


def _on_meta(model: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of *model* without data, in which what was tied stays tied."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    if all(tensor.is_meta for tensor in tensors.values()):
        return model
    memo: dict[int, Any] = {}
    for key, tensor in tensors.items():
        empty = torch.empty_like(tensor, device="meta")
        trained = isinstance(tensor, torch.nn.Parameter)
        memo[key] = torch.nn.Parameter(empty, tensor.requires_grad) if trained else empty
    return copy.deepcopy(model, memo)


def _told(doing: str, action: Callable[[], Any]) -> Any:
    """Return what the user's code in *action* returns; whatever it raises is told in a line."""
    try:
        return action()
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise InputError(f"{doing}: {type(error).__name__}{f': {lines[0]}' if lines else ''}") from error
