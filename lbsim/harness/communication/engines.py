"""Engines by name: ``plain``, ``lbsim`` and ``ddp``, each with its options."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from torch import nn

from lbsim.errors import InputError, from_validation_error, unknown_name
from lbsim.harness.communication.ddp_engine import DdpEngine
from lbsim.harness.communication.engine import Engine
from lbsim.harness.communication.fusion_engine import FusionEngine
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.plain_engine import PlainEngine
from lbsim.harness.communication.step_recorder import StepRecorder

__all__ = ["NAMES", "OVERLAPPING", "attach", "parse_options"]

NAMES = ("plain", "lbsim", "ddp")
"""One all-reduce after the backward pass; planned fusion buffers; torch's DistributedDataParallel."""
OVERLAPPING = ("lbsim", "ddp")
"""Engines that communicate during the backward pass and record each gradient and buffer."""


def parse_options(engine: str, choices: Sequence[str]) -> CommunicationOptions:
    """Return the options of *engine* from *choices*, each ``KEY=VALUE``.

    Raises InputError for an unknown engine, key or value, and for any option of ``plain``, which has none.
    """
    if engine not in NAMES:
        raise unknown_name(engine, "the harness's engines", NAMES)
    given: dict[str, Any] = {}
    for choice in choices:
        key, sign, value = choice.partition("=")
        if not sign:
            raise InputError(f"--communication {key}: no '='; write KEY=VALUE")
        if engine == "plain":
            raise InputError(f"--communication {key}: --engine plain has no options; write --engine lbsim")
        given[key] = value
    try:
        return CommunicationOptions(**given)
    except ValidationError as error:
        raise from_validation_error(error, "--communication") from None


def attach(
    engine: str, model: nn.Module, options: CommunicationOptions, recorder: StepRecorder | None = None
) -> tuple[nn.Module, Engine]:
    """Return the module to run forward and the engine that averages the gradients of *model*.

    All ranks call this together. Raises InputError on all of them for an unknown engine, and where ranks differ in
    options or parameters.
    """
    match engine:
        case "plain":
            return model, PlainEngine([parameter for _, parameter in model.named_parameters()], recorder)
        case "lbsim":
            return model, FusionEngine(list(model.named_parameters()), options, recorder)
        case "ddp":
            ddp = DdpEngine(model, options, recorder)
            return ddp.module, ddp
    raise unknown_name(engine, "the harness's engines", NAMES)
