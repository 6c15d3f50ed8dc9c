"""Selection of algorithm and protocol for a message: by the library's tuning model, or the fastest."""

from collections.abc import Iterable

from lbsim.communication import tuning
from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Algorithm, Fabric, closed_form

__all__ = ["fastest_protocol"]

_POINT_TO_POINT = {"all_to_all", "send_receive"}
_ESTIMATED = {("all_reduce", "ring"), ("all_reduce", "double-binary-tree"), ("all_reduce", "nvls")} | {
    (operation, "ring") for operation in ("reduce_scatter", "all_gather")
}
"""Operations and algorithms in NCCL's tuning model."""


def fastest_protocol(message: float, algorithm: Algorithm, fabric: Fabric) -> tuple[Collective, Fabric]:
    """Return the collective of *message* bytes with the protocol that the library uses, and the fabric with it.

    A library without a tuning model uses its fastest protocol. A library with one uses the protocol with its own lowest
    estimate, or the protocol for the size of point-to-point messages; for an algorithm that its model lacks, the
    fastest protocol with costs for this algorithm, or else for rings.

    InputError if the library has no costs for these accelerators.
    """
    if not fabric.tuned:
        return _fastest(message, algorithm, fabric.per_protocol)
    collective = algorithm(message, fabric)
    if collective.protocol:  # chosen with the algorithm
        return collective, fabric.by(collective.algorithm, collective.protocol)
    return _fastest(message, algorithm, _variants(message, collective, fabric))


def _fastest(message: float, algorithm: Algorithm, variants: Iterable[Fabric]) -> tuple[Collective, Fabric]:
    candidates = ((algorithm(message, variant), variant) for variant in variants)
    return min(candidates, key=lambda candidate: closed_form(*candidate))


def _variants(message: float, collective: Collective, fabric: Fabric) -> list[Fabric]:
    """Return the variants of *fabric* with the protocols that may send *collective*."""
    operation, name = collective.operation, collective.algorithm
    if operation in _POINT_TO_POINT:
        peer = message / fabric.gpus if operation == "all_to_all" else message
        return [fabric.by(name, tuning.peer_protocol(peer, fabric))]
    if (operation, name) in _ESTIMATED:
        return [fabric.by(*tuning.choose(operation, message, fabric, name))]
    costs = name if fabric.protocols(name) else "ring"
    return [fabric.by(costs, protocol) for protocol in fabric.protocols(costs) or ("Simple",)]
