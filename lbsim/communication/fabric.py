"""Fabric: the links and library that a collective's phases are timed on."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from lbsim.communication.collective import Collective, LinkName, Phase
from lbsim.profiles.hardware import Cluster, Link, Switch
from lbsim.profiles.software import Library, Protocol
from lbsim.scenario.scenario import Scenario

Algorithm = Callable[[float, "Fabric"], "Collective"]
"""Returns the collective of so many bytes on a fabric, as each file in ``communication/all_reduce`` does."""


_PROTOCOL_COSTS = ("per_collective", "per_step", "per_step_inside", "tree_efficiency")
"""What a protocol has of its own in place of its library's."""


@dataclass(frozen=True)
class Fabric:
    """What a collective runs over: how many GPUs, how they are placed, their links and library."""

    gpus: int
    gpus_per_node: int
    intra_node: Link
    inter_node: Link
    nics: int
    library: Library
    group_size: int
    """GPUs of a group, for algorithms that have groups."""
    switches: tuple[Switch, ...] = ()
    """Levels of switches that pass up less than comes in."""
    jobs: int = 1
    """That load the switches alike, this one among them."""
    memory: float = math.inf
    """Bytes a second of a GPU's memory, for the arithmetic of a reduction."""

    @classmethod
    def of(cls, cluster: Cluster, library: Library, gpus: int, group_size: int | None = None) -> "Fabric":
        """Return the fabric of the first *gpus* GPUs of *cluster*, nodes filled one after another."""
        return cls(
            gpus,
            min(gpus, cluster.gpus_per_node),
            cluster.intra_node,
            cluster.inter_node,
            cluster.nics,
            library,
            min(gpus, group_size or cluster.gpus_per_node),
            cluster.switches,
            cluster.jobs,
            cluster.accelerator.memory_bandwidth,
        )

    @cached_property
    def per_protocol(self) -> tuple["Fabric", ...]:
        """The fabric as each protocol of its library uses it, the library's own first."""
        return (
            self,
            *(self._with_protocol(protocol) for protocol in self.library.protocols if self._supports(protocol)),
        )

    def _supports(self, protocol: Protocol) -> bool:
        """Return whether the links here are such as *protocol* works over."""
        across = self.gpus > self.gpus_per_node
        barred = across and protocol.not_across and self.inter_node.name.endswith(protocol.not_across)
        return self.intra_node.name.startswith(protocol.only_over) and not barred

    def _with_protocol(self, protocol: Protocol) -> "Fabric":
        costs = {name: getattr(protocol, name) for name in _PROTOCOL_COSTS}
        intra, inter = (
            link.model_copy(update={"efficiency": link.efficiency * protocol.efficiency})
            for link in (self.intra_node, self.inter_node)
        )
        library = self.library.model_copy(update=costs | {"protocols": ()})
        return replace(self, intra_node=intra, inter_node=inter, library=library)

    def links(self, ring: int, stride: int = 1) -> tuple[LinkName, ...]:
        """Return what a ring of *ring* GPUs, each *stride* after the one before, crosses."""
        if ring * stride <= self.gpus_per_node:
            return ("intra_node",)
        return ("intra_node", "inter_node") if stride < self.gpus_per_node else ("inter_node",)

    def step_time(self, phase: Phase) -> float:
        r"""Return the seconds of one step of *phase*: the library's cost, and the slowest of links and reduction.

        What comes in is added as it comes, so that arithmetic counts only where memory is slower than the links.
        Where a message passes k stages, in fragments each of which costs α as a message does and follows the one
        before, a step between nodes takes, with fragments of the best size,

        .. math:: t = \left( \sqrt{S / B} + \sqrt{(k - 1) α} \right)^2

        so that a link reaches its rate only with messages far larger than αB.

        P. Sanders, J. Speck, J. L. Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan,"
        Parallel Computing 35(12), 2009, section 2, for a chain of k. Where a message travels in n segments, of which
        each is sent while those before it wait for their latency, a step takes

        .. math:: t = \max\left( S / B, α + S / (n B) \right)

        as Gloo's ring has it, with two a rank or more (gloo/allreduce.cc).
        """
        parts = self.library.segments
        if parts == 1:
            return self._unsegmented_time(phase)
        nothing, part = (
            self._unsegmented_time(replace(phase, message=phase.message * share)) for share in (0.0, 1 / parts)
        )
        return max(self._unsegmented_time(phase) - nothing, part)

    def _unsegmented_time(self, phase: Phase) -> float:
        """Return the seconds of one step of *phase* whose message travels as one."""
        library, message = self.library, phase.message / phase.share
        slowest = phase.passes * phase.message / self.memory
        if "intra_node" in phase.links:
            slowest = max(slowest, self.intra_node.time(message))
        if "inter_node" not in phase.links:
            return slowest + (library.per_step if library.per_step_inside is None else library.per_step_inside)
        crossing = message * phase.flows / phase.nics * self._contention(phase)
        if library.stages == 1:
            return library.per_step + max(slowest, self.inter_node.time(crossing))
        each = library.per_step + self.inter_node.latency
        wire = max(slowest, self.inter_node.time(crossing) - self.inter_node.latency)
        return (math.sqrt(wire) + math.sqrt((library.stages - 1) * each)) ** 2

    def _contention(self, phase: Phase) -> float:
        """Return by how much less than its NICs a node can send in *phase*, because switches above are shared.

        Under a switch of m nodes whose uplinks carry 1/taper of what its nodes can send, all m send at once where
        partners are m nodes or more apart, or where everyone sends to everyone; of a ring or a tree, laid node after
        node, one node's messages leave. Every job that loads the switches takes as much again.
        """
        if not self.switches:
            return 1.0
        nodes = -(-self.gpus // self.gpus_per_node)
        far = phase.pattern.distance if phase.pattern.shape == "exchange" else 0
        apart = nodes if phase.pattern.shape == "everyone" else far
        loads = (
            switch.taper * self.jobs * (1.0 if apart >= switch.nodes else 1 / switch.nodes)
            for switch in self.switches
            if nodes > switch.nodes
        )
        return max([1.0, *loads])

    def phase_time(self, phase: Phase) -> float:
        """Return the seconds of all steps of *phase*."""
        return phase.steps * self.step_time(phase)


def closed_form(collective: Collective, fabric: Fabric) -> float:
    """Return the seconds of *collective* when nothing else uses the links."""
    if not collective.phases:
        return 0.0
    return fabric.library.per_collective + sum(fabric.phase_time(phase) for phase in collective.phases)


def fastest_protocol(message: float, algorithm: Algorithm, fabric: Fabric) -> tuple[Collective, Fabric]:
    """Return the collective of *message* bytes by the library's quickest protocol, and the fabric as that uses it."""
    candidates = ((algorithm(message, variant), variant) for variant in fabric.per_protocol)
    return min(candidates, key=lambda candidate: closed_form(*candidate))


def scenario_fabric(scenario: Scenario, cluster: Cluster, gpus: int) -> Fabric:
    """Return what collectives on *gpus* GPUs of *cluster* run over; groups are the plan's where it has so many GPUs."""
    plan = scenario.plan
    return Fabric.of(cluster, scenario.software.library, gpus, plan.group_size if gpus == plan.gpus else None)
