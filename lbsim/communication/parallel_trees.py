"""Requirements of PAT, NCCL's parallel aggregated trees: placement and library."""

from lbsim.communication.fabric import Fabric
from lbsim.errors import InputError

__all__ = ["require_pat"]

_RELEASE = (2, 23)
"""First release; from memory: of the sources that were read, src/graph/tuning.cc of 2.28.3 has it, of 2.8.3 not."""


def require_pat(operation: str, fabric: Fabric) -> None:
    """Raise InputError if nodes of *fabric* have several GPUs or its library has no PAT."""
    if fabric.gpus_per_node > 1:
        raise InputError(f"{operation}: pat needs one GPU per node, not {fabric.gpus_per_node}; use ring")
    if fabric.protocol is None and fabric.library.release < _RELEASE:
        raise InputError(f"{operation}: {fabric.library.name} has no pat; use ring, or --library nccl-2.28")
