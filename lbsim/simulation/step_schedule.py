"""Step schedules: compute times, transfers and overheads of one training step."""

from dataclasses import dataclass, replace
from functools import lru_cache

from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric, closed_form
from lbsim.communication.fusion import FusionBuffer, fuse
from lbsim.communication.selection import fastest_protocol
from lbsim.compute.gradients import ComputeTimes
from lbsim.compute.roofline import memory_rate
from lbsim.profiles.module_catalog import find_module
from lbsim.scenario.scenario import Scenario

__all__ = ["StepSchedule", "Transfer", "build_schedule"]


@dataclass(frozen=True)
class Transfer:
    """Fusion buffer, and the collective that sends it."""

    buffer: FusionBuffer
    collective: Collective
    fabric: Fabric
    """Fabric with the protocol that the message uses."""
    copy_time: float = 0.0
    """Seconds to copy the gradients into the buffer and out of it, half before and half after the collective."""

    @property
    def message(self) -> float:
        """Bytes of the message."""
        return self.buffer.message

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the gradients in the buffer."""
        return self.buffer.tensors

    @property
    def algorithm(self) -> str:
        """Name of the all-reduce algorithm."""
        return self.collective.algorithm


@dataclass(frozen=True)
class StepSchedule:
    """Work of one training step, before simulation."""

    times: ComputeTimes
    """Compute times of a GPU."""
    transfers: tuple[Transfer, ...] = ()
    """Messages in the order in which they are sent."""
    overlap: bool = True
    """Whether communication overlaps with backward."""
    overlap_slowdown: float = 0.0
    """Fraction by which compute takes longer while a collective runs."""
    overhead: float = 0.0
    """Seconds per step that are never overlapped."""
    input_time: float = 0.0
    """Seconds to prepare the input of one step, overlapped with the previous step."""


def build_schedule(scenario: Scenario, times: ComputeTimes, fabric: Fabric) -> StepSchedule:
    """Return the schedule of a step of *scenario* on *fabric*, with compute *times* of a GPU."""
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
    """Return the fusion buffers of the plan's policy, each with its collective and the time of its copies."""
    plan, software = scenario.plan, scenario.software
    all_reduce = find_module("all_reduce", plan.all_reduce).all_reduce
    accesses = 2 * software.fusion_copies  # a copy reads and writes each byte
    copy_time = accesses / memory_rate(scenario.cluster.accelerator, software)

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
    """Return the seconds to prepare the input of a step: the longer of decoding in a node and copying to a GPU."""
    cluster, batch = scenario.cluster, scenario.plan.batch_per_gpu
    decode = batch * gpus_in_node / cluster.decode_rate if cluster.decode_rate else 0.0
    copy = cluster.host.time(batch * scenario.workload.input_bytes) if cluster.host else 0.0
    return max(decode, copy)
