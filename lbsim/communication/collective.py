"""Collectives as data: phases of equal steps, with links and dependency patterns.

Algorithms return a `Collective` and compute no time. Three evaluators time it: the closed form in
`lbsim.communication.fabric`, the events in `lbsim.simulation.step_simulator`, and the clocks of each rank in
`lbsim.communication.rank_clocks`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Collective", "LinkName", "Pattern", "Phase", "Shape", "running"]

LinkName = Literal["intra_node", "inter_node"]
"""Field of `Fabric` with the link."""
Shape = Literal["all-to-all", "ring", "exchange", "chain up", "chain down", "trees up", "trees down"]
"""Dependencies between the GPUs of a team; in ``all-to-all`` each waits for all others."""


@dataclass(frozen=True)
class Pattern:
    """Dependencies between GPUs in a step: within teams of GPUs that are *stride* apart, along *shape*."""

    shape: Shape = "all-to-all"
    members: int = 0
    """GPUs per team; ranks beyond the last GPU are ignored."""
    stride: int = 1
    """Difference of the ranks of two successive members."""
    teams: int = 1
    """Teams that interleave within one stride."""
    distance: int = 1
    """Difference of the positions of two partners in an exchange."""


@dataclass(frozen=True)
class Phase:
    """Equal steps; in each step a participant sends a message to one neighbour and waits for one from another."""

    name: str
    """Label in timelines."""
    steps: int
    """Number of steps."""
    message: float
    """Bytes that one GPU sends per step."""
    links: tuple[LinkName, ...]
    """Links that the messages of a step cross; the slowest determines the time."""
    flows: float = 1
    """Messages that leave a node concurrently, on average over the steps."""
    nics: int = 1
    """NICs of a node that these messages are spread over."""
    share: float = 1.0
    """Bandwidth of these messages relative to the bandwidth that the links reach."""
    passes: int = 3
    """Memory accesses per received byte: 3 to add it to a buffer (two reads, a write), 2 to store it."""
    own: float = 0.0
    """Bytes of a GPU's own shard that an out-of-place operation copies."""
    crossings: int | None = None
    """Steps on the path of a byte that leave a node; None for all steps, if the phase crosses nodes."""
    pattern: Pattern = Pattern()
    """Dependencies between GPUs; by default each waits for all others."""

    @property
    def sent(self) -> float:
        """Bytes that one GPU sends in all steps."""
        return self.steps * self.message


@dataclass(frozen=True)
class Collective:
    """Collective operation on one message, as a sequence of phases."""

    algorithm: str
    """Name of the algorithm, with dashes."""
    message: float
    """Bytes of the message."""
    phases: tuple[Phase, ...]
    """Phases in the order of execution; empty if there is nothing to send."""
    protocol: str = ""
    """Name of the protocol that the library's tuning model chose with the algorithm; empty if it chose none."""
    operation: str = "all_reduce"
    """Name of the operation, which is the package of its algorithms in ``lbsim/communication``."""


def running(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    """Return the *phases* that have at least one step."""
    return tuple(phase for phase in phases if phase.steps)
