"""What was measured, and what is predicted of it with the parameters anywhere on their lines."""

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

_STEP = 0.01
"""On the line, for the derivatives; the model has steps of its own, which a shorter one would fall into."""
_NOT_ON_ONE_GPU = (
    "cluster.inter_node.",
    "cluster.intra_node.",
    "cluster.node_spread",
    "software.library.",
    "software.straggler_spread",
    "software.overlap_slowdown",
    "software.step_overhead",
)
"""Paths that change nothing about a step on one GPU."""


@dataclass
class CalibrationProblem:
    """The predictions of all *observations* as a function of the *parameters*' places on their lines.

    A place that is not a number is the profile's own. What was predicted once is kept.
    """

    observations: Sequence[Observation]
    parameters: Sequence[Parameter]
    scenarios: list[Scenario] = field(default_factory=list)
    """Distinct ones."""
    uses: list[tuple[int, ...]] = field(default_factory=list)
    """Of each observation: its scenarios, the first of a ratio above the line."""
    machines: list[int] = field(default_factory=list)
    """Of each scenario: which it is, but for how many GPUs."""
    has: list[tuple[int, ...]] = field(default_factory=list)
    """Of each scenario: its parameters."""

    def __post_init__(self) -> None:
        """Find what is the same, so that it is played once."""
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
        self._made: dict[tuple[Any, ...], float] = {}
        self._alike: dict[tuple[Any, ...], ScenarioMetrics] = {}

    def check(self) -> None:
        """Raise InputError for an observation of what cannot run."""
        profiles, steps = np.full(len(self.parameters), math.nan), dict[int, ScenarioMetrics]()
        for row, one in enumerate(self.observations):
            try:
                for scenario in one.scenarios:
                    check_fits(scenario)
                self._logarithm(row, profiles, steps)
            except InputError as error:
                raise InputError(": ".join(part for part in (one.measurement.where, str(error)) if part)) from None

    def logarithms(self, places: Vector, touching: int | None = None) -> Vector:
        """Return the logarithm of each prediction, or of those alone that parameter *touching* changes."""
        steps: dict[int, ScenarioMetrics] = {}
        return np.array([self._logarithm(row, places, steps) for row in self.touched(touching)])

    def touched(self, parameter: int | None) -> list[int]:
        """Return the observations that *parameter* may change; all, if it is none."""
        every = range(len(self.observations))
        if parameter is None:
            return list(every)
        return [row for row in every if any(parameter in self.has[number] for number in self.uses[row])]

    def derivatives(self, places: Vector, free: Sequence[int]) -> Vector:
        """Return the change of each logarithm with each of the *free* parameters."""
        here = self.logarithms(places)
        jacobian = np.zeros((len(self.observations), len(free)))
        for column, parameter in enumerate(free):
            moved = places.copy()
            moved[parameter] += _STEP
            rows = self.touched(parameter)
            jacobian[rows, column] = (self.logarithms(moved, parameter) - here[rows]) / _STEP
        return jacobian

    def _logarithm(self, row: int, places: Vector, steps: dict[int, ScenarioMetrics]) -> float:
        """Return the logarithm of one prediction; *steps* are of the scenarios that have been moved to *places*."""
        one, found = self.observations[row], []
        for number in self.uses[row]:
            own = tuple(self._place(k, float(places[k])) for k in self.has[number])
            key = (number, one.quantity, one.message, own)
            if key not in self._made:
                if number not in steps:
                    steps[number] = self._steps(number, own)
                self._made[key] = math.log(_predicted(steps[number], one))
            found.append(self._made[key])
        return found[0] - sum(found[1:])

    def _place(self, k: int, place: float) -> float | None:
        """Return *place*, or none where the profile itself is there."""
        return None if math.isnan(place) or place == self.parameters[k].place else place

    def _steps(self, number: int, places: Sequence[float | None]) -> ScenarioMetrics:
        """Return the steps of a scenario with its parameters at *places*; a step on one GPU is played once."""
        own = {self.parameters[k]: place for k, place in zip(self.has[number], places, strict=True)}
        changes = {
            one.path: from_unconstrained(place, one.prior.line) for one, place in own.items() if place is not None
        }
        scenario = override(self.scenarios[number], changes)
        key = (
            self.machines[number],
            *(place for one, place in own.items() if not one.path.startswith(_NOT_ON_ONE_GPU)),
        )
        return ScenarioMetrics(scenario, self._alike.setdefault(key, ScenarioMetrics(scenario)))


@dataclass(frozen=True)
class FixedSubset:
    """A problem in which the *free* parameters alone move; the others are where the profiles have them."""

    problem: CalibrationProblem
    free: Sequence[int]

    def logarithms(self, places: Vector) -> Vector:
        """Return the logarithm of each prediction with the free parameters at *places*."""
        return self.problem.logarithms(self._all(places))

    def derivatives(self, places: Vector) -> Vector:
        """Return the change of each logarithm with each of the free parameters."""
        return self.problem.derivatives(self._all(places), self.free)

    def _all(self, places: Vector) -> Vector:
        every = np.full(len(self.problem.parameters), math.nan)
        every[list(self.free)] = places
        return every


def _predicted(steps: ScenarioMetrics, one: Observation) -> float:
    """Return what is predicted of *one*, with *steps* of its scenario; InputError if it is nothing to learn from."""
    if one.quantity not in MICROBENCHMARKS:
        value = steps.value(one.quantity)
    elif one.message is None:
        raise InputError(f"{one.quantity}: of which message? an observation of it has one")
    else:
        value = MICROBENCHMARKS[one.quantity](steps.scenario, one.message)
    if not value > 0:
        raise InputError(f"{one.quantity}: predicted to be {value:g} here, so that nothing can be learnt from it")
    return value
