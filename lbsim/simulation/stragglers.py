"""Stragglers: the expected slowdown of a step by the slowest of many ranks."""

import math
from functools import lru_cache

from lbsim.profiles.hardware import Cluster
from lbsim.profiles.slow_parts import slow_parts

__all__ = ["compute_slowdown", "expected_maximum", "expected_slowdown"]

_REACH = 9.0
"""Standard deviations on each side of the range of integration."""
_INTERVALS = 400
"""Intervals of Simpson's rule."""


@lru_cache(maxsize=4096)
def expected_maximum(ranks: int) -> float:
    r"""Return the expected maximum of *ranks* independent standard normal variables.

    .. math:: E = \int_0^\infty (1 - \Phi(x)^n) dx - \int_{-\infty}^0 \Phi(x)^n dx

    H. A. David, H. N. Nagaraja, "Order Statistics," 3rd ed., 2003, section 3.1. Integrated by Simpson's rule.

    >>> [round(expected_maximum(ranks), 2) for ranks in (1, 2, 8, 1024)]
    [0.0, 0.56, 1.42, 3.25]
    """
    step = 2 * _REACH / _INTERVALS
    total = 0.0
    for index in range(_INTERVALS + 1):
        x = -_REACH + index * step
        weight = 1 if index in {0, _INTERVALS} else 4 if index % 2 else 2
        below = math.exp(ranks * math.log(0.5 * math.erfc(-x / math.sqrt(2))))
        total += weight * ((1.0 if x > 0 else 0.5 if index * 2 == _INTERVALS else 0.0) - below)
    return total * step / 3


def expected_slowdown(spread: float, ranks: int, node_spread: float = 0.0, nodes: int = 1) -> float:
    r"""Return the fraction by which waiting for the slowest of n *ranks* lengthens a step: :math:`σ E[max_n]`.

    *spread*, σ, is the standard deviation of a rank's step time as a fraction of it. Assumed: ranks vary
    independently and normally; no published measurement confirms it (a constant per step fits as well).

    With *node_spread*, τ, between m *nodes* of k ranks the result is :math:`σ E_k + \sqrt{τ^2 + σ^2 w^2} E_m` with
    :math:`w = (E_n - E_k) / E_m`, where :math:`E_n` is the expected maximum of n standard normal variables. It is
    exact if τ or σ is 0 or k is 1; otherwise it is within 2 % of random draws.
    """
    if not node_spread or nodes == 1:
        return spread * expected_maximum(ranks)
    inside, between = expected_maximum(-(-ranks // nodes)), expected_maximum(nodes)
    weight = (expected_maximum(ranks) - inside) / between
    return spread * inside + math.hypot(node_spread, spread * weight) * between


def compute_slowdown(cluster: Cluster, gpus: int, spread: float) -> float:
    """Return the fraction by which compute on the slowest of *gpus* GPUs takes longer, at random or as a slow part.

    The result is the larger of the two; `lbsim.simulation.per_rank` simulates their combination. *spread* is the
    standard deviation of a rank's step time as a fraction of it.
    """
    nodes = -(-gpus // cluster.gpus_per_node)
    random = expected_slowdown(spread, gpus, cluster.node_spread, nodes)
    return max(random, *(part.compute - 1 for part in slow_parts(cluster, gpus)), 0.0)
