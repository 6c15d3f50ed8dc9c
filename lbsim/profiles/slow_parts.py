"""Slow parts of a cluster, and the cluster with and without them."""

from lbsim.errors import InputError
from lbsim.profiles.hardware import Cluster, SlowPart

__all__ = ["slow_parts", "with_slowest_links", "without_slow_parts"]


def slow_parts(cluster: Cluster, gpus: int) -> tuple[SlowPart, ...]:
    """Return the slow parts of *cluster*.

    InputError if a slow part lies beyond the first *gpus* GPUs.
    """
    for part in cluster.slow:
        if part.gpus(cluster.gpus_per_node).start >= gpus:
            what, number = ("node", part.node) if part.gpu is None else ("GPU", part.gpu)
            raise InputError(f"cluster.slow: no {what} {number} on {gpus} GPUs; count from 0")
    return cluster.slow


def with_slowest_links(cluster: Cluster, gpus: int) -> Cluster:
    """Return *cluster* with every link slowed to the slowest part's, because a collective runs at that rate."""
    parts = slow_parts(cluster, gpus)
    if not parts:
        return cluster
    inside, between = (max(1.0, *(getattr(part, link) for part in parts)) for link in ("intra_node", "inter_node"))
    links = {"intra_node": cluster.intra_node.slowed(inside), "inter_node": cluster.inter_node.slowed(between)}
    return cluster.model_copy(update=links)


def without_slow_parts(cluster: Cluster) -> Cluster:
    """Return *cluster* without its slow parts."""
    return cluster.model_copy(update={"slow": ()}) if cluster.slow else cluster
