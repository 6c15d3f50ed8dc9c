"""Ring all-gather through all GPUs in node order."""

from dataclasses import replace

from lbsim.communication.collective import Collective, Pattern, Phase, running
from lbsim.communication.fabric import Fabric

__all__ = ["all_gather", "phase"]


def all_gather(message: float, fabric: Fabric) -> Collective:
    r"""Return the ring all-gather of *message* bytes, the whole output buffer of each GPU: n-1 steps of S/n.

    The ring and its NICs are those of `lbsim.communication.reduce_scatter.ring`; received bytes are stored, not added.

    P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations,"
    J. Parallel Distrib. Comput. 69(2), 2009.
    """
    whole = replace(phase(message, fabric), own=message / fabric.gpus)
    return Collective("ring", message, running((whole,)), operation="all_gather")


def phase(message: float, fabric: Fabric) -> Phase:
    """Return the phase of a ring all-gather of *message* bytes, with which an in-place ring all-reduce ends."""
    gpus = fabric.gpus
    return Phase(
        "all-gather",
        gpus - 1,
        message / gpus,
        fabric.links(gpus),
        nics=fabric.nics,
        passes=2,
        crossings=fabric.nodes - 1,
        pattern=Pattern("ring", gpus),
    )
