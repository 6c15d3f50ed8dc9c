r"""Roofline model of compute time, per layer, with forward and backward separate.

.. math:: t = \frac{1}{v} \left( \max \left( \frac{F\,p^q}{e P}, \frac{b}{e_m M} \right) + k\,t_k \right)

t is the time of one pass of a layer, F its FLOP, p the padding ratio of narrow channels and q its exponent, e the
fraction of the peak rate P that kernels of this class reach, b the bytes moved, :math:`e_m M` the memory bandwidth
reached, k the number of kernels of the pass, :math:`t_k` the constant time per kernel, and v the calibrated speed of
this accelerator and framework relative to the model.

Without tensor cores e is *vector_efficiency*, times *winograd_speedup* for 3x3 and 5x5 convolutions of stride 1. On
tensor cores e falls as the peak grows relative to memory bandwidth: :math:`e = e_0 (P / M / I_0)^{-f}`.

S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for multicore
architectures," Commun. ACM 52(4), 2009; A. Lavin, S. Gray, "Fast algorithms for convolutional neural networks,"
CVPR 2016, for Winograd. The efficiencies are calibrated; see ``hardware_profiles/kernels``.
"""

from dataclasses import dataclass
from typing import Literal

from lbsim.compute.gradients import MASTER_BYTES, ComputeTimes, GradientTensor
from lbsim.errors import InputError
from lbsim.profiles.hardware import Accelerator
from lbsim.profiles.software import Software
from lbsim.scenario.plan import OptimizerKind, Plan
from lbsim.scenario.scenario import Scenario
from lbsim.workload.layers import Layer, Workload

__all__ = ["arithmetic_class", "compute_times", "element_bytes", "memory_rate", "peak"]

_ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "mixed": 2, "bf16": 2}

_UPDATE_TRAFFIC: dict[OptimizerKind, int] = {"sgd": 5, "lars": 7, "adam": 7, "lamb": 10}
"""fp32 numbers read and written per parameter: weight, gradient and moments are read, weight and moments written;
LARS and LAMB read weight and gradient (LAMB: update) once more for their norms."""
_UPDATE_KERNELS: dict[OptimizerKind, int] = {"sgd": 1, "lars": 3, "adam": 1, "lamb": 4}
"""Kernels per tensor: the update, and each norm."""
_TENSORS_A_LAUNCH = 48
"""Tensors per multi-tensor kernel, as in NVIDIA apex and PyTorch foreach."""


@dataclass(frozen=True)
class _Rates:
    """Rates that an accelerator reaches with a given software and precision."""

    arithmetic: float
    """FLOP/s of a layer that Winograd's algorithm does not apply to."""
    square_speedup: float
    """Speedup of layers that Winograd's algorithm applies to."""
    memory: float
    """Bytes per second."""
    kernel_time: float
    """Seconds per kernel."""
    speed: float
    """Speed relative to the model."""
    element: int
    """Bytes per element of an activation."""


def compute_times(scenario: Scenario) -> ComputeTimes:
    """Return the compute times of a step on one GPU of *scenario*, without communication or stragglers.

    InputError if the accelerator lacks the plan's precision.
    """
    software, plan = scenario.software, scenario.plan
    accelerator, workload = scenario.cluster.accelerator, scenario.workload
    rates = _rates(accelerator, software, plan)
    forward = sum(_forward(layer, plan.batch_per_gpu, rates, software) for layer in workload.layers)
    backward = 0.0
    gradients: list[GradientTensor] = []
    for layer in reversed(workload.layers):
        backward += _backward(layer, plan.batch_per_gpu, rates, software)
        for tensor in reversed(layer.tensors):
            number = len(workload.tensors) - len(gradients)
            gradients.append(GradientTensor(tensor.name, number, tensor.elements, backward))
    update = _update(workload, plan, software, rates)
    return ComputeTimes(forward, backward, update, software.input_overhead * (forward + backward), tuple(gradients))


def arithmetic_class(accelerator: Accelerator, plan: Plan) -> Literal["vector", "tf32", "tensor"]:
    """Return the class of arithmetic units on which matrix products run.

    Mixed precision on an accelerator without fast fp16, such as the P40, computes at the fp32 rate and is faster
    because it moves half the bytes.

    InputError if the accelerator lacks the plan's precision.
    """
    if plan.precision == "tf32":
        _require(accelerator, accelerator.peak.tf32, "tf32", "fp32")
        return "tf32"
    if plan.precision == "bf16":
        _require(accelerator, accelerator.peak.bf16, "bf16", "mixed")
        return "tensor" if accelerator.tensor_cores else "vector"
    return "tensor" if plan.precision == "mixed" and accelerator.tensor_cores else "vector"


