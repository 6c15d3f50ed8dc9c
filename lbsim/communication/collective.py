"""A collective as data: which phases it runs.

Algorithms say what travels; the evaluators, here, in `simulate` and in `clocks`, time it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

LinkName = Literal["intra_node", "inter_node"]


Shape = Literal["everyone", "ring", "exchange", "chain up", "chain down", "trees up", "trees down"]


@dataclass(frozen=True)
class Pattern:
    """Who waits for whom in a phase: in each team of GPUs that are *stride* apart, those that *shape* joins."""

    shape: Shape = "everyone"
    members: int = 0
    """GPUs of a team; a rank beyond the last GPU is nobody."""
    stride: int = 1
    """From one member to the next."""
    teams: int = 1
    """Teams that interleave in one stride."""
    distance: int = 1
    """In an exchange, from one member to its partner."""


@dataclass(frozen=True)
class Phase:
    """Equal steps in which each taking part sends a message to its neighbour and waits for the other one's."""

    name: str
    steps: int
    message: float
    """Bytes that one GPU sends in each step."""
    links: tuple[LinkName, ...]
    """What the messages of one step cross; the slowest sets the pace."""
    flows: int = 1
    """Such messages that leave one node at once."""
    nics: int = 1
    """NICs of a node that these flows are spread over."""
    share: float = 1.0
    """Of what the links reach, that these messages do."""
    passes: int = 3
    """Times that memory is read or written for each byte that comes in: 3 to add it to what is there, 2 to keep it."""
    pattern: Pattern = Pattern()
    """Who waits for whom; unless said, everyone for everyone."""

    @property
    def sent(self) -> float:
        """Bytes that one GPU sends in the whole phase."""
        return self.steps * self.message


@dataclass(frozen=True)
class Collective:
    """One collective operation on one message, as the phases that it runs in turn."""

    algorithm: str
    message: float
    phases: tuple[Phase, ...]


def running(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    """Return the *phases* that have steps to run."""
    return tuple(phase for phase in phases if phase.steps)
