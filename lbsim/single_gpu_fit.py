r"""Fits the compute law to the published rates of one GPU, and predicts rates that the fit has not seen.

With the law's parameters θ (`lbsim.compute`; the efficiencies of the mathematics library, the time a kernel of each
software) and how fast each class of cores, architecture, card and software is compared with it, :math:`v_j`, a rate
has the time

.. math:: \ln t_i = \ln \left( c_i(θ) e^{-\sum_j v_{ij}} + u_i(θ) \right)

with c what the GPU computes and u its update, which no speed changes. Both are linear in the time a kernel, a factor
:math:`e^θ`; with the other parameters the fit takes c for exponential and u for linear, around a point that is moved
until it stays. What is left out is predicted with the law itself.
Each parameter has a prior around where it starts, residuals count by a loss that is linear in the end, so that
outliers pull little, and rates whose role is ``validate`` are never fitted to.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbsim.case import case_files, read_case_file
from lbsim.catalog import PUBLISHED_CASES, Folders
from lbsim.compute import arithmetic_class, compute_times
from lbsim.hardware import Speed
from lbsim.question import ask
from lbsim.scenario import Scenario

Vector = NDArray[np.float64]

NOISE = 0.06
"""Spread of the logarithm of a rate between runs of one framework by others, about."""
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
MOST_EFFICIENT = 0.95
"""Of a rated figure; more than all of it would be unphysical, and the architectures' speeds can take the rest."""
CORES, ARCHITECTURE, CARD, SOFTWARE, KERNEL_TIME = 0.5, 0.15, 0.06, 0.1, 0.3
"""Spread of the priors of the other groups."""
_STEP = 1e-3
_STAYS = 5e-3
"""Largest move of any parameter, in the logarithm, that is none."""
_NEAR = 0.05
"""The same, of a parameter of the kernels from where the law was taken."""
_MOST_ROUNDS = 6
_MOST_STEPS = 60
_SETTLED = 1e-4
"""The same, of one step of the fit around one point."""

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
                "speed": Speed(),
            }
        )
        cluster = self.scenario.cluster.model_copy(update={"accelerator": card.model_copy(update={"speed": Speed()})})
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
            scenario = ask(content.scenario, observed.set, Folders(beside=file.parent.absolute()))
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


class Fit:
    """The parameters that *data* speak of, by name, and what is fitted to them or to some of them."""

    def __init__(self, data: Sequence[Rate]) -> None:
        """Collect the parameters; those of the law come first."""
        self.data = list(data)
        softwares = sorted({rate.scenario.software.name for rate in self.data})
        groups = [(f"kernels {name}", spread) for name, (_, spread) in KERNEL_PRIORS.items()]
        groups += [(f"kernel_time {name}", KERNEL_TIME) for name in softwares]
        self._of_law = len(groups)
        for position, spread in enumerate((CORES, ARCHITECTURE, CARD, SOFTWARE)):
            groups += [(name, spread) for name in sorted({rate.effects[position] for rate in self.data})]
        self.names = [name for name, _ in groups]
        self.spreads = [spread for _, spread in groups]

    @cached_property
    def values(self) -> dict[str, float]:
        """Fitted to all of the data."""
        values: dict[str, float] = {}
        for _ in range(_MOST_ROUNDS):
            before, values = values, self._solved(range(len(self.data)), self._around(values), values)
            if all(abs(value - before.get(name, 0.0)) < _STAYS for name, value in values.items()):
                break
        return values

    @cached_property
    def _here(self) -> "_Around":
        """The law around what was fitted to all of the data."""
        return self._around(self.values)

    def without(self, unseen: Iterable[int]) -> dict[str, float]:
        """Return what is fitted to all of the data but those at the places *unseen*.

        The law is taken around what all data say, which tells no more than how its times change with its parameters,
        and anew where those come to be far from there.
        """
        left_out = set(unseen)
        rest = [place for place in range(len(self.data)) if place not in left_out]
        values = self._solved(rest, self._here, self.values)
        return values if self._here.near(values) else self._solved(rest, self._around(values), values)

    def _around(self, values: Values) -> "_Around":
        count, law = len(self.data), self.names[: self._of_law]
        parts = np.array([rate.parts(values) for rate in self.data])
        slopes = np.zeros((self._of_law, count, 2))
        for column, name in enumerate(law):
            moved = dict(values) | {name: values.get(name, 0.0) + _STEP}
            own = [i for i, rate in enumerate(self.data) if _touches(name, rate)]
            slopes[column, own] = (np.array([self.data[i].parts(moved) for i in own]) - parts[own]) / _STEP
        at = np.array([values.get(name, 0.0) for name in law])
        speeds = np.array([[float(name in rate.effects) for name in self.names[self._of_law :]] for rate in self.data])
        observed = np.array([rate.seconds for rate in self.data])
        return _Around(at, parts, slopes, speeds, observed)

    def _solved(self, train: Sequence[int], around: "_Around", start: Values) -> dict[str, float]:
        """Return the parameters that fit the data at the places *train* best, robustly.

        Weighted least squares, again and again: each weight is what the loss makes of the residual before.
        """
        own, spreads, most = around.of(list(train)), np.array(self.spreads), self._most()
        values = np.minimum([start.get(name, 0.0) for name in self.names], most)
        for _ in range(_MOST_STEPS):
            residuals = np.concatenate([own.errors(values) / NOISE, values / spreads])
            slopes = np.vstack([own.slopes_of_errors(values) / NOISE, np.diag(1 / spreads)])
            weighted = slopes.T / np.sqrt(1 + residuals**2)
            before, values = (
                values,
                np.minimum(values + _step(weighted @ slopes, -weighted @ residuals, values >= most), most),
            )
            if np.max(np.abs(values - before)) < _SETTLED:
                break
        return dict(zip(self.names, values.tolist(), strict=True))

    def _most(self) -> Vector:
        """Return the highest value of each parameter: efficiencies have one."""
        most = np.full(len(self.names), np.inf)
        for column, name in enumerate(KERNEL_PRIORS):
            if name.endswith("_efficiency"):
                most[column] = math.log(MOST_EFFICIENT / KERNEL_PRIORS[name][0])
        return most


