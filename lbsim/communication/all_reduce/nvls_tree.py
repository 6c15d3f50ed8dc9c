"""NVLS tree all-reduce: reductions in the switches of each node, double binary trees between nodes."""

from dataclasses import replace

from lbsim.communication.collective import Collective, Pattern, Phase
from lbsim.communication.fabric import Fabric
from lbsim.communication.switch_reduction import require_nvls
from lbsim.communication.tree_load import node_load
from lbsim.errors import InputError

__all__ = ["all_reduce"]


def all_reduce(message: float, fabric: Fabric) -> Collective:
    r"""Return the all-reduce of *message* bytes: the switches of a node add each shard, and trees add over nodes.

    Each of the k GPUs of a node sends its shard through its own NIC, so that a node sends the message times the tree
    load of `lbsim.communication.tree_load` up, and as much down. Inside, :math:`S (1 + 1/k)` cross NVLink, as with
    NVLS. Switches and NICs work concurrently; the slower determines the time. The trees add their depth once per pass.

    NCCL 2.18.1 release notes: NVLink SHARP + Tree (NVLSTREE). Its costs between nodes are not calibrated.

    InputError if the GPUs are on one node, the last node is not full, or switches or library cannot reduce.
    """
    require_nvls("nvls-tree", fabric)
    inside, nodes = fabric.gpus_per_node, fabric.nodes
    if nodes == 1 or inside == 1 or fabric.gpus % inside:
        raise InputError(
            f"plan.all_reduce: nvls-tree needs several full nodes of 2 or more GPUs, not {fabric.gpus} GPUs with "
            f"{inside} per node; use ring or auto"
        )
    depth, sent = (nodes - 1).bit_length(), message * (1 + 1 / inside) / 2
    up = Phase(
        "reduce up the trees",
        depth,
        sent / depth,
        fabric.links(fabric.gpus),
        flows=node_load(nodes) * 2 / (1 + 1 / inside),
        nics=fabric.nics,
        pattern=Pattern("trees up", nodes, stride=inside, teams=inside),
    )
    down = replace(up, name="broadcast down the trees", passes=2, pattern=replace(up.pattern, shape="trees down"))
    wait = Phase("multicast in switches", 1, 0.0, ("intra_node",), passes=2)
    return Collective("nvls-tree", message, (up, down, wait))
