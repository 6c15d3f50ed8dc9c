"""Memory use of training on each accelerator."""

from dataclasses import astuple, dataclass

from lbsim.compute.gradients import GRADIENT_BYTES, MASTER_BYTES
from lbsim.compute.roofline import element_bytes
from lbsim.errors import InputError
from lbsim.scenario.plan import OptimizerKind
from lbsim.scenario.scenario import Scenario
from lbsim.units import DATA

__all__ = ["MemoryUse", "check_fits", "memory_use"]

_STATE_NUMBERS: dict[OptimizerKind, int] = {"sgd": 1, "lars": 1, "adam": 2, "lamb": 2}
"""Optimizer moments per parameter."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of memory on each GPU at the peak of a step."""

    weights: float
    masters: float
    """fp32 master copies of weights that compute in half precision."""
    gradients: float
    optimizer: float
    """Moments of the optimizer."""
    activations: float
    """Activations saved in forward for backward."""
    fusion_buffers: float
    reserved: float
    """Context, workspaces, communication buffers and fragmentation."""

    @property
    def total(self) -> float:
        """Sum of all parts, in bytes."""
        return float(sum(astuple(self)))


def memory_use(scenario: Scenario) -> MemoryUse:
    """Return the memory that *scenario* uses on each GPU.

    Activations are the elements that the layers save in forward for backward: a convolution and a normalisation save
    their inputs, a ReLU works in place. No recomputation.
    """
    plan, software, workload = scenario.plan, scenario.software, scenario.workload
    element, parameters = element_bytes(plan), workload.parameters
    gradient = parameters * GRADIENT_BYTES[plan.gradient_precision]
    saved = sum(layer.saved_elements for layer in workload.layers if not (layer.fusible and software.fused))
    return MemoryUse(
        weights=parameters * element,
        masters=parameters * MASTER_BYTES if plan.precision in {"mixed", "bf16"} else 0.0,
        gradients=gradient,
        optimizer=parameters * MASTER_BYTES * _STATE_NUMBERS[plan.optimizer],
        activations=saved * element * plan.batch_per_gpu,
        fusion_buffers=gradient if plan.gpus > 1 and software.fusion_copies else 0.0,
        reserved=software.reserved_memory,
    )


def check_fits(scenario: Scenario) -> MemoryUse:
    """Return the memory that *scenario* uses on each GPU.

    InputError, with the largest batch that fits, if the accelerator has less memory.
    """
    needed, accelerator = memory_use(scenario), scenario.cluster.accelerator
    if needed.total <= accelerator.memory:
        return needed
    per_sample = needed.activations / scenario.plan.batch_per_gpu
    fitting = int((accelerator.memory - needed.total + needed.activations) // per_sample) if per_sample else 0
    advice = f"write batch_per_gpu = {fitting} or less" if fitting >= 1 else "no batch fits"
    raise InputError(
        f"plan.batch_per_gpu: {scenario.plan.batch_per_gpu} needs {DATA.short(needed.total)} and {accelerator.name} "
        f"has {DATA.short(accelerator.memory)}; {advice}"
    )
