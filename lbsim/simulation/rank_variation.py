"""Differences between ranks: factors on compute and link times, by node, by slow part and at random."""

import numpy as np

from lbsim.communication.rank_clocks import Clocks, LinkSlowdown
from lbsim.profiles.hardware import Cluster
from lbsim.profiles.slow_parts import slow_parts
from lbsim.scenario.scenario import Scenario

__all__ = ["RankVariation", "link_slowdown"]


class RankVariation:
    """Factors on the ranks' compute times: constant per node and slow part, and random in each step.

    The random numbers depend only on the plan's seed.
    """

    def __init__(self, scenario: Scenario) -> None:
        plan, cluster = scenario.plan, scenario.cluster
        nodes = -(-plan.gpus // cluster.gpus_per_node)
        between = np.random.default_rng([plan.seed, 0]).standard_normal(nodes) * cluster.node_spread
        self.factors = _slow_part_factors(cluster, plan.gpus, "compute") * (
            1 + between[np.arange(plan.gpus) // cluster.gpus_per_node]
        )
        self.spread = scenario.software.straggler_spread
        self.random = np.random.default_rng([plan.seed, 1])
        self.links = link_slowdown(cluster, plan.gpus)

    @property
    def any(self) -> bool:
        """Whether the compute times of ranks differ."""
        return bool(self.spread or np.ptp(self.factors))

    def draw(self, steps: int) -> Clocks:
        """Return the factors on compute times in the next *steps*, of shape (ranks, steps)."""
        if not self.spread:
            return np.repeat(self.factors[:, None], steps, axis=1)
        drawn = self.random.standard_normal((steps, len(self.factors)))
        return np.ascontiguousarray(np.maximum(0.0, self.factors * (1 + self.spread * drawn)).T)


def _slow_part_factors(cluster: Cluster, gpus: int, what: str) -> Clocks:
    """Return the factor of each rank on *what*, a field of `SlowPart`, from the cluster's slow parts."""
    factors = np.ones(gpus)
    for part in slow_parts(cluster, gpus):
        slow_ranks = part.gpus(cluster.gpus_per_node)
        factors[slow_ranks.start : slow_ranks.stop] *= getattr(part, what)
    return factors


def link_slowdown(cluster: Cluster, gpus: int) -> LinkSlowdown | None:
    """Return the factors on the times of each rank's links; None if all are 1."""
    slowdown = LinkSlowdown(
        _slow_part_factors(cluster, gpus, "intra_node"), _slow_part_factors(cluster, gpus, "inter_node")
    )
    return None if (slowdown.intra_node == 1).all() and (slowdown.inter_node == 1).all() else slowdown
