"""Automatic choice per message, as in NCCL: by its tuning model, or the faster of ring and double binary tree."""

from dataclasses import replace

from lbsim.communication import tuning
from lbsim.communication.all_reduce import double_binary_tree, nvls, ring
from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric, closed_form

__all__ = ["all_reduce"]

_ALGORITHMS = {
    "ring": ring.all_reduce,
    "double-binary-tree": double_binary_tree.all_reduce,
    "nvls": nvls.all_reduce,
}


def all_reduce(message: float, fabric: Fabric) -> Collective:
    """Return the all-reduce of *message* bytes that the library chooses; *algorithm* names it.

    A library with a tuning model (`lbsim.communication.tuning`) uses the algorithm and protocol with its own lowest
    estimate. Otherwise this is the faster of the ring and the double binary tree: NCCL since 2.4 compares its own
    estimates of the two (src/graph/tuning.cc): trees for small messages and many nodes, where latency decides, rings
    for large ones.
    """
    if fabric.tuned and fabric.gpus > 1:
        algorithm, protocol = tuning.choose("all_reduce", message, fabric)
        chosen = _ALGORITHMS[algorithm](message, fabric.by(algorithm, protocol))
        return replace(chosen, protocol=protocol)
    both = (ring.all_reduce(message, fabric), double_binary_tree.all_reduce(message, fabric))
    return min(both, key=lambda collective: closed_form(collective, fabric))
