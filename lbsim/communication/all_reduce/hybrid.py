"""The quicker of ring and hierarchical, message by message."""

from lbsim.communication.all_reduce import hierarchical, ring
from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric, closed_form


def all_reduce(message: float, fabric: Fabric) -> Collective:
    """Return the quicker of the ring and the hierarchical all-reduce of *message* bytes; it says which.

    Jia et al. (arXiv:1807.11205) run a ring for the large tensors of fully connected layers, where bandwidth
    decides, and their hierarchical all-reduce for the rest, where the number of steps does.
    """
    both = (ring.all_reduce(message, fabric), hierarchical.all_reduce(message, fabric))
    return min(both, key=lambda collective: closed_form(collective, fabric))
