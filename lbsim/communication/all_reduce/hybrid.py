"""Hybrid all-reduce: ring or hierarchical per message, whichever is faster."""

from lbsim.communication.all_reduce import hierarchical, ring
from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric, closed_form

__all__ = ["all_reduce"]


def all_reduce(message: float, fabric: Fabric) -> Collective:
    """Return the faster of the ring and the hierarchical all-reduce of *message* bytes; *algorithm* names it.

    Jia et al. (arXiv:1807.11205) run a ring for the large tensors of fully connected layers, whose time
    depends on bandwidth, and their hierarchical all-reduce for the rest, whose time depends on the number of steps.
    """
    both = (ring.all_reduce(message, fabric), hierarchical.all_reduce(message, fabric))
    return min(both, key=lambda collective: closed_form(collective, fabric))
