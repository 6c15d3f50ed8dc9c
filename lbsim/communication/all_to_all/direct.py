"""Direct all-to-all: a message from each GPU to each other GPU."""

from lbsim.communication.collective import Collective, Phase, running
from lbsim.communication.fabric import Fabric

__all__ = ["all_to_all"]


def all_to_all(message: float, fabric: Fabric) -> Collective:
    r"""Return the all-to-all of *message* bytes, the whole buffer of each GPU: n-1 steps of S/n to one other GPU.

    With k GPUs per node, each of them sends n-k of its n-1 messages to other nodes, so that on average
    :math:`k (n-k) / (n-1)` messages leave a node in each step and share its NICs.

    R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH," IJHPCA
    19(1), 2005, section 5: pairwise exchange, for large messages. NCCL groups a send and a receive per peer.
    """
    gpus, inside = fabric.gpus, fabric.gpus_per_node
    flows = inside * (gpus - inside) / max(gpus - 1, 1)
    shard, crossings = message / gpus, min(fabric.nodes - 1, 1)  # all messages to other nodes travel concurrently
    exchange = Phase(
        "exchange",
        gpus - 1,
        shard,
        fabric.links(gpus),
        flows=flows,
        nics=fabric.nics,
        passes=2,
        own=shard,
        crossings=crossings,
    )
    return Collective("direct", message, running((exchange,)), operation="all_to_all")
