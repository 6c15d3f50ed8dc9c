"""PAT all-gather: binomial trees of all GPUs concurrently, for one GPU per node."""

from lbsim.communication.collective import Collective, Phase, running
from lbsim.communication.fabric import Fabric
from lbsim.communication.parallel_trees import require_pat

__all__ = ["all_gather"]


def all_gather(message: float, fabric: Fabric) -> Collective:
    r"""Return the all-gather of *message* bytes, the whole buffer, in :math:`\lceil \log_2 n \rceil` steps.

    The steps send S/n, 2 S/n, 4 S/n and so on, :math:`S (n-1)/n` in all; each counts with their mean.

    S. Jeaugey, "PAT: a new algorithm for all-gather and reduce-scatter operations at scale," arXiv:2506.20252, 2025.
    InputError if a node has several GPUs or the library has no PAT.
    """
    require_pat("all-gather", fabric)
    gpus = fabric.gpus
    steps = (gpus - 1).bit_length()
    mean = message * (gpus - 1) / gpus / max(steps, 1)
    phase = Phase("all-gather along trees", steps, mean, fabric.links(gpus), nics=fabric.nics, passes=2)
    return Collective("pat", message, running((phase,)), operation="all_gather")
