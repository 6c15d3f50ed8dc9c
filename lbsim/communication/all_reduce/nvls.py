"""NVLS all-reduce: the switches of a node add the buffers (NVLink SHARP)."""

from lbsim.communication.collective import Collective, Phase, running
from lbsim.communication.fabric import Fabric
from lbsim.communication.switch_reduction import require_nvls
from lbsim.errors import InputError

__all__ = ["all_reduce"]


def all_reduce(message: float, fabric: Fabric) -> Collective:
    r"""Return the all-reduce of *message* bytes whose additions the NVSwitches of a node do.

    Each GPU reads the sum of its shard from the switch (multimem.ld_reduce) and writes it to all GPUs (multimem.st).
    It sends its whole buffer for the sums of the others, and the sum of its shard: :math:`S (1 + 1/n)` in each
    direction, where a ring sends :math:`2 S (n-1)/n`. Measured on 4 to 8 H200 and 6 to 8 B200, the rate of these bytes
    is the same for each number of GPUs within 1.5 %: 307 and 541 GB/s; reports/collectives.

    InputError if the GPUs are on several nodes, or if their switches or the library cannot reduce.
    """
    require_nvls("nvls", fabric)
    if fabric.nodes > 1:
        raise InputError("plan.all_reduce: nvls works inside one node; use nvls-tree for several nodes")
    steps = min(fabric.gpus - 1, 1)
    reduction = Phase("reduce and send in switches", steps, message * (1 + 1 / fabric.gpus), ("intra_node",))
    return Collective("nvls", message, running((reduction,)))
