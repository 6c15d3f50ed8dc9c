"""Fits corrections of what the profiles say to some observations of several GPUs.

The logarithms of the predictions are taken for linear in the corrections around what the profiles say; those of
all-reduces, quick to time, are predicted anew wherever the fit is. What is left out is then predicted exactly.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lbsim.calibration import owner
from lbsim.corrections import FAMILIES, prior
from lbsim.folds import Case
from lbsim.robust_fit import Linear, Problem, Vector, fit

_NOISE = 0.03
"""What a prediction of the scaling of several GPUs leaves, in the logarithm, beside the spread of the figure itself."""
_NOISES = {"all-reduce": 0.08}
"""The same where it is more: of all-reduces, what links and protocols differ by from size to size."""
_EXACT = {"all-reduce"}
"""Families whose predictions are not taken for linear."""

_Key = tuple[str, str]
"""A path, and the profile that it is of; none if all profiles share its correction."""


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
    family = training[0].family
    own = [_keys(case, shared=shared) for case in training]
    keys = sorted({key for each in own for key in each.values()})
    columns = [{path: keys.index(key) for path, key in each.items()} for each in own]
    problem: Problem = _Corrected(training, columns, predictions, FAMILIES[family])
    if family not in _EXACT:
        problem = Linear.of(problem, np.zeros(len(keys)))
    noise = _NOISES.get(family, _NOISE)
    sigma = np.array([math.hypot(noise, case.observed.relative_uncertainty) for case in training])
    priors = [prior(path, FAMILIES[family][path]) for path, _ in keys]
    found = fit(problem, np.zeros(len(training)), sigma, priors)
    return Corrections(dict(zip(keys, found.places.tolist(), strict=True)), shared)


@dataclass(frozen=True)
class _Corrected:
    """ln(predicted / observed) of *training* as a function of the corrections."""

    training: Sequence[Case]
    columns: Sequence[Mapping[str, int]]
    """Of each case: its corrections, by path."""
    predictions: Predictions
    deviations: Mapping[str, float]

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
                moved[column] += (step := self.deviations[path] / 4)
                jacobian[row, column] = (self._logarithm(row, moved) - here) / step
        return jacobian

    def _logarithm(self, row: int, places: Vector) -> float:
        corrections = {path: float(places[column]) for path, column in self.columns[row].items()}
        return self.predictions.logarithm(self.training[row], corrections)


def _keys(case: Case, *, shared: bool) -> dict[str, _Key]:
    """Return the key of each correction; a library may say nothing of its own of steps inside a node."""
    inside = case.scenario.software.library.per_step_inside
    paths = (path for path in FAMILIES[case.family] if inside is not None or not path.endswith("per_step_inside"))
    return {path: (path, "" if shared else owner(case.scenario, path)) for path in paths}
