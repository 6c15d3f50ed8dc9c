"""Step schedules: compute times, transfers and overheads of one training step."""

from dataclasses import dataclass, replace
from functools import lru_cache

from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric, closed_form, fastest_protocol
from lbsim.communication.fusion import FusionBuffer, fuse
from lbsim.compute.gradients import ComputeTimes
from lbsim.compute.roofline import memory_rate
from lbsim.profiles.module_catalog import find_module
from lbsim.scenario.scenario import Scenario


@dataclass(frozen=True)
class Transfer:
    """A fusion buffer and the collective that carries it."""

    buffer: FusionBuffer
    collective: Collective
    fabric: Fabric
    """As the protocol that carries it uses it."""
    copy_time: float = 0.0
    """Seconds to copy the gradients into the buffer and out of it, half before and half after."""

    @property
    def message(self) -> float:
        """Bytes."""
        return self.buffer.message

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the gradients in the buffer."""
        return self.buffer.tensors

    @property
    def algorithm(self) -> str:
        """The algorithm that carries it."""
        return self.collective.algorithm


@dataclass(frozen=True)
class StepSchedule:
    """All that happens in one step of training."""

    times: ComputeTimes
    transfers: tuple[Transfer, ...] = ()
    overlap: bool = True
    overlap_slowdown: float = 0.0
    """Share by which compute takes longer while a collective is under way."""
    overhead: float = 0.0
    """Seconds a step that nothing hides."""
    input_time: float = 0.0
    """Seconds to prepare one step's input, which overlaps with the step before."""


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
