"""Differences between ranks: compute and link factors by node, by named slow part and by chance."""

import numpy as np

from lbsim.communication.rank_clocks import Clocks, LinkSlowdown
from lbsim.profiles.hardware import Cluster
from lbsim.profiles.slow_parts import slow_parts
from lbsim.scenario.scenario import Scenario


class RankVariation:
    """How ranks differ: by node, by name, and by chance in each step."""

    def __init__(self, scenario: Scenario) -> None:
        plan, cluster = scenario.plan, scenario.cluster
        nodes = -(-plan.gpus // cluster.gpus_per_node)
        between = np.random.default_rng([plan.seed, 0]).standard_normal(nodes) * cluster.node_spread
        self.factors = _by_name(cluster, plan.gpus, "compute") * (
            1 + between[np.arange(plan.gpus) // cluster.gpus_per_node]
        )
        self.spread = scenario.software.straggler_spread
        self.chance = np.random.default_rng([plan.seed, 1])
        self.links = link_slowdown(cluster, plan.gpus)

    @property
    def any(self) -> bool:
        """Whether one rank computes otherwise than another."""
        return bool(self.spread or np.ptp(self.factors))

    def draw(self, steps: int) -> Clocks:
        """Return times as long as modelled that each rank computes in each of the next *steps*."""
        if not self.spread:
            return np.repeat(self.factors[:, None], steps, axis=1)
        drawn = self.chance.standard_normal((steps, len(self.factors)))
        return np.ascontiguousarray(np.maximum(0.0, self.factors * (1 + self.spread * drawn)).T)


def _by_name(cluster: Cluster, gpus: int, what: str) -> Clocks:
    """Return the factor of each rank that the cluster's slow parts name."""
    factors = np.ones(gpus)
    for part in slow_parts(cluster, gpus):
        meant = part.gpus(cluster.gpus_per_node)
        factors[meant.start : meant.stop] *= getattr(part, what)
    return factors


def link_slowdown(cluster: Cluster, gpus: int) -> LinkSlowdown | None:
    """Return how slow each rank's links are; none if all are as rated."""
    slowdown = LinkSlowdown(_by_name(cluster, gpus, "intra_node"), _by_name(cluster, gpus, "inter_node"))
    return None if (slowdown.intra_node == 1).all() and (slowdown.inter_node == 1).all() else slowdown
