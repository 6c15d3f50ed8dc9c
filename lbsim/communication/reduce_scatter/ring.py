"""Ring reduce-scatter through all GPUs in node order."""

from lbsim.communication.collective import Collective, Pattern, Phase, running
from lbsim.communication.fabric import Fabric

__all__ = ["phase", "reduce_scatter"]


def reduce_scatter(message: float, fabric: Fabric) -> Collective:
    r"""Return the ring reduce-scatter of *message* bytes, the whole input buffer of each GPU: n-1 steps of S/n.

    The ring crosses each node boundary once in each direction, so its slowest link determines its time. With several
    NICs per node, there is a ring per NIC, each with an equal part of the message.

    P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations,"
    J. Parallel Distrib. Comput. 69(2), 2009.
    """
    return Collective("ring", message, running((phase(message, fabric),)), operation="reduce_scatter")


def phase(message: float, fabric: Fabric) -> Phase:
    """Return the phase of a ring reduce-scatter of *message* bytes, with which a ring all-reduce starts."""
    gpus = fabric.gpus
    shard = message / gpus
    return Phase(
        "reduce-scatter",
        gpus - 1,
        shard,
        fabric.links(gpus),
        nics=fabric.nics,
        own=shard,
        crossings=fabric.nodes - 1,
        pattern=Pattern("ring", gpus),
    )
