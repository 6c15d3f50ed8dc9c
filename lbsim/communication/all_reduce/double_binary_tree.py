"""Two complementary binary trees between nodes, each with half of the message, in chunks that follow each other."""

import math

from lbsim.communication.collective import Collective, Pattern, Phase, running
from lbsim.communication.fabric import Fabric, closed_form

_MOST_HALVINGS = 12


def all_reduce(message: float, fabric: Fabric) -> Collective:
    r"""Return the all-reduce of *message* bytes along two binary trees, in as many chunks as are quickest.

    A node is a leaf of one tree and inside the other, so each sends the message once on the way up and once on the
    way down, as in a ring, but waits for log2 of the nodes, not for all of them: chunk follows chunk, so a pass takes
    as many steps as there are chunks, and the depth of the tree to fill it. Inside a node the chunks pass along a
    chain. Many chunks fill the tree sooner and pay their latency more often; powers of two are tried.

    P. Sanders, J. Speck, J. L. Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan,"
    Parallel Computing 35(12), 2009; S. Jeaugey, "Massively scale your deep learning training with NCCL 2.4," 2019.
    """
    if fabric.gpus == 1:
        return Collective("double-binary-tree", message, ())
    power = _guess(message, fabric)
    best = _in_chunks(message, fabric, 2**power)
    for towards in (1, -1):  # time has one minimum: some of its terms rise with the chunks, the others fall
        while 0 <= power + towards <= _MOST_HALVINGS:
            other = _in_chunks(message, fabric, 2 ** (power + towards))
            if closed_form(other, fabric) >= closed_form(best, fabric):
                break
            power, best = power + towards, other
    return best


def _guess(message: float, fabric: Fabric) -> int:
    r"""Return the power of two near the chunks that are quickest on one link: :math:`\sqrt{(d-1) S / (α e B)}`."""
    across = fabric.gpus > fabric.gpus_per_node
    link = fabric.inter_node if across else fabric.intra_node
    filling = fabric.gpus_per_node + math.log2(-(-fabric.gpus // fabric.gpus_per_node))
    start = fabric.library.per_step + link.latency
    if not start:
        return _MOST_HALVINGS
    chunks = math.sqrt(1 + filling * (link.time(message) - link.latency) / start)
    return min(_MOST_HALVINGS, round(math.log2(chunks)))


def _in_chunks(message: float, fabric: Fabric, chunks: int) -> Collective:
    inside, nodes = fabric.gpus_per_node, -(-fabric.gpus // fabric.gpus_per_node)
    depth, chunk, share = math.ceil(math.log2(nodes)), message / chunks, fabric.library.tree_share(message)
    up, down = Pattern("chain up", inside), Pattern("chain down", inside)
    if nodes == 1:
        steps = chunks + inside - 2
        along = tuple(
            Phase(f"{name} along the chain", steps, chunk, ("intra_node",), share=share, passes=passes, pattern=pattern)
            for name, passes, pattern in (("reduce", 3, up), ("send", 2, down))
        )
        return Collective("double-binary-tree", message, along)
    links, steps = fabric.links(fabric.gpus), chunks + depth - 1
    return Collective(
        "double-binary-tree",
        message,
        running(
            (
                Phase("reduce in nodes", inside - 1, chunk, ("intra_node",), share=share, pattern=up),
                Phase(
                    "reduce up the trees",
                    steps,
                    chunk,
                    links,
                    nics=fabric.nics,
                    share=share,
                    pattern=Pattern("trees up", nodes, stride=inside),
                ),
                Phase(
                    "broadcast down the trees",
                    steps,
                    chunk,
                    links,
                    nics=fabric.nics,
                    share=share,
                    passes=2,
                    pattern=Pattern("trees down", nodes, stride=inside),
                ),
                Phase("broadcast in nodes", inside - 1, chunk, ("intra_node",), share=share, passes=2, pattern=down),
            )
        ),
    )
