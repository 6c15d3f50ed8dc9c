"""What training needs of each accelerator's memory."""

from dataclasses import astuple, dataclass

from lbsim.compute.gradients import GRADIENT_BYTES, MASTER_BYTES
from lbsim.compute.roofline import element_bytes
from lbsim.errors import InputError
from lbsim.scenario.plan import OptimizerKind
from lbsim.scenario.scenario import Scenario
from lbsim.units import DATA

_STATE_NUMBERS: dict[OptimizerKind, int] = {"sgd": 1, "lars": 1, "adam": 2, "lamb": 2}
"""Moments kept a parameter."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes on each GPU at the peak of a step."""

    weights: float
    masters: float
    """fp32 copies of weights that compute in half precision."""
    gradients: float
    optimizer: float
    activations: float
    fusion_buffers: float
    reserved: float

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(astuple(self)))


def memory_use(scenario: Scenario) -> MemoryUse:
    """Return what *scenario* needs on each GPU.

    Activations are what every layer keeps of forward for backward: a convolution and a normalisation keep their
    inputs, a ReLU works in place. No recomputation.
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
    """Return the memory that *scenario* needs; InputError, with the batch that fits, if the accelerator has less."""
    needed, accelerator = memory_use(scenario), scenario.cluster.accelerator
    if needed.total <= accelerator.memory:
        return needed
    a_sample = needed.activations / scenario.plan.batch_per_gpu
    fitting = int((accelerator.memory - needed.total + needed.activations) // a_sample) if a_sample else 0
    advice = f"write batch_per_gpu = {fitting} or less" if fitting >= 1 else "no batch fits"
    raise InputError(
        f"plan.batch_per_gpu: {scenario.plan.batch_per_gpu} needs {DATA.short(needed.total)} and {accelerator.name} "
        f"has {DATA.short(accelerator.memory)}; {advice}"
    )
