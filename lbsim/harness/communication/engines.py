"""The communication engine by its name: what carries gradients from rank to rank during backward."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from pydantic import ValidationError
from torch import nn

from lbsim.errors import InputError, from_validation_error, unknown_name
from lbsim.harness.communication import no_communication
from lbsim.profiles.profile import Table

NAMES = ("plain", "lbsim", "ddp")
"""One all-reduce after backward; planned fusion buffers, from hooks; DistributedDataParallel."""


class Engine(Protocol):
    """What `train` asks of an engine."""

    def begin_step(self) -> None:
        """Get ready; called before backward, whose hooks fire while it runs."""

    def finish_step(self) -> bool:
        """Return when every gradient holds the mean over all ranks, and whether the next ones will travel otherwise."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""

    def close(self) -> None:
        """Let go of hooks and groups."""


def options_of(name: str, choices: Sequence[str]) -> Table:
    """Return the options of engine *name* that *choices* of KEY=VALUE make, or raise InputError."""
    if name not in NAMES:
        raise unknown_name(name, "the harness's engines", NAMES)
    pairs = [choice.partition("=") for choice in choices]
    for key, sign, _ in pairs:
        if not sign:
            raise InputError(f"--communication {key}: no '='; write KEY=VALUE")
    communication: Any = no_communication if name == "plain" else _imported(name, "options")
    try:
        options: Table = communication.CommunicationOptions(**{key: value for key, _, value in pairs})
    except ValidationError as error:
        raise from_validation_error(error, "--communication") from None
    return options


def attach(name: str, model: nn.Module, options: Table, ranks: int) -> tuple[nn.Module, Engine]:
    """Return what to run forward, and the engine *name*; ranks that disagree find out here, together.

    A process alone has nobody to send to, so it always has the plain engine.
    """
    if name == "plain" or ranks == 1:
        return model, no_communication.GradientEngine(
            list(model.named_parameters()), no_communication.CommunicationOptions()
        )
    return cast("tuple[nn.Module, Engine]", _imported(name, "ddp").attach(name, model, options))


def _imported(name: str, module: str) -> Any:
    try:
        return import_module(f"lbsim.harness.communication.{module}")
    except ModuleNotFoundError:
        raise InputError(f"--engine {name}: this lbsim has none; write --engine plain") from None
