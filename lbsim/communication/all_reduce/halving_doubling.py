"""Halving-doubling: reduce in nodes, recursive halving and doubling between nodes, broadcast in nodes."""

from collections.abc import Iterator

from lbsim.communication.collective import Collective, Pattern, Phase, running
from lbsim.communication.fabric import Fabric
from lbsim.errors import InputError

__all__ = ["all_reduce"]


def all_reduce(message: float, fabric: Fabric) -> Collective:
    r"""Return the halving-doubling all-reduce of *message* bytes between nodes.

    Between p = 2^d nodes, d steps of S/2, S/4 ... S/p reduce-scatter, and d steps all-gather: 2 log2(p) steps. Other
    numbers of nodes are split into blocks, each the largest remaining power of two: a block sends its sums to the next
    larger block and receives the result. One GPU of each node takes part; inside a node there is a reduction and a
    broadcast, as in a hierarchical all-reduce.

    R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH," IJHPCA
    19(1), 2005; P. Goyal et al., arXiv:1706.02677, section 4, for the blocks and the three stages.
    InputError if the last node is not full.
    """
    inside = fabric.gpus_per_node
    if fabric.gpus % inside:
        raise InputError(f"plan.gpus: halving-doubling needs full nodes; {fabric.gpus} is not a multiple of {inside}")
    between, ring = list(_between(message, fabric.gpus // inside, inside)), Pattern("ring", inside)
    return Collective(
        "halving-doubling",
        message,
        running(
            (
                Phase("reduce", 2 * (inside - 1), message / inside, ("intra_node",), pattern=ring),
                *between,
                *reversed(between),
                Phase("broadcast", 2 * (inside - 1), message / inside, ("intra_node",), passes=2, pattern=ring),
            )
        ),
    )


def _between(message: float, nodes: int, inside: int) -> Iterator[Phase]:
    """Yield the phases of the reduce-scatter, neighbours first; the all-gather has the same phases in reverse."""
    blocks = [2**power for power in range(nodes.bit_length()) if nodes & 2**power]
    for power in range(1, blocks[-1].bit_length()):
        pattern = Pattern("exchange", nodes, stride=inside, distance=2 ** (power - 1))
        yield Phase(f"exchange 1/{2**power}", 1, message / 2**power, ("inter_node",), pattern=pattern)
    for block in blocks[:-1]:
        yield Phase(f"hand over from a block of {block}", 1, message / block, ("inter_node",))
