"""Plays one step of a scenario on some number of its GPUs: fuse, all-reduce, simulate."""

from dataclasses import dataclass

from lbsim.catalog import module
from lbsim.collective import Fabric
from lbsim.compute import ComputeTimes, memory_rate
from lbsim.fusion import FusionBuffer, fuse
from lbsim.scenario import Scenario
from lbsim.simulate import Step, Transfer, simulate
from lbsim.stragglers import slowdown
from lbsim.timeline import Timeline


@dataclass(frozen=True)
class Played:
    """One step as it went."""

    timeline: Timeline
    transfers: tuple[Transfer, ...]
    stretch: float
    """Share by which waiting for the slowest rank lengthens compute."""


def play(scenario: Scenario, times: ComputeTimes, gpus: int) -> Played:
    """Play a step of *scenario* on *gpus* GPUs, each of which computes for *times* when nothing disturbs it."""
    plan, software, cluster = scenario.plan, scenario.software, scenario.cluster
    stretch = slowdown(software.straggler_spread, gpus)
    slowest = times.scaled(1 + stretch)
    group = plan.group_size if gpus == plan.gpus else None
    fabric = Fabric.of(cluster, software.library, gpus, group)
    step = Step(
        times=slowest,
        transfers=_transfers(scenario, fuse(slowest.gradients, plan), fabric) if gpus > 1 else (),
        overlap=plan.overlap,
        overlap_slowdown=software.overlap_slowdown,
        overhead=software.step_overhead if gpus > 1 else 0.0,
        input_time=_input_time(scenario, fabric.gpus_per_node),
    )
    return Played(simulate(step, fabric), step.transfers, stretch)


def _transfers(scenario: Scenario, buffers: tuple[FusionBuffer, ...], fabric: Fabric) -> tuple[Transfer, ...]:
    """Give each buffer the collective that the plan names, and the time to copy gradients in and out."""
    all_reduce = module("all_reduce", scenario.plan.all_reduce).all_reduce
    copied = 2 * scenario.software.fusion_copies  # each copy reads and writes
    rate = memory_rate(scenario.cluster.accelerator, scenario.software)
    return tuple(
        Transfer(buffer, all_reduce(buffer.message, fabric), copied * buffer.message / rate) for buffer in buffers
    )


def _input_time(scenario: Scenario, gpus_in_node: int) -> float:
    """Return the seconds in which a node decodes a step's samples and its hosts copy them to the GPUs."""
    cluster, batch = scenario.cluster, scenario.plan.batch_per_gpu
    decode = batch * gpus_in_node / cluster.decode_rate if cluster.decode_rate else 0.0
    copy = cluster.host.time(batch * scenario.workload.input_bytes) if cluster.host else 0.0
    return max(decode, copy)
