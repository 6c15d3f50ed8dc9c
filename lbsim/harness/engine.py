"""The communication engine by its name: what carries gradients from rank to rank during backward."""

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from pydantic import ValidationError
from torch import nn

from lbsim.errors import InputError, in_one_line, unknown

_MODULES = {"plain": "lbsim.harness._plain", "fused": "lbsim.harness.communication"}
"""``fused`` sends the buffers that `lbsim.fusion` planned, from hooks."""


class Engine(Protocol):
    """What `train` asks of an engine."""

    def begin_step(self) -> None:
        """Get ready; called before backward, whose hooks fire while it runs."""

    def finish_step(self) -> None:
        """Return when every gradient holds the mean over all ranks."""

    def close(self) -> None:
        """Let go of hooks and groups."""


def engine(name: str, parameters: Sequence[tuple[str, nn.Parameter]], choices: Sequence[str]) -> Engine:
    """Return the engine *name* over *parameters*, with *choices* of KEY=VALUE for its options."""
    if name not in _MODULES:
        raise unknown(name, "the harness's engines", _MODULES)
    try:
        module = import_module(_MODULES[name])
    except ModuleNotFoundError:
        raise InputError(f"--engine {name}: this lbsim has none; use --engine plain") from None
    for choice in choices:
        if "=" not in choice:
            raise InputError(f"--communication {choice}: no '='; write KEY=VALUE")
    try:
        options = module.CommunicationOptions(**dict(choice.split("=", 1) for choice in choices))
    except ValidationError as error:
        raise in_one_line(error, "--communication") from None
    return cast("Engine", module.GradientEngine(parameters, options))
