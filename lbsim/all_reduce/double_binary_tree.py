"""Two complementary binary trees between nodes, each with half of the message, in chunks that follow each other."""

import math

from lbsim.collective import Collective, Fabric, Pattern, Phase, closed_form, running

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
    low, high = 0, _MOST_HALVINGS  # time has one minimum: some of its terms rise with the chunks, the others fall
    while low < high:
        middle = (low + high) // 2
        coarse, fine = (_in_chunks(message, fabric, 2**power) for power in (middle, middle + 1))
        if closed_form(fine, fabric) < closed_form(coarse, fabric):
            low = middle + 1
        else:
            high = middle
    return _in_chunks(message, fabric, 2**low)


def _in_chunks(message: float, fabric: Fabric, chunks: int) -> Collective:
    inside, nodes = fabric.gpus_per_node, -(-fabric.gpus // fabric.gpus_per_node)
    depth, chunk = math.ceil(math.log2(nodes)), message / chunks
    up, down = Pattern("chain up", inside), Pattern("chain down", inside)
    if nodes == 1:
        steps = chunks + inside - 2
        passes = tuple(
            Phase(f"{name} along the chain", steps, chunk, ("intra_node",), pattern=pattern)
            for name, pattern in (("reduce", up), ("send", down))
        )
        return Collective("double-binary-tree", message, passes)
    links, steps = fabric.links(fabric.gpus), chunks + depth - 1
    return Collective(
        "double-binary-tree",
        message,
        running(
            (
                Phase("reduce in nodes", inside - 1, chunk, ("intra_node",), pattern=up),
                Phase(
                    "reduce up the trees",
                    steps,
                    chunk,
                    links,
                    nics=fabric.nics,
                    pattern=Pattern("trees up", nodes, stride=inside),
                ),
                Phase(
                    "broadcast down the trees",
                    steps,
                    chunk,
                    links,
                    nics=fabric.nics,
                    pattern=Pattern("trees down", nodes, stride=inside),
                ),
                Phase("broadcast in nodes", inside - 1, chunk, ("intra_node",), pattern=down),
            )
        ),
    )
