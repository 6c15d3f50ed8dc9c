"""Published rates of one GPU, and their predictions by the compute law with given parameters.

Parameters have names and are logarithms relative to their start: the efficiencies of the mathematics library, the time
per kernel of each software, and the relative speed of each class of cores, architecture, card and software
(`lbsim.compute.roofline`).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lbsim.compute.roofline import arithmetic_class, compute_times
from lbsim.evaluation.residual import Residual
from lbsim.measurements.case import case_files, case_observation, read_case_file
from lbsim.measurements.case_class import SINGLE_GPU
from lbsim.measurements.observation import Observation
from lbsim.profiles.catalog import PUBLISHED_CASES
from lbsim.profiles.hardware import RelativeSpeed

KERNEL_PRIORS = {
    "vector_efficiency": (0.72, 0.11),
    "winograd_speedup": (2.25, 0.1),  # the products that the algorithm saves
    "tensor_efficiency": (0.31, 0.2),
    "tensor_falloff": (0.66, 0.2),
    "tensor_square_speedup": (1.5, 0.2),
    "memory_efficiency": (0.79, 0.1),  # what STREAM reaches
    "backward_efficiency": (0.78, 0.1),
    "channel_exponent": (1.0, 0.4),
}
"""Fitted fields of the kernels' profile: start, and standard deviation of the prior in the logarithm."""
KERNEL_TIMES = {"old": 22e-6, "current": 12e-6, "mlperf": 5e-6}
"""Start of the time per kernel of a software, in seconds: of 2016-17, later, and tuned for MLPerf."""
Values = Mapping[str, float]
"""Parameters by name, as logarithms relative to their start; a missing one is at its start."""


def rates(role: str, folder: Path = PUBLISHED_CASES) -> list[Observation]:
    """Return the published single-GPU rates of *role* in *folder*, converted to seconds."""
    found = []
    for file in case_files(folder):
        content = read_case_file(file)
        for entry in content.observed:
            if entry.class_ in SINGLE_GPU and entry.role == role and not entry.relative_to:
                found.append(in_seconds(case_observation(file, content, entry)))
    return found


def in_seconds(observation: Observation) -> Observation:
    """Return *observation*, of one GPU, with its value converted to the seconds of a step."""
    plan, value, quantity = observation.scenario.plan, observation.value, observation.quantity
    if quantity.startswith("throughput"):
        quantity, value = "step_time", plan.batch_per_gpu / value
    elif quantity == "time_to_train":
        samples = plan.epochs * observation.scenario.workload.samples
        quantity, value = "step_time", value * plan.batch_per_gpu / samples
    return replace(observation, measurement=replace(observation.measurement, quantity=quantity, value=value))


def cores(rate: Observation) -> str:
    """Return the class of cores that computes the products of *rate*."""
    return arithmetic_class(rate.scenario.cluster.accelerator, rate.scenario.plan)


def effects(rate: Observation) -> tuple[str, str, str, str]:
    """Return the names of the speeds that multiply *rate*: of its cores, architecture, card and software."""
    card, own = rate.scenario.cluster.accelerator, cores(rate)
    return (
        f"cores {own}",
        f"architecture {card.architecture} {own}",
        f"card {card.name}",
        f"software {rate.scenario.software.name} {own}",
    )


def parts(rate: Observation, values: Values) -> tuple[float, float]:
    """Return the seconds that a speed divides, at speed 1, and the seconds of the update, which no speed changes.

    For a part of a step, only the seconds of that part.
    """
    software, card = rate.scenario.software, rate.scenario.cluster.accelerator
    software = software.model_copy(
        update={
            "kernels": software.kernels.model_copy(update=kernels(values)),
            "kernel_time": kernel_time(software.name, values),
            "speed": RelativeSpeed(),
        }
    )
    cluster = rate.scenario.cluster.model_copy(
        update={"accelerator": card.model_copy(update={"speed": RelativeSpeed()})}
    )
    times = compute_times(rate.scenario.model_copy(update={"software": software, "cluster": cluster}))
    if rate.quantity == "breakdown.update":
        return 0.0, times.update
    if rate.quantity.startswith("breakdown"):
        return getattr(times, rate.quantity.removeprefix("breakdown.")), 0.0
    return times.input_overhead + times.forward + times.backward, times.update


def predicted(rate: Observation, values: Values) -> tuple[float, float]:
    """Return the predicted seconds of compute and of the update."""
    compute, update = parts(rate, values)
    return compute * math.exp(-sum(values.get(name, 0.0) for name in effects(rate))), update


def residual(rate: Observation, values: Values) -> Residual:
    """Return *rate* beside its prediction with the parameters at *values*."""
    return Residual(rate, sum(predicted(rate, values)))


def kernels(values: Values) -> dict[str, float]:
    """Return the fields of the kernels' profile with the parameters at *values*."""
    return {name: start * math.exp(values.get(f"kernels {name}", 0.0)) for name, (start, _) in KERNEL_PRIORS.items()}


def kernel_time(software: str, values: Values) -> float:
    """Return the seconds a kernel of *software* with the parameters at *values*."""
    era = "old" if software.endswith(("2016", "2017")) else "mlperf" if "mlperf" in software else "current"
    return KERNEL_TIMES[era] * math.exp(values.get(f"kernel_time {software}", 0.0))
