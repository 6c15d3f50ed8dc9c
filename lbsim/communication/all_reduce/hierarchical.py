"""Hierarchical all-reduce: reduce in groups, all-reduce between the groups' leaders, broadcast in groups."""

from lbsim.communication.collective import Collective, Pattern, Phase, running
from lbsim.communication.fabric import Fabric
from lbsim.errors import InputError

__all__ = ["all_reduce"]


def all_reduce(message: float, fabric: Fabric) -> Collective:
    r"""Return the hierarchical all-reduce of *message* bytes in groups of k GPUs.

    2(k-1) steps of S/k reduce to each group's leader, the n/k leaders run a ring of 2(n/k-1) steps of S k/n, and
    2(k-1) steps of S/k broadcast: 4(k-1) + 2(n/k-1) steps where a flat ring takes 2(n-1). A leader drives one NIC.

    X. Jia et al., "Highly scalable deep learning training system with mixed-precision: training ImageNet in four
    minutes," arXiv:1807.11205, 2018. InputError if the group size does not divide the GPUs.
    """
    gpus, group = fabric.gpus, fabric.group_size
    if gpus % group:
        fitting = [size for size in range(1, gpus + 1) if gpus % size == 0 and size <= 2 * fabric.gpus_per_node]
        raise InputError(
            f"plan.group_size: {group} does not divide {gpus} GPUs; use one of {', '.join(map(str, fitting))}"
        )
    leaders = gpus // group
    inside, between = fabric.links(group), fabric.links(leaders, stride=group)
    return Collective(
        "hierarchical",
        message,
        running(
            (
                Phase("reduce", 2 * (group - 1), message / group, inside, pattern=Pattern("ring", group)),
                Phase(
                    "ring of leaders",
                    2 * (leaders - 1),
                    message / leaders,
                    between,
                    pattern=Pattern("ring", leaders, stride=group),
                ),
                Phase("broadcast", 2 * (group - 1), message / group, inside, passes=2, pattern=Pattern("ring", group)),
            )
        ),
    )
