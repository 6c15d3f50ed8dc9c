"""Agreement of ranks: before the first step, all must have the same options and parameters."""

import hashlib
from collections.abc import Sequence

from torch.nn import Parameter

from lbsim.errors import InputError
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.process_group import all_gather

__all__ = ["require_agreement"]


def require_agreement(parameters: Sequence[tuple[str, Parameter]], options: CommunicationOptions) -> None:
    """Raise InputError on every rank if ranks differ in options or parameters, or if there is nothing to send.

    *parameters* are names and parameters that need a gradient; names, shapes and types are compared.
    """
    shapes = [(name, tuple(parameter.shape), str(parameter.dtype)) for name, parameter in parameters]
    digest = hashlib.sha256(repr(shapes).encode()).hexdigest()[:12]
    of_ranks = all_gather(options.model_dump() | {"parameters": f"{len(shapes)} tensors, {digest}"})
    for other, theirs in enumerate(of_ranks):
        for field, value in theirs.items():
            if value != of_ranks[0][field]:
                raise InputError(
                    f"ranks differ in communication options: {field} is {of_ranks[0][field]!r} on rank 0 and "
                    f"{value!r} on rank {other}; start all ranks with the same options and model"
                )
    if not parameters:
        raise InputError("the model has no parameter that needs a gradient; there is nothing to all-reduce")
    if len({name for name, _ in parameters}) < len(parameters):
        raise InputError("two parameters have the same name; pass model.named_parameters()")
