"""Automatic choice per message, as in NCCL: ring or double binary tree, whichever is faster."""

from lbsim.communication.all_reduce import double_binary_tree, ring
from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric, closed_form

__all__ = ["all_reduce"]


def all_reduce(message: float, fabric: Fabric) -> Collective:
    """Return the faster of the ring and the double binary tree for *message* bytes; *algorithm* names it.

    NCCL since 2.4 compares its own estimates of the two (src/graph/tuning.cc): trees for small messages and many
    nodes, where latency decides, rings for large ones.
    """
    both = (ring.all_reduce(message, fabric), double_binary_tree.all_reduce(message, fabric))
    return min(both, key=lambda collective: closed_form(collective, fabric))
