"""Tuning models of communication libraries: the tables by which a release chooses algorithm and protocol."""

from typing import ClassVar

from pydantic import Field, model_validator

from lbsim.profiles.profile import Profile, Table
from lbsim.units import Bytes, BytesPerSecond, Efficiency, Factor, Seconds

__all__ = ["AlgorithmTuning", "ArchitectureTuning", "PeerProtocol", "Tuning"]

_ByProtocol = tuple[Seconds, ...]
"""Seconds for each protocol, in the order of the *protocols* of the tuning model."""
_ByNodes = tuple[BytesPerSecond, BytesPerSecond, BytesPerSecond]
"""Bytes per second on one node, on two nodes, and on three or more."""


class AlgorithmTuning(Table):
    """Latencies that a library assumes for one algorithm."""

    base: _ByProtocol
    """Seconds to start."""
    nvlink: _ByProtocol
    """Seconds per step over NVLink."""
    pcie: _ByProtocol
    """Seconds per step over PCIe."""
    network: _ByProtocol
    """Seconds per step between nodes."""


class ArchitectureTuning(Table):
    """Bandwidths that a library assumes for one accelerator architecture."""

    ring: BytesPerSecond
    """Bus bandwidth of all rings inside a node, bytes per second: channels times their speed."""
    channels: int = Field(ge=1)
    """Number of channels."""
    ll: _ByNodes
    """Upper bound of the bus bandwidth with LL."""
    ring_ll128: _ByNodes
    """Upper bound of a ring's bandwidth with LL128, per channel."""
    tree: _ByNodes
    """Upper bound of a tree's bandwidth with Simple, per channel."""
    tree_ll128: _ByNodes
    """Upper bound of a tree's bandwidth with LL128, per channel."""
    nvls: BytesPerSecond | None = None
    """NVLS bandwidth, bytes per second and GPU, one direction; None if the switches cannot reduce."""
    nvls_efficiency: Efficiency = 1.0
    """Factor on *nvls*."""


class PeerProtocol(Table):
    """Protocol of point-to-point messages up to a size."""

    protocol: str
    """Name of the protocol."""
    most: Bytes | None = None
    """Largest message to one peer in bytes; None for any size."""


class Tuning(Profile):
    """Profile of a library's tuning model: its own estimate of each algorithm and protocol."""

    kind: ClassVar[str] = "tunings"

    protocols: tuple[str, ...]
    """Names of the protocols."""
    algorithms: dict[str, AlgorithmTuning]
    """Latencies by algorithm."""
    architectures: dict[str, ArchitectureTuning]
    """Bandwidths by the first letters of an accelerator's architecture; the first match applies."""
    tree_correction: tuple[tuple[Efficiency, ...], ...]
    """Factor on a tree's bandwidth by protocol, for messages of 64 B, 128 B and so on."""
    plateau: Factor = 1.0
    """Factor on the latency of a ring between nodes with Simple, for large messages."""
    peer_protocols: tuple[PeerProtocol, ...] = ()
    """Protocols of all-to-all and send-receive, in the order of their sizes; the last has no limit."""

    @model_validator(mode="after")
    def _is_complete(self) -> "Tuning":
        count = len(self.protocols)
        for name, algorithm in self.algorithms.items():
            if {len(algorithm.base), len(algorithm.nvlink), len(algorithm.pcie), len(algorithm.network)} != {count}:
                raise ValueError(f"algorithms.{name}: give {count} values in each row, one for each of protocols")
        if len(self.tree_correction) != count:
            raise ValueError(f"tree_correction: give {count} rows, one for each of protocols")
        if self.peer_protocols and self.peer_protocols[-1].most is not None:
            raise ValueError("peer_protocols: the last must have no 'most', for messages of any size")
        return self

    def architecture(self, chip: str) -> ArchitectureTuning | None:
        """Return the bandwidths of the architecture *chip*, such as ``GH100``; None if the model has none."""
        return next((row for name, row in self.architectures.items() if chip.startswith(name)), None)
