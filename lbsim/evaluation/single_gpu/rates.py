"""Published rates of one GPU, and what the compute law says of each with parameters other than the profiles'.

Parameters are told by name, in the logarithm relative to where they start: the efficiencies of the mathematics library,
the time a kernel of each software, and how fast each class of cores, architecture, card and software is compared with
the law (`lbsim.compute.roofline`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lbsim.compute.roofline import arithmetic_class, compute_times
from lbsim.measurements.case import case_files, read_case_file
from lbsim.profiles.catalog import PUBLISHED_CASES, Folders
from lbsim.profiles.hardware import RelativeSpeed
from lbsim.scenario.request import build_scenario
from lbsim.scenario.scenario import Scenario

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
"""Fitted fields of the kernels' profile: where each starts, and the spread of its prior."""
KERNEL_TIMES = {"old": 22e-6, "current": 12e-6, "mlperf": 5e-6}
"""Where the kernel time of a software starts: of 2016-17, since, and tuned for MLPerf."""
Values = Mapping[str, float]
"""Parameters by name, in the logarithm relative to where they start; one that is missing stays there."""


@dataclass(frozen=True)
class Rate:
    """One published rate and the scenario it belongs to."""

    system: str
    id: str
    quantity: str
    scenario: Scenario
    seconds: float
    """Observed, of a step or of the part of it that was observed."""

    @cached_property
    def cores(self) -> str:
        """On which cores the products run."""
        return arithmetic_class(self.scenario.cluster.accelerator, self.scenario.plan)

    @cached_property
    def effects(self) -> tuple[str, str, str, str]:
        """The speeds that multiply this rate: of the class of cores, the architecture, the card and the software."""
        card = self.scenario.cluster.accelerator
        return (
            f"cores {self.cores}",
            f"architecture {card.architecture} {self.cores}",
            f"card {card.name}",
            f"software {self.scenario.software.name} {self.cores}",
        )

    def parts(self, values: Values) -> tuple[float, float]:
        """Return what the law says of the seconds that a speed changes, before any does, and of those that none does.

        Of a part of the step that alone was observed, its own.
        """
        software, card = self.scenario.software, self.scenario.cluster.accelerator
        software = software.model_copy(
            update={
                "kernels": software.kernels.model_copy(update=kernels(values)),
                "kernel_time": kernel_time(software.name, values),
                "speed": RelativeSpeed(),
            }
        )
        cluster = self.scenario.cluster.model_copy(
            update={"accelerator": card.model_copy(update={"speed": RelativeSpeed()})}
        )
        times = compute_times(self.scenario.model_copy(update={"software": software, "cluster": cluster}))
        if self.quantity == "breakdown.update":
            return 0.0, times.update
        if self.quantity.startswith("breakdown"):
            return getattr(times, self.quantity.removeprefix("breakdown.")), 0.0
        return times.input_overhead + times.forward + times.backward, times.update

    def predicted(self, values: Values) -> tuple[float, float]:
        """Return the seconds of compute and those of the update."""
        compute, update = self.parts(values)
        return compute * math.exp(-sum(values.get(name, 0.0) for name in self.effects)), update

    def error(self, values: Values) -> float:
        """Return ln(predicted / observed)."""
        return math.log(sum(self.predicted(values)) / self.seconds)


def rates(role: str, place: Path = PUBLISHED_CASES) -> list[Rate]:
    """Return the published single-GPU rates of *role* in *place*."""
    found = []
    for file in case_files(place):
        content = read_case_file(file)
        for observed in content.observed:
            if not observed.class_.startswith("single GPU") or observed.role != role or observed.relative_to:
                continue
            scenario = build_scenario(content.scenario, observed.set, Folders(beside=file.parent.absolute()))
            seconds = _seconds(scenario, observed.quantity, observed.si)
            found.append(Rate(content.system, observed.id, observed.quantity, scenario, seconds))
    return found


def _seconds(scenario: Scenario, quantity: str, value: float) -> float:
    """Return the seconds of a step that the observed *value* means."""
    plan = scenario.plan
    if quantity.startswith("throughput"):
        return plan.batch_per_gpu / value
    if quantity == "time_to_train":
        return value * plan.batch_per_gpu / (plan.epochs * scenario.workload.samples)
    return value


def kernels(values: Values) -> dict[str, float]:
    """Return the fields of the kernels' profile with the parameters at *values*."""
    return {name: start * math.exp(values.get(f"kernels {name}", 0.0)) for name, (start, _) in KERNEL_PRIORS.items()}


def kernel_time(software: str, values: Values) -> float:
    """Return the seconds a kernel of *software* with the parameters at *values*."""
    era = "old" if software.endswith(("2016", "2017")) else "mlperf" if "mlperf" in software else "current"
    return KERNEL_TIMES[era] * math.exp(values.get(f"kernel_time {software}", 0.0))
