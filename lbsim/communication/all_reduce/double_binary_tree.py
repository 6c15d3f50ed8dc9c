"""Double binary tree: two complementary trees between nodes, each with half of the message, in pipelined chunks."""

import math

from lbsim.communication.collective import Collective, Pattern, Phase, Shape, running
from lbsim.communication.fabric import Fabric
from lbsim.communication.pipelining import MOST_HALVINGS, fastest_chunks
from lbsim.communication.tree_load import node_load

__all__ = ["all_reduce"]

_CHAIN: tuple[tuple[str, int, Shape], ...] = (("reduce", 3, "chain up"), ("send", 2, "chain down"))
"""Name, memory passes and shape of the two phases inside a single node."""


def all_reduce(message: float, fabric: Fabric) -> Collective:
    r"""Return the all-reduce of *message* bytes along two binary trees, in the fastest number of chunks.

    A node is a leaf of one tree and an inner node of the other, so each sends the message once towards the roots and
    once towards the leaves, as in a ring, but the latency grows with log2 of the nodes. The chunks are pipelined: a
    pass takes one step per chunk plus the depth of the tree. Inside a node the chunks follow a chain. More chunks fill
    the pipeline sooner and pay the latency more often; the number of chunks is a power of two.

    P. Sanders, J. Speck, J. L. Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan,"
    Parallel Computing 35(12), 2009; S. Jeaugey, "Massively scale your deep learning training with NCCL 2.4," 2019.
    """
    if fabric.gpus == 1:
        return Collective("double-binary-tree", message, ())
    return fastest_chunks(lambda chunks: _in_chunks(message, fabric, chunks), fabric, _guess(message, fabric))


def _guess(message: float, fabric: Fabric) -> int:
    r"""Return log2 of about the fastest number of chunks on a single link, :math:`\sqrt{(d-1) S / (α e B)}`.

    d is the depth of the pipeline, α the start-up cost of a chunk, e B the bandwidth that the link reaches.
    """
    crosses_nodes = fabric.gpus > fabric.gpus_per_node
    link = fabric.inter_node if crosses_nodes else fabric.intra_node
    filling = fabric.gpus_per_node + math.log2(-(-fabric.gpus // fabric.gpus_per_node))
    start = fabric.library.per_step + link.latency
    if not start:
        return MOST_HALVINGS
    chunks = math.sqrt(1 + filling * (link.time(message) - link.latency) / start)
    return min(MOST_HALVINGS, round(math.log2(chunks)))


def _in_chunks(message: float, fabric: Fabric, chunks: int) -> Collective:
    single_node = fabric.gpus <= fabric.gpus_per_node
    return Collective("double-binary-tree", message, (_chain if single_node else _trees)(message, fabric, chunks))


def _chain(message: float, fabric: Fabric, chunks: int) -> tuple[Phase, ...]:
    """Return the phases inside a single node: up a chain of its GPUs and down again."""
    members, share = fabric.gpus_per_node, fabric.library.tree_share(message)
    return tuple(
        Phase(
            f"{name} along the chain",
            chunks + members - 2,
            message / chunks,
            ("intra_node",),
            share=share,
            passes=passes,
            pattern=Pattern(shape, members),
        )
        for name, passes, shape in _CHAIN
    )


def _trees(message: float, fabric: Fabric, chunks: int) -> tuple[Phase, ...]:
    """Return the phases of several nodes: up the chains, up the trees, down the trees, down the chains."""
    inside, nodes = fabric.gpus_per_node, -(-fabric.gpus // fabric.gpus_per_node)
    chunk, share, links = message / chunks, fabric.library.tree_share(message), fabric.links(fabric.gpus)
    steps = chunks + math.ceil(math.log2(nodes)) - 1
    # costs without a named protocol were fitted with a whole message per pass, which is right for four or more nodes
    flows = node_load(nodes) if fabric.protocol is not None else 1.0

    def in_nodes(name: str, passes: int, shape: Shape) -> Phase:
        chain = Pattern(shape, inside)
        return Phase(f"{name} in nodes", inside - 1, chunk, ("intra_node",), share=share, passes=passes, pattern=chain)

    def between(name: str, passes: int, shape: Shape) -> Phase:
        tree = Pattern(shape, nodes, stride=inside)
        return Phase(name, steps, chunk, links, flows, fabric.nics, share, passes, pattern=tree)

    return running(
        (
            in_nodes("reduce", 3, "chain up"),
            between("reduce up the trees", 3, "trees up"),
            between("broadcast down the trees", 2, "trees down"),
            in_nodes("broadcast", 2, "chain down"),
        )
    )