def peak(accelerator: Accelerator, plan: Plan) -> float:
    """Return the rated FLOP/s at the plan's precision, at least the fp32 rate."""
    rates = accelerator.peak
    by_precision = {"fp32": rates.fp32, "tf32": rates.tf32, "mixed": rates.fp16, "bf16": rates.bf16}
    return max(rates.fp32, by_precision[plan.precision] or 0.0)


def memory_rate(accelerator: Accelerator, software: Software) -> float:
    """Return the memory bandwidth that kernels reach, in bytes per second."""
    return software.kernels.memory_efficiency * accelerator.memory_bandwidth


def element_bytes(plan: Plan) -> int:
    """Return the bytes per element of an activation."""
    return _ELEMENT_BYTES[plan.precision]


def _require(accelerator: Accelerator, rate: float | None, precision: str, instead: str) -> None:
    if rate is None:
        raise InputError(f"plan.precision: {accelerator.name} has no {precision}; use --precision {instead}")


def _rates(accelerator: Accelerator, software: Software, plan: Plan) -> _Rates:
    kernels, rated = software.kernels, peak(accelerator, plan)
    cores = arithmetic_class(accelerator, plan)
    if cores == "vector":
        share, square = kernels.vector_efficiency, kernels.winograd_speedup
    else:
        intensity = rated / accelerator.memory_bandwidth
        share = kernels.tensor_efficiency * (intensity / kernels.tensor_intensity) ** -kernels.tensor_falloff
        square = kernels.tensor_square_speedup
    return _Rates(
        arithmetic=share * rated,
        square_speedup=square,
        memory=memory_rate(accelerator, software),
        kernel_time=accelerator.launch_overhead + software.kernel_time,
        speed=getattr(accelerator.speed, cores) * getattr(software.speed, cores),
        element=element_bytes(plan),
    )


def _forward(layer: Layer, batch: int, rates: _Rates, software: Software) -> float:
    return _pass(layer, layer.forward_flops * batch, layer.forward_elements * batch, layer.kernels[0], rates, software)


def _backward(layer: Layer, batch: int, rates: _Rates, software: Software) -> float:
    work = layer.backward_flops * batch / software.kernels.backward_efficiency
    return _pass(layer, work, layer.backward_elements * batch, layer.kernels[1], rates, software)


def _pass(  # noqa: PLR0917
    layer: Layer, work: float, elements: float, kernels: int, rates: _Rates, software: Software
) -> float:
    """Return the seconds of one pass with *work* FLOP; each kernel reads or writes the layer's weights."""
    if layer.fusible and software.fused:
        return 0.0
    rate = rates.arithmetic * (rates.square_speedup if layer.square else 1.0)
    moved = (elements + kernels * layer.parameters) * rates.element
    busy = max(work * _padding(layer, software) / rate, moved / rates.memory)
    return (busy + kernels * rates.kernel_time) / rates.speed


def _padding(layer: Layer, software: Software) -> float:
    """Return the factor by which narrow channels lengthen a convolution."""
    if layer.channels is None:
        return 1.0
    kernels = software.kernels
    padding = 1.0
    for channels in layer.channels:
        if channels < kernels.channel_granule // 4:
            continue  # libraries have separate kernels for the first layer's three colours
        granule = kernels.channel_granule // (2 if channels <= kernels.channel_granule // 2 else 1)
        padding *= -(-channels // granule) * granule / channels
    return float(padding**kernels.channel_exponent)


def _update(workload: Workload, plan: Plan, software: Software, rates: _Rates) -> float:
    """Return the seconds of the optimizer's update, which is memory bound and never overlapped.

    LARS reads weights, gradients and momentum, writes weights and momentum, and computes two norms per tensor
    (You, Gitman, Ginsburg, arXiv:1708.03888).
    """
    moved = workload.parameters * _UPDATE_TRAFFIC[plan.optimizer] * MASTER_BYTES
    tensors = len(workload.tensors)
    launches = -(-tensors // _TENSORS_A_LAUNCH) if software.multi_tensor_update else tensors
    return moved / rates.memory + launches * _UPDATE_KERNELS[plan.optimizer] * rates.kernel_time
