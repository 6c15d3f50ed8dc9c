"""Plays one step of a scenario on some number of its GPUs: fuse, all-reduce, simulate."""

from dataclasses import dataclass, replace
from functools import lru_cache

from lbsim.communication.fabric import Fabric, closed_form, fastest_protocol, scenario_fabric
from lbsim.communication.fusion import fuse
from lbsim.compute.gradients import ComputeTimes
from lbsim.compute.roofline import memory_rate
from lbsim.profiles.catalog import find_module
from lbsim.profiles.slow_parts import with_slowest_links, without_slow_parts
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.step_simulator import StepSchedule, Transfer, simulate_schedule
from lbsim.simulation.stragglers import compute_slowdown
from lbsim.simulation.timeline import Timeline


@dataclass(frozen=True)
class StepResult:
    """One step as it went."""

    timeline: Timeline
    transfers: tuple[Transfer, ...]
    stretch: float
    """Share by which waiting for the slowest rank lengthens compute."""


def simulate_step(scenario: Scenario, times: ComputeTimes, gpus: int) -> StepResult:
    """Play a step of *scenario* on *gpus* GPUs, each of which computes for *times* when nothing disturbs it."""
    # what a scale is compared with is a healthy machine
    cluster = scenario.cluster if gpus == scenario.plan.gpus else without_slow_parts(scenario.cluster)
    stretch = compute_slowdown(cluster, gpus, scenario.software.straggler_spread)
    fabric = scenario_fabric(scenario, with_slowest_links(cluster, gpus), gpus)
    schedule = build_schedule(scenario, times.scaled(1 + stretch), fabric)
    return StepResult(simulate_schedule(schedule, scenario.software.library.streams), schedule.transfers, stretch)


def build_schedule(scenario: Scenario, times: ComputeTimes, fabric: Fabric) -> StepSchedule:
    """Return what happens in a step of *scenario* on *fabric*, whose GPUs compute for *times*."""
    plan, software, several = scenario.plan, scenario.software, fabric.gpus > 1
    return StepSchedule(
        times=times,
        transfers=_transfers(scenario, times, fabric) if several else (),
        overlap=plan.overlap,
        overlap_slowdown=software.overlap_slowdown,
        overhead=software.step_overhead if several else 0.0,
        input_time=_input_time(scenario, fabric.gpus_per_node),
    )


def _transfers(scenario: Scenario, times: ComputeTimes, fabric: Fabric) -> tuple[Transfer, ...]:
    """Pack the gradients, and give each buffer the collective that the plan names and the time of its copies."""
    plan, software = scenario.plan, scenario.software
    all_reduce = find_module("all_reduce", plan.all_reduce).all_reduce
    copied = 2 * software.fusion_copies  # each copy reads and writes
    copy_time = copied / memory_rate(scenario.cluster.accelerator, software)

    def cost(message: float) -> float:
        return closed_form(*fastest_protocol(message, all_reduce, fabric)) + copy_time * message

    gradients = times.gradients
    if not plan.overlap:
        gradients = tuple(replace(gradient, ready=times.backward) for gradient in gradients)
    slowdown = software.overlap_slowdown if plan.overlap else 0.0
    buffers = fuse(gradients, plan, lru_cache(maxsize=None)(cost), slowdown)
    return tuple(
        Transfer(buffer, *fastest_protocol(buffer.message, all_reduce, fabric), copy_time * buffer.message)
        for buffer in buffers
    )


def _input_time(scenario: Scenario, gpus_in_node: int) -> float:
    """Return the seconds in which a node decodes a step's samples and its hosts copy them to the GPUs."""
    cluster, batch = scenario.cluster, scenario.plan.batch_per_gpu
    decode = batch * gpus_in_node / cluster.decode_rate if cluster.decode_rate else 0.0
    copy = cluster.host.time(batch * scenario.workload.input_bytes) if cluster.host else 0.0
    return max(decode, copy)
