r"""Per-rank times of a collective: the clock of each rank through each step of each phase.

A step ends when a rank and the rank that it receives from are done, so clocks follow the max-plus recurrence
:math:`t_{s+1}(r) = \max(t_s(r), t_s(p)) + c_r`, where r receives from p and c is the cost of a step between them.
Clocks have the shape (ranks, training steps), in seconds; the columns are independent.

F. Baccelli, G. Cohen, G. J. Olsder, J.-P. Quadrat, "Synchronization and Linearity," Wiley, 1992.
"""

from dataclasses import dataclass, replace
from functools import reduce
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from lbsim.communication import trees
from lbsim.communication.collective import Collective, Pattern, Phase, Shape
from lbsim.communication.fabric import Fabric

__all__ = ["Clocks", "Indices", "LinkSlowdown", "advance", "ring_steps"]

Clocks = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class LinkSlowdown:
    """Factors on the time of each rank's links, of shape (ranks,); 1 is the rated time."""

    intra_node: Clocks
    inter_node: Clocks


@dataclass(frozen=True)
class _Hop:
    """Cost of one step of a phase between two ranks."""

    phase: Phase
    fabric: Fabric
    slowdown: LinkSlowdown | None

    def cost(self, here: Indices, there: Indices) -> Clocks:
        """Return the seconds of one step from each rank *there* to the rank *here*; a scalar if all are equal.

        A hop between nodes takes the time of the phase's slowest link. A hop inside a node takes no less, because
        the steps of a phase are in lockstep.
        """
        rated = self.fabric.step_time(self.phase)
        if self.slowdown is None:
            return np.array(rated)
        inside = rated
        if "intra_node" in self.phase.links:
            inside = self.fabric.step_time(replace(self.phase, links=("intra_node",)))
        node = self.fabric.gpus_per_node
        near, far = (
            np.maximum(_of(factor, here), _of(factor, there))
            for factor in (self.slowdown.intra_node, self.slowdown.inter_node)
        )
        slowest = rated if "inter_node" in self.phase.links else 0.0
        costs = np.where(here // node == there // node, np.maximum(slowest, inside * near), rated * far)
        return costs.max() if costs.size and np.ptp(costs) == 0 else costs


def advance(collective: Collective, fabric: Fabric, ready: Clocks, slowdown: LinkSlowdown | None = None) -> Clocks:
    """Return the time at which each rank finishes *collective*, which it enters when *ready*.

    Links carry no other traffic; *slowdown* multiplies the time of each rank's links.

    >>> from lbsim import Scenario
    >>> from lbsim.communication.all_reduce import ring
    >>> from lbsim.communication.fabric import closed_form
    >>> scenario = Scenario.of(gpus=16, cluster="mn-1")
    >>> fabric = Fabric.of(scenario.cluster, scenario.software.library, 16)
    >>> collective = ring.all_reduce(1e8, fabric)
    >>> round(float(advance(collective, fabric, np.zeros((16, 1))).max() / closed_form(collective, fabric)), 9)
    1.0
    """
    if not collective.phases:
        return ready
    clocks = ready + fabric.library.start_up
    for phase in collective.phases:
        clocks = _advance_phase(phase, fabric, clocks, slowdown)
    return clocks


def _advance_phase(phase: Phase, fabric: Fabric, clocks: Clocks, slowdown: LinkSlowdown | None) -> Clocks:
    """Return the clocks after *phase*."""
    hop, pattern = _Hop(phase, fabric, slowdown), phase.pattern
    if pattern.shape == "all-to-all":
        return _all_to_all(clocks, hop)
    ranks = _teams(pattern, len(clocks))
    padded = np.full((max(len(clocks), int(ranks.max()) + 1), clocks.shape[1]), -np.inf)
    padded[: len(clocks)] = clocks
    padded[ranks] = _among(padded[ranks], ranks, hop)
    return padded[: len(clocks)]


def _among(clocks: Clocks, ranks: Indices, hop: _Hop) -> Clocks:
    """Return the clocks of the participating *ranks* after the phase."""
    match hop.phase.pattern.shape:
        case "ring":
            return _ring(clocks, ranks, hop)
        case "exchange":
            return _exchange(clocks, ranks, hop)
        case "chain up":
            return _up(clocks, ranks, hop, (trees.chain(len(ranks)),))
        case "chain down":
            return _down(clocks, ranks, hop, (trees.chain(len(ranks)),))
        case "trees up":
            return _up(clocks, ranks, hop, trees.double_binary(len(ranks)))
        case "trees down":
            return _down(clocks, ranks, hop, trees.double_binary(len(ranks)))
        case shape:
            raise ValueError(f"no pattern '{shape}'; there are: {', '.join(get_args(Shape))}")


def _teams(pattern: Pattern, ranks: int) -> Indices:
    """Return the participating ranks, of shape (members, teams); numbers beyond the last rank are placeholders."""
    block = pattern.members * pattern.stride
    blocks = -(-ranks // block)
    numbers = np.arange(blocks * block).reshape(blocks, pattern.members, pattern.stride)[:, :, : pattern.teams]
    return np.ascontiguousarray(numbers.transpose(1, 0, 2).reshape(pattern.members, -1))


def _all_to_all(clocks: Clocks, hop: _Hop) -> Clocks:
    """Return the clocks after steps in which each rank waits for all others."""
    ranks = np.arange(len(clocks))
    cost = hop.cost(ranks, np.roll(ranks, hop.fabric.gpus_per_node if "inter_node" in hop.phase.links else 0)).max()
    return np.broadcast_to(clocks.max(axis=0) + hop.phase.steps * cost, clocks.shape)


def _ring(clocks: Clocks, ranks: Indices, hop: _Hop) -> Clocks:
    """Return the clocks after the steps of rings; in closed form if all hops are equal and the steps go around."""
    cost, steps = hop.cost(ranks, np.roll(ranks, 1, axis=0)), hop.phase.steps
    if cost.ndim == 0 and steps >= len(ranks) - 1:
        return np.broadcast_to(clocks.max(axis=0) + steps * cost, clocks.shape)
    return ring_steps(clocks, cost, steps)


def ring_steps(clocks: Clocks, cost: Clocks, steps: int) -> Clocks:
    """Return the *clocks* of rings, of shape (members, teams, columns), after *steps* explicit steps of *cost*."""
    flat = clocks.reshape(len(clocks), -1).copy()
    costs = np.broadcast_to(cost[..., None], clocks.shape).reshape(flat.shape) if cost.ndim else cost
    after = np.empty_like(flat)
    for _ in range(steps):
        np.maximum(flat[1:], flat[:-1], out=after[1:])
        np.maximum(flat[0], flat[-1], out=after[0])
        after += costs
        flat, after = after, flat
    return flat.reshape(clocks.shape)


def _exchange(clocks: Clocks, ranks: Indices, hop: _Hop) -> Clocks:
    """Return the clocks after steps in which partners wait for each other; a member without partner is idle."""
    distance = hop.phase.pattern.distance
    paired = len(ranks) - len(ranks) % (2 * distance)
    partner = np.arange(paired) ^ distance
    met = np.maximum(clocks[:paired], clocks[partner])
    cost = hop.cost(ranks[:paired], ranks[partner])
    return np.concatenate([met + hop.phase.steps * _wide(cost), clocks[paired:]])


def _up(clocks: Clocks, ranks: Indices, hop: _Hop, forest: tuple[trees.Tree, ...]) -> Clocks:
    """Send chunks from the leaves of each tree to its root; a rank is done when it is done in every tree."""
    return reduce(np.maximum, (_one_up(clocks, ranks, hop, tree) for tree in forest))


def _one_up(clocks: Clocks, ranks: Indices, hop: _Hop, tree: trees.Tree) -> Clocks:
    """Track the first and the last chunk; times are convex in the chunk's number, so these two determine the rest."""
    first, last, done = clocks.copy(), np.full_like(clocks, -np.inf), clocks.copy()
    more = hop.phase.steps - tree.depth
    for members in reversed(tree.levels[1:]):
        parents = tree.parent[members]
        cost = _wide(hop.cost(ranks[members], ranks[parents]))
        first[members] += cost
        last[members] = np.maximum(last[members] + cost, first[members] + more * cost)
        done[members] = last[members]
        np.maximum.at(first, parents, first[members])
        np.maximum.at(last, parents, last[members])
    (root,) = tree.levels[0]
    done[root] = np.maximum(clocks[root], last[root])
    return done


def _down(clocks: Clocks, ranks: Indices, hop: _Hop, forest: tuple[trees.Tree, ...]) -> Clocks:
    """Send chunks from the root of each tree to its leaves; a rank is done when it is done in every tree."""
    return reduce(np.maximum, (_one_down(clocks, ranks, hop, tree) for tree in forest))


def _one_down(clocks: Clocks, ranks: Indices, hop: _Hop, tree: trees.Tree) -> Clocks:
    """Track the first and the last chunk, as in `_one_up`."""
    first, last = clocks.copy(), clocks.copy()
    more = hop.phase.steps - tree.depth
    for members in tree.levels[1:]:
        parents = tree.parent[members]
        cost = _wide(hop.cost(ranks[members], ranks[parents]))
        first[members] = np.maximum(first[members], first[parents]) + cost
        last[members] = np.maximum(last[parents] + cost, first[members] + more * cost)
    return last


def _wide(cost: Clocks) -> Clocks:
    """Return *cost* with a last axis, to broadcast over columns; a scalar stays a scalar."""
    return cost[..., None] if cost.ndim else cost


def _of(factors: Clocks, ranks: Indices) -> Clocks:
    """Return the factor of each of *ranks*; 1 for ranks beyond the last GPU."""
    return np.where(ranks < len(factors), factors[np.minimum(ranks, len(factors) - 1)], 1.0)
