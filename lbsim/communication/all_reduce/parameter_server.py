"""Parameter server: every GPU sends its gradients to servers and receives the sums."""

from collections.abc import Iterator

from lbsim.communication.collective import Collective, Phase
from lbsim.communication.fabric import Fabric

__all__ = ["all_reduce"]


def all_reduce(message: float, fabric: Fabric) -> Collective:
    r"""Return the exchange of *message* bytes with parameter servers, one on each node.

    Each server holds an equal part of the parameters, so each GPU pushes S/p to each of p servers and pulls as much:
    the NICs of a node carry S for each of its k GPUs in each direction, twice.

    M. Li et al., "Scaling distributed machine learning with the parameter server," OSDI 2014.
    """
    return Collective("parameter-server", message, tuple(_exchange(message, fabric)) if fabric.gpus > 1 else ())


def _exchange(message: float, fabric: Fabric) -> Iterator[Phase]:
    crosses_nodes = fabric.gpus > fabric.gpus_per_node
    for name in ("push", "pull"):
        yield Phase(
            name,
            1,
            message,
            ("intra_node", "inter_node") if crosses_nodes else ("intra_node",),
            flows=fabric.gpus_per_node,
            nics=fabric.nics,
        )
