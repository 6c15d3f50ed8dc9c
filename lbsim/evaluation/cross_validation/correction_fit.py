"""Fit of corrections of the profiles to observations of several GPUs.

Most families are linearized around the profiles' values, so that all folds share the simulations for the Jacobian;
held-out observations are predicted without linearization.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lbsim.calibration.robust_least_squares import Linearization, Problem, Vector, fit
from lbsim.communication.collective_time import MICROBENCHMARKS
from lbsim.evaluation.cross_validation.corrections import CONSTANT, FAMILIES, Family, corrected
from lbsim.evaluation.cross_validation.folds import family as family_of
from lbsim.measurements.observation import Observation
from lbsim.scenario.paths import owning_profile
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import ScenarioMetrics

_Key = tuple[str, str]
"""Path, and the profile or model that it belongs to; empty if all share its correction."""


@dataclass
class Predictions:
    """Predictions of observations with corrections of their profiles, each computed once for all folds."""

    made: dict[tuple[str, str, tuple[tuple[str, float], ...]], float] = field(default_factory=dict)
    uncorrected: dict[str, ScenarioMetrics] = field(default_factory=dict)
    """Metrics of each uncorrected scenario: on one GPU they are the same with corrections, which are of links, waiting
    and collectives."""

    def predicted(self, one: Observation, corrections: Mapping[str, float]) -> float:
        """Return the prediction of *one* from its unfitted scenario with *corrections*, by path."""
        key = (one.measurement.where, one.quantity, tuple((path, by) for path, by in corrections.items() if by))
        if key not in self.made:
            scenario = _start(one)
            base = self.uncorrected.setdefault(one.measurement.where, ScenarioMetrics(scenario))
            self.made[key] = _value(one, ScenarioMetrics(corrected(scenario, dict(key[-1])), base))
        return self.made[key]

    def logarithm(self, one: Observation, corrections: Mapping[str, float]) -> float:
        """Return ln(predicted / observed) of *one* with *corrections*, by path."""
        return math.log(self.predicted(one, corrections) / one.value)

    def shipped(self, one: Observation) -> float:
        """Return the prediction of *one* from the profiles as shipped."""
        return self.predicted(one, {}) if one.unfitted is None else _value(one, ScenarioMetrics(one.scenario))


def _value(one: Observation, metrics: ScenarioMetrics) -> float:
    if one.message is None:
        return metrics.value(one.quantity)
    return MICROBENCHMARKS[one.quantity](metrics.scenario, one.message)


@dataclass(frozen=True)
class Corrections:
    """Corrections in unconstrained space, each of one profile's number, or of that number of all profiles."""

    values: Mapping[_Key, float]
    shared: bool

    def of(self, one: Observation) -> dict[str, float]:
        """Return those of the profiles of *case*, by path."""
        keys = _keys(one, shared=self.shared)
        return {path: self.values[key] for path, key in keys.items() if key in self.values}


def fit_corrections(training: Sequence[Observation], predictions: Predictions, *, shared: bool) -> Corrections:
    """Return the corrections fitted to *training*, of one family: of each profile, or *shared* by all."""
    family = FAMILIES[family_of(training[0])]
    own = [_keys(one, shared=shared) for one in training]
    keys = sorted({key for each in own for key in each.values()})
    columns = [{path: keys.index(key) for path, key in each.items()} for each in own]
    problem: Problem = _Corrected(training, columns, predictions, family)
    if family.linear:
        problem = Linearization.of(problem, np.zeros(len(keys)))
    sigma = np.array([math.hypot(family.noise, one.measurement.relative_uncertainty) for one in training])
    found = fit(problem, np.zeros(len(training)), sigma, [family.prior(path) for path, _ in keys])
    return Corrections(dict(zip(keys, found.values.tolist(), strict=True)), shared)


@dataclass(frozen=True)
class _Corrected:
    """ln(predicted / observed) of *training* as a function of the corrections."""

    training: Sequence[Observation]
    columns: Sequence[Mapping[str, int]]
    """Number of each correction of each observation, by path."""
    predictions: Predictions
    family: Family

    def logarithms(self, places: Vector) -> Vector:
        """Return each."""
        return np.array([self._logarithm(row, places) for row in range(len(self.training))])

    def derivatives(self, places: Vector) -> Vector:
        """Return the Jacobian, by differences over a quarter of each prior's standard deviation."""
        jacobian = np.zeros((len(self.training), len(places)))
        for row, columns in enumerate(self.columns):
            here = self._logarithm(row, places)
            for path, column in columns.items():
                moved = places.copy()
                moved[column] += (step := self.family.deviations[path] / 4)
                jacobian[row, column] = (self._logarithm(row, moved) - here) / step
        return jacobian

    def _logarithm(self, row: int, places: Vector) -> float:
        corrections = {path: float(places[column]) for path, column in self.columns[row].items()}
        return self.predictions.logarithm(self.training[row], corrections)


def _keys(one: Observation, *, shared: bool) -> dict[str, _Key]:
    paths = FAMILIES[family_of(one)].paths(_start(one))
    return {path: (path, "" if shared else _whose(one, path)) for path in paths}


def _whose(one: Observation, path: str) -> str:
    """Return the profile that *path* belongs to; a constant per step belongs to the model."""
    return one.scenario.model if path == CONSTANT else owning_profile(_start(one), path)


def _start(one: Observation) -> Scenario:
    """Return the scenario that corrections of *one* start from."""
    return one.unfitted or one.scenario
