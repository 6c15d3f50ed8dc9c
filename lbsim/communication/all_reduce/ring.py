"""Ring all-reduce through all GPUs in node order."""

from lbsim.communication.all_gather import ring as all_gather
from lbsim.communication.collective import Collective, running
from lbsim.communication.fabric import Fabric
from lbsim.communication.reduce_scatter import ring as reduce_scatter

__all__ = ["all_reduce"]


def all_reduce(message: float, fabric: Fabric) -> Collective:
    r"""Return the ring all-reduce of *message* bytes: n-1 steps of S/n to reduce-scatter, n-1 to all-gather.

    The ring crosses each node boundary once in each direction, so its slowest link determines its time. With several
    NICs per node, there is a ring per NIC, each with an equal part of the message.

    P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations,"
    J. Parallel Distrib. Comput. 69(2), 2009.
    """
    phases = (reduce_scatter.phase(message, fabric), all_gather.phase(message, fabric))
    return Collective("ring", message, running(phases))