def _step(curvature: Vector, downhill: Vector, highest: NDArray[np.bool_]) -> Vector:
    """Return the step to the least of a quadratic form; what is the *highest* that it may be does not rise."""
    free = ~(highest & (downhill > 0))
    step = np.zeros(len(downhill))
    step[free] = np.linalg.solve(curvature[np.ix_(free, free)], downhill[free])
    return step


@dataclass(frozen=True)
class _Around:
    """The law of some rates around one point."""

    at: Vector
    """The law's parameters there: the kernels' first, then each software's time a kernel."""
    parts: Vector
    """Of each rate: seconds of compute before any speed, and of the update."""
    slopes: Vector
    """Of each parameter and rate: what both change by."""
    speeds: Vector
    """1 for each speed that a rate has."""
    observed: Vector

    def of(self, which: Sequence[int]) -> "_Around":
        return _Around(self.at, self.parts[which], self.slopes[:, which], self.speeds[which], self.observed[which])

    def near(self, values: Values) -> bool:
        """Return whether the kernels' parameters are where the law is as it is here."""
        there = (values[f"kernels {name}"] for name in KERNEL_PRIORS)
        return all(abs(value - here) < _NEAR for value, here in zip(there, self.at, strict=False))

    def errors(self, values: Vector) -> Vector:
        """Return ln(predicted / observed) of each rate."""
        _, _, compute, update = self._times(values)
        return np.asarray(np.log((compute + update) / self.observed))

    def slopes_of_errors(self, values: Vector) -> Vector:
        """Return what each rate's error changes by with each parameter."""
        grown, longer, compute, update = self._times(values)
        factor, whole = compute / longer, compute + update
        moved = np.exp(values[len(KERNEL_PRIORS) : len(self.at)] - self.at[len(KERNEL_PRIORS) :])[:, None]
        by_kernels = compute * grown + self.slopes[: len(KERNEL_PRIORS), :, 1]
        by_time = moved * (factor * self.slopes[len(KERNEL_PRIORS) :, :, 0] + self.slopes[len(KERNEL_PRIORS) :, :, 1])
        return np.hstack([(np.vstack([by_kernels, by_time]) / whole).T, -(compute / whole)[:, None] * self.speeds])

    def _times(self, values: Vector) -> tuple[Vector, Vector, Vector, Vector]:
        """Return how compute grows with the kernels' parameters, compute before them and speeds, and both parts."""
        count = len(KERNEL_PRIORS)
        moved = values[: len(self.at)] - self.at
        before, update = np.where(self.parts > 0, self.parts, 1e-30).T
        grown = self.slopes[:count, :, 0] / before
        later = np.expm1(moved[count:])
        longer = before + later @ self.slopes[count:, :, 0]
        compute = longer * np.exp(moved[:count] @ grown - self.speeds @ values[len(self.at) :])
        update = update + moved[:count] @ self.slopes[:count, :, 1] + later @ self.slopes[count:, :, 1]
        return grown, np.maximum(longer, 1e-30), compute, np.maximum(update, 1e-30)


def _touches(name: str, rate: Rate) -> bool:
    """Return whether parameter *name*, of the law, stands in what *rate* takes."""
    kind, _, of = name.partition(" ")
    return kind == "kernels" or rate.scenario.software.name == of
