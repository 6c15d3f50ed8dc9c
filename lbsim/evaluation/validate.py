"""Validation: residuals of predictions of published and measured cases, and accuracy by class."""

import math
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lbsim.communication.collective_time import MICROBENCHMARKS
from lbsim.compute.memory import check_fits
from lbsim.errors import InputError
from lbsim.evaluation.residual import Residual
from lbsim.measurements.case import CaseEntry, CaseFile, case_files, case_observation, read_case_file
from lbsim.measurements.observation import Observation
from lbsim.profiles.catalog import PUBLISHED_CASES
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import METRICS, ScenarioMetrics
from lbsim.uncertainty.interval import class_bounds, interval

_LEVEL = 0.9

Key = Literal["role", "system", "class"]


@dataclass(frozen=True)
class Accuracy:
    """Errors of several predictions, and coverage of their intervals."""

    mean_absolute_relative_error: float
    max_absolute_relative_error: float
    interval_coverage: float | None
    """Share inside the interval, of the predictions that have one; None if none has."""
    count: int


@dataclass(frozen=True)
class Validation:
    """Residuals of a validation."""

    results: tuple[Residual, ...]

    @property
    def accuracy(self) -> Accuracy:
        """Accuracy over all residuals."""
        return accuracy(self.results)

    def by(self, key: Key) -> dict[str, Accuracy]:
        """Return the accuracy for each role, system or class."""
        return {name: accuracy(results) for name, results in self.groups(key).items()}

    def groups(self, key: Key) -> dict[str, list[Residual]]:
        """Return the residuals of each role, system or class, in alphabetical order."""
        attribute = "class_" if key == "class" else key
        grouped: dict[str, list[Residual]] = {}
        for result in self.results:
            grouped.setdefault(getattr(result.observation.case, attribute), []).append(result)
        return dict(sorted(grouped.items()))


def accuracy(results: Iterable[Residual]) -> Accuracy:
    """Return the accuracy over *results*, one or more."""
    results = list(results)
    errors = [abs(result.relative_error) for result in results]
    inside = [result.inside for result in results if result.inside is not None]
    return Accuracy(
        mean_absolute_relative_error=sum(errors) / len(errors),
        max_absolute_relative_error=max(errors),
        interval_coverage=sum(inside) / len(inside) if inside else None,
        count=len(errors),
    )


def validate(
    cases: Path = PUBLISHED_CASES,
    only: str = "",
    without: Container[str] = frozenset(),
    classes: Container[str] | None = None,
) -> Validation:
    """Return the residual of every case in the folder *cases* that has the text *only* in what names it.

    Of the *classes* if there are any, and of none of the classes *without*. InputError if there is no such case.
    """
    predictions = _Predictions()
    results: list[Residual] = []
    for file in case_files(cases):
        content = read_case_file(file)
        for entry in content.observed:
            wanted = entry.class_ not in without and (classes is None or entry.class_ in classes)
            if wanted and only.casefold() in _names(file, content, entry):
                results.append(_residual(case_observation(file, content, entry), predictions))
    if not results:
        raise InputError(f"no case in '{cases}' has '{only}' in its file, system, source, id, quantity or class")
    return Validation(tuple(results))


@dataclass(frozen=True)
class _Predicted:
    """A predicted number and its interval, if it has one."""

    value: float
    low: float | None
    high: float | None


@dataclass
class _Predictions:
    """Metrics of the scenarios of one validation, each simulated once for all its observations.

    Intervals are estimated without residuals of the same system, model and card.
    """

    made: dict[str, ScenarioMetrics] = field(default_factory=dict)

    def of(self, scenario: Scenario, quantity: str, system: str) -> _Predicted:
        key = scenario.model_dump_json()
        if key not in self.made:
            check_fits(scenario)
            self.made[key] = ScenarioMetrics(scenario)
        value = self.made[key].value(quantity)
        if quantity not in METRICS:
            return _Predicted(value, None, None)
        bounds = interval(scenario, {quantity: value}, _LEVEL, without=_own(scenario, system)).ranges[quantity]
        return _Predicted(value, bounds.low, bounds.high)


def _own(scenario: Scenario, system: str) -> frozenset[str]:
    """Return the groups of residuals to leave out: of *system*, and of the model and the card of *scenario*."""
    return frozenset({system, scenario.model, scenario.cluster.accelerator.name})


def _names(file: Path, content: CaseFile, entry: CaseEntry) -> str:
    named = (file.name, content.system, content.source, entry.id, entry.quantity, entry.class_)
    return "\n".join(named).casefold()


def _residual(observation: Observation, predictions: _Predictions) -> Residual:
    try:
        predicted = _predicted(observation.scenario, observation, predictions)
        if observation.relative_to is not None:
            predicted = _ratio(predicted, _predicted(observation.relative_to, observation, predictions))
    except InputError as error:
        raise InputError(f"{observation.measurement.where}: {error}") from None
    return Residual(observation, predicted.value, predicted.low, predicted.high)


def _predicted(scenario: Scenario, observation: Observation, predictions: _Predictions) -> _Predicted:
    system = observation.case.system
    if observation.message is None:
        return predictions.of(scenario, observation.quantity, system)
    value = MICROBENCHMARKS[observation.quantity](scenario, observation.message)
    off = class_bounds("all_reduce", _LEVEL, frozenset({system}))
    quick, slow = math.exp(off.below), math.exp(off.above)
    if observation.quantity.endswith("time"):
        return _Predicted(value, value / quick, value * slow)
    return _Predicted(value, value / slow, value * quick)


def _ratio(above: _Predicted, below: _Predicted) -> _Predicted:
    """Return the quotient of two predictions, as uncertain as the more uncertain of the two.

    Their errors are neither equal, or the quotient would have none, nor independent: the same hardware
    and software stand in both. Half correlated, two equal relative errors make a quotient with that same
    relative error, which is what is taken here.
    """
    if below.value == 0:
        raise InputError("relative_to: the predicted quantity is zero there, so that no ratio can be made")
    value = above.value / below.value
    if above.low is None or above.high is None or below.low is None or below.high is None:
        return _Predicted(value, None, None)
    low = min(above.low / above.value, below.value / below.high)
    high = max(above.high / above.value, below.value / below.low)
    return _Predicted(value, value * low, value * high)
