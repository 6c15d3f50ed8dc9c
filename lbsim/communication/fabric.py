"""Fabric: GPUs, links and library that a collective runs on, and the closed form of its time."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from lbsim.communication.collective import Collective, LinkName, Phase
from lbsim.errors import InputError
from lbsim.profiles.hardware import Cluster, Link, Switch
from lbsim.profiles.software import Library, Protocol
from lbsim.scenario.scenario import Scenario

__all__ = ["Algorithm", "Fabric", "closed_form", "scenario_fabric"]

Algorithm = Callable[[float, "Fabric"], "Collective"]
"""Function of the message's bytes and a fabric that returns a collective, as in ``lbsim/communication/all_reduce``."""

_PROTOCOL_COSTS = ("per_collective", "per_step", "per_step_inside", "tree_efficiency")
"""Fields of a protocol that replace those of its library."""


@dataclass(frozen=True)
class Fabric:
    """GPUs that run a collective, their placement on nodes, their links and their library."""

    gpus: int
    """Number of GPUs."""
    gpus_per_node: int
    """GPUs per node, at most *gpus*."""
    intra_node: Link
    inter_node: Link
    nics: int
    """NICs per node."""
    library: Library
    group_size: int
    """GPUs per group, for hierarchical algorithms."""
    switches: tuple[Switch, ...] = ()
    """Oversubscribed switch levels between nodes."""
    jobs: int = 1
    """Number of jobs, including this one, that load the switches equally."""
    memory: float = math.inf
    """Memory bandwidth of a GPU in bytes per second, for the additions of a reduction."""
    architecture: str = ""
    """Architecture of the accelerators, such as ``GH100``."""
    protocol: Protocol | None = None
    """Protocol with overlapping latency and bytes; None for the library's own costs."""

    @classmethod
    def of(cls, cluster: Cluster, library: Library, gpus: int, group_size: int | None = None) -> "Fabric":
        """Return the fabric of the first *gpus* GPUs of *cluster*, with nodes filled in order.

        A *group_size* of None takes the GPUs per node.
        """
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
            cluster.accelerator.architecture,
        )

    @property
    def nodes(self) -> int:
        """Number of nodes; the last may not be full."""
        return -(-self.gpus // self.gpus_per_node)

    @property
    def tuned(self) -> bool:
        """Whether the library chooses by a tuning model; without protocols it has only its own costs."""
        return self.library.tuning is not None and bool(self.library.protocols)

    def protocols(self, algorithm: str) -> dict[str, Protocol]:
        """Return the named protocols that have costs for *algorithm* over these accelerators and links, by name."""
        return {
            protocol.name: protocol
            for protocol in self.library.protocols
            if algorithm in protocol.algorithms
            and self.architecture.startswith(protocol.architectures or "")
            and self._supports(protocol)
        }

    def by(self, algorithm: str, name: str) -> "Fabric":
        """Return the variant of the fabric with the costs of *algorithm* with the protocol *name*.

        InputError if the library has no such costs for these accelerators and links.
        """
        variant = self._variants.get((algorithm, name))
        if variant is None:
            usable = self.protocols(algorithm)
            if name not in usable:
                chip = self.architecture or "unnamed"
                raise InputError(
                    f"{self.library.name}: no costs of {algorithm} with protocol '{name}' on {chip} chips over "
                    f"{self.intra_node.name}; there are: {', '.join(usable) or 'none'}; use e.g. --library nccl-2"
                )
            variant = replace(self._with_protocol(usable[name]), protocol=usable[name])
            self._variants[algorithm, name] = variant
        return variant

    @cached_property
    def _variants(self) -> dict[tuple[str, str], "Fabric"]:
        """Cache of `by`."""
        return {}

    @cached_property
    def per_protocol(self) -> tuple["Fabric", ...]:
        """Variants of the fabric with each usable protocol of its library, the default protocol first."""
        return (
            self,
            *(self._with_protocol(protocol) for protocol in self.library.protocols if self._supports(protocol)),
        )

    def _supports(self, protocol: Protocol) -> bool:
        """Return whether *protocol* works over the links of this fabric."""
        crosses_nodes = self.gpus > self.gpus_per_node
        excluded = crosses_nodes and protocol.not_across and self.inter_node.name.endswith(protocol.not_across)
        return self.intra_node.name.startswith(protocol.only_over) and not excluded

    def _with_protocol(self, protocol: Protocol) -> "Fabric":
        costs = {name: getattr(protocol, name) for name in _PROTOCOL_COSTS}
        intra, inter = (
            link.model_copy(update={"efficiency": link.efficiency * protocol.efficiency})
            for link in (self.intra_node, self.inter_node)
        )
        if protocol.overlap:
            share = self.inter_node.efficiency * protocol.efficiency_across
            intra = self.intra_node.model_copy(update={"efficiency": protocol.efficiency})
            inter = self.inter_node.model_copy(update={"efficiency": share})
        library = self.library.model_copy(update=costs | {"protocols": ()})
        return replace(self, intra_node=intra, inter_node=inter, library=library)

    def links(self, ring: int, stride: int = 1) -> tuple[LinkName, ...]:
        """Return the links that a ring of *ring* GPUs with ranks *stride* apart crosses."""
        if ring * stride <= self.gpus_per_node:
            return ("intra_node",)
        return ("intra_node", "inter_node") if stride < self.gpus_per_node else ("inter_node",)

    def step_time(self, phase: Phase) -> float:
        r"""Return the seconds of one step of *phase*: the library's cost plus the maximum of link and reduction time.

        Received bytes are added while they arrive, so that the reduction counts only if memory is slower than the
        links. If a message passes k pipeline stages in fragments, each with start-up cost α, a step between nodes
        takes, with fragments of the optimal size,

        .. math:: t = \left( \sqrt{S / B} + \sqrt{(k - 1) α} \right)^2

        so that a link reaches its bandwidth only with messages far larger than αB.

        P. Sanders, J. Speck, J. L. Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan,"
        Parallel Computing 35(12), 2009, section 2, for a chain of k. If a message consists of n segments, each sent
        while earlier ones wait for their latency, a step that crosses the links l takes

        .. math:: t = \max_l \max\left( S / B_l, α_l + S / (n B_l) \right)

        as in Gloo's ring, with at least two segments per rank (gloo/allreduce.cc). It never falls with a latency.
        """
        if self.protocol is not None and self.protocol.overlap:
            return self._overlapped_time(phase, self.protocol)
        parts = self.library.segments
        if parts == 1:
            return self._unsegmented_time(phase)
        segment = self._unsegmented_time(replace(phase, message=phase.message / parts))
        return max(self._transfer_time(phase), segment)

    def _overlapped_time(self, phase: Phase, protocol: Protocol) -> float:
        r"""Return the seconds of one step of *phase* whose latency and bytes hide each other.

        .. math:: t = \sqrt{α^2 + X^2} + \sqrt{k X / s}, \quad X = (S + c S_0 / s) / (e B)

        for s steps of S bytes, with c copies of the own shard S_0. If a fraction ς of the steps on a byte's path leaves
        a node, :math:`α = (1-ς) a + ς (a_{net} + λ)` with the latency λ of the link between nodes. The k term is the
        slow approach to the rate.

        Fitted on 2,136 collectives inside NVSwitch nodes, mean error 4.0 % from 1 MiB up and 5.7 % below: see
        reports/collectives. Between nodes only few measurements constrain it.
        """
        inside = self.library.per_step if protocol.per_step_inside is None else protocol.per_step_inside
        latency = inside
        if "inter_node" in phase.links:
            across = (phase.steps if phase.crossings is None else phase.crossings) / phase.steps
            latency = (1 - across) * inside + across * (protocol.per_step + self.inter_node.latency)
        wire = self._transfer_time(phase)
        if phase.own and "intra_node" in phase.links:
            own = protocol.copies * phase.own / phase.steps
            wire = max(wire, (phase.message + own) / self.intra_node.rate)
        return math.hypot(latency, wire) + math.sqrt(protocol.approach * wire / phase.steps)

    def _transfer_time(self, phase: Phase) -> float:
        """Return the seconds that one step of *phase* occupies the slowest link or memory, without any latency."""
        message = phase.message / phase.share
        times = [phase.passes * phase.message / self.memory]
        if "intra_node" in phase.links:
            times.append(message / self.intra_node.rate)
        if "inter_node" in phase.links:
            times.append(message * phase.flows / phase.nics * self._contention(phase) / self.inter_node.rate)
        return max(times)

    def _unsegmented_time(self, phase: Phase) -> float:
        """Return the seconds of one step of *phase* with its message in one segment."""
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
        """Return the factor, at least 1, by which shared switches lengthen the messages of *phase* between nodes.

        The uplinks of a switch above m nodes carry 1/taper of the nodes' bandwidth. All m nodes use them at once if
        partners are at least m nodes apart, or if all GPUs send to all; in a ring or a tree in node order, only one
        node's messages leave the switch. Every job that loads the switches adds the same load.
        """
        if not self.switches:
            return 1.0
        nodes = self.nodes
        partner = phase.pattern.distance if phase.pattern.shape == "exchange" else 0
        distance = nodes if phase.pattern.shape == "all-to-all" else partner
        loads = (
            switch.taper * self.jobs * (1.0 if distance >= switch.nodes else 1 / switch.nodes)
            for switch in self.switches
            if nodes > switch.nodes
        )
        return max([1.0, *loads])

    def phase_time(self, phase: Phase) -> float:
        """Return the seconds of all steps of *phase*."""
        return phase.steps * self.step_time(phase)


def closed_form(collective: Collective, fabric: Fabric) -> float:
    """Return the seconds of *collective* without other traffic on the links: start-up plus the sum over its phases."""
    if not collective.phases:
        return 0.0
    return fabric.library.start_up + sum(fabric.phase_time(phase) for phase in collective.phases)


def scenario_fabric(scenario: Scenario, cluster: Cluster, gpus: int) -> Fabric:
    """Return the fabric of *gpus* GPUs of *cluster* with the library of *scenario*.

    The plan's group size applies only if *gpus* are the plan's GPUs.
    """
    plan = scenario.plan
    return Fabric.of(cluster, scenario.software.library, gpus, plan.group_size if gpus == plan.gpus else None)
