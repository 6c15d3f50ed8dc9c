"""NCCL's tuning model: its own estimate of each algorithm and protocol, by which it chooses.

The estimates are what the library believes, and are often wrong; `lbsim.communication.fabric.closed_form` predicts
the time of what it chooses. NVIDIA NCCL 2.28.3, src/graph/tuning.cc: ncclTopoTuneModel and ncclTopoGetAlgoTime.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lbsim.communication.fabric import Fabric
from lbsim.errors import InputError
from lbsim.profiles.tuning import AlgorithmTuning, ArchitectureTuning, Tuning

__all__ = ["Choice", "choose", "estimates", "peer_protocol"]

Choice = tuple[str, str]
"""Names of an algorithm and a protocol."""

_REDUCING = "all_reduce"
_LEAST_PLATEAU = 64
"""Bytes per channel and GPU from which a ring between nodes with Simple is on its plateau."""


def estimates(operation: str, message: float, fabric: Fabric) -> dict[Choice, float]:
    """Return the library's own estimate, in seconds, of each algorithm and protocol for *message* bytes.

    *operation* is ``all_reduce``, ``reduce_scatter`` or ``all_gather``.

    InputError if the library has no tuning model, or none for these accelerators.
    """
    model = _Model.of(fabric)
    found = dict(model.rings(operation, message))
    if operation == _REDUCING:
        found |= model.trees(message)
        found |= model.switches(message)
    return found


def choose(operation: str, message: float, fabric: Fabric, algorithm: str | None = None) -> Choice:
    """Return the algorithm and protocol with the library's lowest estimate, of *algorithm* only if that is given."""
    expected = estimates(operation, message, fabric)
    candidates = [choice for choice in expected if algorithm in {None, choice[0]}]
    return min(candidates, key=expected.__getitem__)


def peer_protocol(message: float, fabric: Fabric) -> str:
    """Return the protocol of point-to-point messages of *message* bytes to each peer.

    InputError if the library has no tuning model.
    """
    for rule in _tuning(fabric).peer_protocols:
        if rule.most is None or message <= rule.most:
            return rule.protocol
    raise InputError(f"{fabric.library.name}: its tuning model has no peer_protocols for point-to-point messages")


def _tuning(fabric: Fabric) -> Tuning:
    if fabric.library.tuning is None:
        raise InputError(f"{fabric.library.name} has no tuning model; use e.g. --library nccl-2.28")
    return fabric.library.tuning


@dataclass(frozen=True)
class _Model:
    """Tuning model on one fabric."""

    fabric: Fabric
    tuning: Tuning
    chip: ArchitectureTuning

    @classmethod
    def of(cls, fabric: Fabric) -> "_Model":
        tuning = _tuning(fabric)
        chip = tuning.architecture(fabric.architecture)
        if chip is None:
            raise InputError(
                f"{fabric.library.name}: its tuning model has no '{fabric.architecture}'; there are: "
                f"{', '.join(tuning.architectures)}; use another --library, e.g. nccl-2"
            )
        return cls(fabric, tuning, chip)

    @property
    def scale(self) -> int:
        """Index of the number of nodes in rows of bandwidths."""
        return min(self.fabric.nodes, 3) - 1

    @property
    def bandwidth(self) -> float:
        """Bus bandwidth of the rings, bounded by a node's NICs if there are several nodes."""
        if self.fabric.nodes == 1:
            return self.chip.ring
        return min(self.chip.ring, self.fabric.nics * self.fabric.inter_node.bandwidth)

    def usable(self, algorithm: str) -> Iterator[tuple[int, str]]:
        """Yield number and name of the protocols that the library has for *algorithm* over these links."""
        names = self.fabric.protocols(algorithm)
        return ((at, name) for at, name in enumerate(self.tuning.protocols) if name in names)

    def hop(self, algorithm: AlgorithmTuning, at: int) -> float:
        """Return the seconds of a step inside a node with protocol number *at*."""
        return (algorithm.nvlink if self.fabric.intra_node.name.startswith("nvlink") else algorithm.pcie)[at]

    def rings(self, operation: str, message: float) -> Iterator[tuple[Choice, float]]:
        """Yield the estimates of rings: latencies of all steps, and bytes over the bus bandwidth of the protocol."""
        ring, passes = self.tuning.algorithms["ring"], 2 if operation == _REDUCING else 1
        steps, crossings = passes * (self.fabric.gpus - 1), passes * (self.fabric.nodes - 1)
        for at, name in self.usable("ring"):
            latency = ring.base[at] + (steps - crossings) * self.hop(ring, at) + crossings * ring.network[at]
            if name == "Simple" and operation == _REDUCING and self._on_plateau(message):
                latency *= self.tuning.plateau
            yield ("ring", name), latency + message * steps / self.fabric.gpus / self._ring_rate(name)

    def _on_plateau(self, message: float) -> bool:
        return self.fabric.nodes > 1 and message >= _LEAST_PLATEAU * self.chip.channels * self.fabric.gpus

    def _ring_rate(self, protocol: str) -> float:
        chip = self.chip
        if protocol == "LL":
            return min(chip.ll[self.scale], self.bandwidth / 2)
        if protocol == "LL128":
            return min(0.92 * self.bandwidth, chip.channels * chip.ring_ll128[self.scale])
        return self.bandwidth

    def trees(self, message: float) -> Iterator[tuple[Choice, float]]:
        """Yield the estimates of double binary trees: two passes of chains in nodes and trees between nodes."""
        tree, fabric = self.tuning.algorithms["double-binary-tree"], self.fabric
        for at, name in self.usable("double-binary-tree"):
            depth = int(math.log2(fabric.nodes))
            hops = 2 * ((fabric.gpus_per_node - 1) * self.hop(tree, at) + depth * tree.network[at])
            rate = self._tree_rate(name) * self._correction(at, message)
            yield ("double-binary-tree", name), tree.base[at] + hops + 2 * message / rate

    def _tree_rate(self, protocol: str) -> float:
        chip, nodes = self.chip, self.fabric.nodes
        rate = min(0.92 * self.bandwidth * (2 if nodes == 2 else 1), chip.channels * chip.tree[self.scale])
        if protocol == "LL":
            return min(rate / 3.8, chip.ll[self.scale])
        if protocol == "LL128":
            return min(rate * (7 / 9 if nodes == 1 else 120 / 128), chip.channels * chip.tree_ll128[self.scale])
        return rate

    def _correction(self, at: int, message: float) -> float:
        """Return the factor on a tree's rate with protocol number *at*: by the power of two below the message."""
        row, power = self.tuning.tree_correction[at], math.floor(math.log2(message / 64)) if message >= 64 else -1
        return row[power] if 0 <= power < len(row) else 1.0

    def switches(self, message: float) -> Iterator[tuple[Choice, float]]:
        """Yield the estimate of NVLS, which needs a single node with switches that reduce."""
        chip, fabric, at = self.chip, self.fabric, self.tuning.protocols.index("Simple")
        if chip.nvls is None or fabric.nodes > 1 or "Simple" not in fabric.protocols("nvls"):
            return
        rate = chip.nvls * chip.nvls_efficiency * fabric.gpus
        yield ("nvls", "Simple"), self.tuning.algorithms["nvls"].nvlink[at] + message / rate
