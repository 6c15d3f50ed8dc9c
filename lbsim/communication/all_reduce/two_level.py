"""Two-level all-reduce (2-D torus): reduce-scatter in nodes, all-reduce between nodes, all-gather in nodes."""

from lbsim.communication.collective import Collective, Pattern, Phase, running
from lbsim.communication.fabric import Fabric
from lbsim.errors import InputError

__all__ = ["all_reduce"]


def all_reduce(message: float, fabric: Fabric) -> Collective:
    r"""Return the two-level, or 2-D torus, all-reduce of *message* bytes.

    With k GPUs per node: k-1 steps of S/k inside, 2(n/k-1) steps of S/n between, in k rings that share the node's
    NICs, and k-1 steps of S/k inside.

    H. Mikami et al., "Massively distributed SGD: ImageNet/ResNet-50 training in a flash," arXiv:1811.05233, 2018.
    InputError if the last node is not full.
    """
    gpus, inside = fabric.gpus, fabric.gpus_per_node
    if gpus % inside:
        raise InputError(f"plan.gpus: two-level needs full nodes; {gpus} is not a multiple of {inside}; use ring")
    nodes, ring = gpus // inside, Pattern("ring", inside)
    phases = (
        Phase("reduce-scatter", inside - 1, message / inside, ("intra_node",), pattern=ring),
        Phase(
            "all-reduce between nodes",
            2 * (nodes - 1),
            message / gpus,
            ("inter_node",),
            flows=inside,
            nics=min(fabric.nics, inside),
            pattern=Pattern("ring", nodes, stride=inside, teams=inside),
        ),
        Phase("all-gather", inside - 1, message / inside, ("intra_node",), passes=2, pattern=ring),
    )
    return Collective("two-level", message, running(phases))
