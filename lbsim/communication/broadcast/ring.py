"""Pipelined broadcast along the ring of all GPUs in node order."""

import math

from lbsim.communication.collective import Collective, Pattern, Phase, running
from lbsim.communication.fabric import Fabric
from lbsim.communication.pipelining import MOST_HALVINGS, fastest_chunks

__all__ = ["broadcast"]


def broadcast(message: float, fabric: Fabric) -> Collective:
    r"""Return the broadcast of *message* bytes from the first GPU along a chain, in the fastest number of chunks.

    c chunks of S/c follow each other over n-1 hops: c + n - 2 steps. The number of chunks is a power of two. With
    several NICs per node, there is a chain per NIC, each with an equal part of the message.

    P. Sanders, J. Speck, J. L. Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan,"
    Parallel Computing 35(12), 2009, section 2.
    """
    if fabric.gpus == 1:
        return Collective("ring", message, (), operation="broadcast")
    return fastest_chunks(lambda chunks: _in_chunks(message, fabric, chunks), fabric, _guess(message, fabric))


def _guess(message: float, fabric: Fabric) -> int:
    r"""Return log2 of about the fastest number of chunks, :math:`\sqrt{(n-2) S / (α e B)}`."""
    link = fabric.inter_node if fabric.gpus > fabric.gpus_per_node else fabric.intra_node
    start = fabric.library.per_step + link.latency
    if not start:
        return MOST_HALVINGS
    return min(MOST_HALVINGS, round(math.log2(math.sqrt(1 + (fabric.gpus - 2) * message / link.rate / start))))


def _in_chunks(message: float, fabric: Fabric, chunks: int) -> Collective:
    gpus = fabric.gpus
    chain, links = Pattern("chain down", gpus), fabric.links(gpus)
    phase = Phase(
        "along the chain", chunks + gpus - 2, message / chunks, links, nics=fabric.nics, passes=2, pattern=chain
    )
    return Collective("ring", message, running((phase,)), operation="broadcast")
