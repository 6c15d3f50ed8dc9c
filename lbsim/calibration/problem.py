"""Calibration problem: observations and their predictions as a function of the parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lbsim.calibration.parameters import Parameter
from lbsim.calibration.robust_least_squares import Vector
from lbsim.calibration.transforms import from_unconstrained
from lbsim.communication.collective_time import MICROBENCHMARKS
from lbsim.compute.memory import check_fits
from lbsim.errors import InputError
from lbsim.measurements.observation import Observation
from lbsim.scenario.scenario import Scenario, override
from lbsim.simulation.metrics import ScenarioMetrics

__all__ = ["CalibrationProblem", "FixedSubset", "Values"]

_STEP = 0.01
"""Step of the derivatives in unconstrained space; the model is piecewise constant over shorter ones."""
_NOT_ON_ONE_GPU = (
    "cluster.inter_node.",
    "cluster.intra_node.",
    "cluster.node_spread",
    "software.library.",
    "software.straggler_spread",
    "software.overlap_slowdown",
    "software.step_overhead",
)
"""Prefixes of the paths that do not affect a step on one GPU."""


Values = Sequence[float | None]
"""Unconstrained value of each parameter; None for the profile's own value."""


@dataclass
class CalibrationProblem:
    """Logarithms of the predictions of all *observations* as a function of the *parameters*' values.

    Predictions are cached.
    """

    observations: Sequence[Observation]
    parameters: Sequence[Parameter]
    scenarios: list[Scenario] = field(default_factory=list)
    """Distinct scenarios."""
    uses: list[tuple[int, ...]] = field(default_factory=list)
    """Numbers of each observation's scenarios; of a ratio, the numerator's first."""
    machines: list[int] = field(default_factory=list)
    """Number of each scenario's machine: scenarios of one machine differ in the number of GPUs only."""
    has: list[tuple[int, ...]] = field(default_factory=list)
    """Numbers of each scenario's parameters."""

    def __post_init__(self) -> None:
        """Find the distinct scenarios and machines, so that each is simulated once."""
        numbers: dict[str, int] = {}
        machines: dict[str, int] = {}
        for one in self.observations:
            keys = [scenario.model_dump_json() for scenario in one.scenarios]
            for key, scenario in zip(keys, one.scenarios, strict=True):
                if key not in numbers:
                    numbers[key] = len(self.scenarios)
                    self.scenarios.append(scenario)
            self.uses.append(tuple(numbers[key] for key in keys))
        for scenario in self.scenarios:
            machine = scenario.model_dump_json(exclude={"plan": {"gpus"}})
            self.machines.append(machines.setdefault(machine, len(machines)))
            self.has.append(tuple(k for k, one in enumerate(self.parameters) if one.stands_in(scenario)))
        self._logarithms: dict[tuple[Any, ...], float] = {}
        self._on_one_gpu: dict[tuple[Any, ...], ScenarioMetrics] = {}

    def check(self) -> None:
        """Raise InputError, with the place of the measurement, if an observation's scenario cannot run."""
        profiles: Values = [None] * len(self.parameters)
        metrics = dict[int, ScenarioMetrics]()
        for row, one in enumerate(self.observations):
            try:
                for scenario in one.scenarios:
                    check_fits(scenario)
                self._logarithm(row, profiles, metrics)
            except InputError as error:
                raise InputError(": ".join(part for part in (one.measurement.where, str(error)) if part)) from None

    def logarithms(self, values: Values, affected_by: int | None = None) -> Vector:
        """Return the logarithm of each prediction, or only of those that the parameter *affected_by* may change."""
        metrics: dict[int, ScenarioMetrics] = {}
        return np.array([self._logarithm(row, values, metrics) for row in self.affected(affected_by)])

    def affected(self, parameter: int | None) -> list[int]:
        """Return the numbers of the observations that *parameter* may change; of all, if it is None."""
        every = range(len(self.observations))
        if parameter is None:
            return list(every)
        return [row for row in every if any(parameter in self.has[number] for number in self.uses[row])]

    def derivatives(self, values: Values, free: Sequence[int]) -> Vector:
        """Return the Jacobian of the logarithms in the *free* parameters, by forward differences."""
        here = self.logarithms(values)
        jacobian = np.zeros((len(self.observations), len(free)))
        for column, parameter in enumerate(free):
            rows = self.affected(parameter)
            jacobian[rows, column] = (self.logarithms(_moved(values, parameter), parameter) - here[rows]) / _STEP
        return jacobian

    def _logarithm(self, row: int, values: Values, metrics: dict[int, ScenarioMetrics]) -> float:
        """Return the logarithm of one prediction; *metrics* caches those of scenarios at *values*."""
        one, found = self.observations[row], []
        for number in self.uses[row]:
            own = tuple(self._changed(k, values[k]) for k in self.has[number])
            key = (number, one.quantity, one.message, own)
            if key not in self._logarithms:
                if number not in metrics:
                    metrics[number] = self._metrics(number, own)
                self._logarithms[key] = math.log(_predicted(metrics[number], one))
            found.append(self._logarithms[key])
        return found[0] - sum(found[1:])

    def _changed(self, k: int, value: float | None) -> float | None:
        """Return *value* as a number, or None where it is the profile's own."""
        return None if value is None or value == self.parameters[k].shipped else float(value)

    def _metrics(self, number: int, values: Values) -> ScenarioMetrics:
        """Return the metrics of a scenario with its parameters at *values*; steps on one GPU are simulated once."""
        own = {self.parameters[k]: value for k, value in zip(self.has[number], values, strict=True)}
        changes = {
            one.path: from_unconstrained(value, one.prior.transform) for one, value in own.items() if value is not None
        }
        scenario = override(self.scenarios[number], changes)
        key = (
            self.machines[number],
            *(value for one, value in own.items() if not one.path.startswith(_NOT_ON_ONE_GPU)),
        )
        return ScenarioMetrics(scenario, self._on_one_gpu.setdefault(key, ScenarioMetrics(scenario)))


@dataclass(frozen=True)
class FixedSubset:
    """A problem in which only the *free* parameters vary; the others are fixed at the profiles' values."""

    problem: CalibrationProblem
    free: Sequence[int]

    def logarithms(self, values: Vector) -> Vector:
        """Return the logarithm of each prediction with the free parameters at *values*."""
        return self.problem.logarithms(self._all(values))

    def derivatives(self, values: Vector) -> Vector:
        """Return the Jacobian of the logarithms in the free parameters."""
        return self.problem.derivatives(self._all(values), self.free)

    def _all(self, values: Vector) -> Values:
        own = dict(zip(self.free, values.tolist(), strict=True))
        return [own.get(k) for k in range(len(self.problem.parameters))]


def _moved(values: Values, parameter: int) -> Values:
    """Return *values* with a free *parameter* moved by the step of derivatives."""
    return [value + _STEP if k == parameter and value is not None else value for k, value in enumerate(values)]


def _predicted(metrics: ScenarioMetrics, one: Observation) -> float:
    """Return the prediction of *one* from the *metrics* of its scenario; InputError if its logarithm is undefined."""
    if one.quantity not in MICROBENCHMARKS:
        value = metrics.value(one.quantity)
    elif one.message is None:
        raise InputError(f"{one.quantity}: no message size; give the observation a message, e.g. '1 MiB'")
    else:
        value = MICROBENCHMARKS[one.quantity](metrics.scenario, one.message)
    if not value > 0:
        raise InputError(f"{one.quantity}: the prediction is {value:g} here, so that nothing can be fitted to it")
    return value
