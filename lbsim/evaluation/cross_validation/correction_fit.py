"""Fits corrections of what the profiles say to some observations of several GPUs.

Most logarithms of predictions are taken for linear in the corrections around what the profiles say, so that all folds
share the plays that it takes; what is left out is then predicted exactly.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lbsim.calibration.robust_least_squares import Linear, Problem, Vector, fit
from lbsim.evaluation.cross_validation.corrections import CONSTANT, FAMILIES, Family
from lbsim.evaluation.cross_validation.folds import Case
from lbsim.scenario.paths import owning_profile

_Key = tuple[str, str]
"""A path, and the profile or model that it is of; none if all share its correction."""


@dataclass
class Predictions:
    """What was predicted, each once: what the profiles say, and how that changes, every fold needs."""

    made: dict[tuple[str, str, tuple[tuple[str, float], ...]], float] = field(default_factory=dict)

    def logarithm(self, case: Case, corrections: Mapping[str, float]) -> float:
        """Return ln(predicted / observed) of *case* with these corrections, by path."""
        key = (case.file.source, case.observed.id, tuple((path, by) for path, by in corrections.items() if by))
        if key not in self.made:
            self.made[key] = case.logarithm(dict(key[-1]))
        return self.made[key]

    def as_shipped(self, case: Case) -> float:
        """Return ln(predicted / observed) of *case* with what the profiles say."""
        return self.logarithm(case, {}) if case.scenario == case.shipped else case.as_shipped()


@dataclass(frozen=True)
class Corrections:
    """Corrections, each of one profile's number, or of that number of all profiles."""

    values: Mapping[_Key, float]
    shared: bool

    def of(self, case: Case) -> dict[str, float]:
        """Return those of the profiles of *case*, by path."""
        keys = _keys(case, shared=self.shared)
        return {path: self.values[key] for path, key in keys.items() if key in self.values}


def fit_corrections(training: Sequence[Case], predictions: Predictions, *, shared: bool) -> Corrections:
    """Return the corrections that explain *training*, of one family: of each profile, or *shared* by all."""
    family = FAMILIES[training[0].family]
    own = [_keys(case, shared=shared) for case in training]
    keys = sorted({key for each in own for key in each.values()})
    columns = [{path: keys.index(key) for path, key in each.items()} for each in own]
    problem: Problem = _Corrected(training, columns, predictions, family)
    if family.linear:
        problem = Linear.of(problem, np.zeros(len(keys)))
    sigma = np.array([math.hypot(family.noise, case.observed.relative_uncertainty) for case in training])
    found = fit(problem, np.zeros(len(training)), sigma, [family.prior(path) for path, _ in keys])
    return Corrections(dict(zip(keys, found.places.tolist(), strict=True)), shared)


@dataclass(frozen=True)
class _Corrected:
    """ln(predicted / observed) of *training* as a function of the corrections."""

    training: Sequence[Case]
    columns: Sequence[Mapping[str, int]]
    """Of each case: its corrections, by path."""
    predictions: Predictions
    family: Family

    def logarithms(self, places: Vector) -> Vector:
        """Return each."""
        return np.array([self._logarithm(row, places) for row in range(len(self.training))])

    def derivatives(self, places: Vector) -> Vector:
        """Return the change of each over a quarter of what a correction is thought to be."""
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


def _keys(case: Case, *, shared: bool) -> dict[str, _Key]:
    paths = FAMILIES[case.family].paths(case.scenario)
    return {path: (path, "" if shared else _whose(case, path)) for path in paths}


def _whose(case: Case, path: str) -> str:
    """Return whose number *path* is: its profile's; a constant a step is each model's own."""
    return case.scenario.model if path == CONSTANT else owning_profile(case.scenario, path)
