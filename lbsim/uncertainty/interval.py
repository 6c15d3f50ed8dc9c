"""Prediction intervals.

The width of an interval comes from the errors of predictions of the same class on published rows that were held out of
the fit (`lbsim.uncertainty.conformal`), and from the unknown spread of step times between ranks. The class depends on
what is known before predicting: whether there is an anchor, whether rates of this software and this card are in the
fit, the arithmetic units, and whether the accelerators are in one node.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from lbsim.compute.roofline import arithmetic_class
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.prediction import Interval, Range
from lbsim.simulation.stragglers import expected_slowdown
from lbsim.uncertainty.conformal import Bounds, normal_quantile
from lbsim.uncertainty.residuals import LAST_EARLY_YEAR, Residuals

__all__ = ["CalibrationSpread", "class_bounds", "interval", "larger_class", "published_residuals", "scaling_class"]

_MOST_GPUS_WITH_SPREAD = 64
"""GPUs beyond which the fit does not constrain the spread of step times between ranks."""
_TIMES = ("step_time", "time_to_train")
_RATES = ("throughput", "throughput_per_gpu")
_STATED_LEVEL = 0.9
"""Level of the half-width and the spreads that the residuals file gives as numbers."""
_NONE: frozenset[str] = frozenset()
_SPEED = "software.speed."
_STEP_PARAMETERS = frozenset({"software.straggler_spread", "software.overlap_slowdown", "software.step_overhead"})
"""Parameters that only steps on several accelerators determine; a calibration with one of them has seen such steps."""


@dataclass(frozen=True)
class CalibrationSpread:
    """Uncertainty of the calibration in use."""

    spread: Mapping[str, float]
    """Standard deviation of each predicted quantity's logarithm, from the fitted parameters."""
    paths: frozenset[str]
    """Dotted paths of the parameters that the calibration sets in this scenario."""
    noise: float
    """Standard deviation of the residuals' logarithm."""


_NO_CALIBRATION = CalibrationSpread({}, frozenset(), 0.0)


@lru_cache
def published_residuals() -> Residuals:
    """Return the held-out errors of published rows."""
    return Residuals.load("published")


@lru_cache(maxsize=4096)
def class_bounds(name: str, level: float, without: frozenset[str] = _NONE) -> Bounds:
    """Return the bounds of class *name* at *level*, from published residuals *without* the groups so named."""
    return published_residuals().bounds(name, level, without)


def interval(
    scenario: Scenario,
    values: dict[str, float],
    level: float,
    calibration: CalibrationSpread = _NO_CALIBRATION,
    without: frozenset[str] = _NONE,
) -> Interval:
    """Return the interval of each of *values*, predictions for *scenario*, at probability *level*.

    Bounds are in the logarithm; independent parts are added in quadrature, each side separately. Residuals of the
    groups in *without* are left out, to test intervals on a group that did not contribute to them.
    """
    context = _IntervalContext(scenario, level, calibration, without)
    total, scaling = context.total(), context.scaling()
    ranges = {}
    for name, value in values.items():
        fit = normal_quantile(level) * calibration.spread.get(name, 0.0)
        bounds = (total if name in _TIMES + _RATES else scaling).widened(Bounds(fit, fit))
        faster, slower = math.exp(bounds.below), math.exp(bounds.above)
        if name in _TIMES:
            ranges[name] = Range(value / faster, value * slower)
        else:
            ranges[name] = _rate(name, value / slower, value, value * faster)
    return Interval(level, ranges, context.reason())


def scaling_class(scenario: Scenario) -> str:
    """Return the class of *scenario*, on several GPUs, among the residuals of scaling."""
    where = "in_node" if scenario.plan.gpus <= scenario.cluster.gpus_per_node else "across_nodes"
    return f"{where}.{_arithmetic(scenario)}"


def larger_class(scenario: Scenario) -> str:
    """Return the class of *scenario* if smaller scales of the same system are in the fit."""
    return f"larger.{_arithmetic(scenario)}"


def _rate(name: str, low: float, value: float, high: float) -> Range:
    """Return the range of a rate, or of an efficiency, whose upper end is at most 1 unless *value* is larger."""
    return Range(low, high if name in _RATES else max(value, min(high, 1.0)))


def _arithmetic(scenario: Scenario) -> str:
    return "vector" if arithmetic_class(scenario.cluster.accelerator, scenario.plan) == "vector" else "tensor"


@dataclass(frozen=True)
class _IntervalContext:
    """A scenario and what determines the class of its prediction."""

    scenario: Scenario
    level: float
    calibration: CalibrationSpread
    without: frozenset[str]

    def total(self) -> Bounds:
        """Return the bounds of a rate or a time."""
        if self.scenario.plan.gpus == 1:
            return self.compute()
        if self.scenario.anchor is not None or self.calibrated:
            return self.compute().widened(self.scaling())
        return self.multi_gpu().covering(self.compute()).widened(self._ranks())

    def multi_gpu(self) -> Bounds:
        """Return the bounds of several accelerators without an anchor."""
        software = self.scenario.software
        kind = "early" if software.year is not None and software.year <= LAST_EARLY_YEAR else self.kind
        bounds = self._class_bounds(f"several.{kind}")
        return bounds if software.fitted_rates else bounds.covering(self._class_bounds(f"several_software.{kind}"))

    def compute(self) -> Bounds:
        """Return the bounds of one accelerator; less knowledge never gives narrower bounds."""
        if self.scenario.anchor is not None:
            return self._anchored()
        bounds = self._class_bounds(f"model.{self.kind}")
        if self.calibrated:
            noise = normal_quantile(self.level) * self.calibration.noise
            return bounds.covering(Bounds(noise, noise))
        unseen = self._unseen()
        bounds = bounds.widened(self._class_bounds("software")) if "software" in unseen else bounds
        bounds = bounds.widened(self._class_bounds(f"card.{self.kind}")) if "card" in unseen else bounds
        return bounds.covering(self._class_bounds(f"system.{self.kind}"))

    def scaling(self) -> Bounds:
        """Return the bounds of the ratio of all accelerators' rate to one accelerator's."""
        if self.scenario.plan.gpus == 1:
            return Bounds()
        measured = self.calibration.paths
        name = larger_class(self.scenario) if measured & _STEP_PARAMETERS else scaling_class(self.scenario)
        bounds = self._class_bounds(name)
        return bounds if "software.straggler_spread" in measured else bounds.widened(self._ranks())

    def reason(self) -> str:
        """Return the reason for the width of the interval, for users."""
        if self.scenario.anchor is not None:
            return (
                "anchored on a measured throughput "
                + {
                    "": "with the same batch and precision",
                    "anchored_batch": "with another batch",
                    "anchored_precision": "at another precision",
                }[self._anchor_class()]
            )
        if self.calibrated:
            why = "calibrated on this system, perhaps with another model"
        elif unseen := self._unseen():
            why = f"not calibrated on any benchmark of {' or of '.join(unseen.values())}"
        else:
            why = "not calibrated on this system"
        return f"{why}; pass --anchor with a measured throughput to narrow the interval"

    @property
    def kind(self) -> str:
        """Arithmetic units in use: ``vector`` or ``tensor``."""
        return _arithmetic(self.scenario)

    @property
    def calibrated(self) -> bool:
        """Whether the calibration sets the speed of this software on these arithmetic units."""
        arithmetic = arithmetic_class(self.scenario.cluster.accelerator, self.scenario.plan)
        return f"{_SPEED}{arithmetic}" in self.calibration.paths

    def _class_bounds(self, name: str) -> Bounds:
        return class_bounds(name, self.level, self.without)

    def _ranks(self) -> Bounds:
        return _straggler_bounds(self.scenario, self.level)

    def _anchored(self) -> Bounds:
        """Return the bounds of one accelerator with an anchor."""
        repeat = published_residuals().anchored * normal_quantile(self.level) / normal_quantile(_STATED_LEVEL)
        name = self._anchor_class()
        return (self._class_bounds(name) if name else Bounds()).widened(Bounds(repeat, repeat))

    def _anchor_class(self) -> str:
        """Return the class of an anchor at another batch or precision; empty if both are the scenario's."""
        plan, anchor = self.scenario.plan, self.scenario.anchor
        if anchor is not None and anchor.precision not in {None, plan.precision}:
            return "anchored_precision"
        return "anchored_batch" if anchor is not None and anchor.batch_per_gpu not in {None, plan.batch_per_gpu} else ""

    def _unseen(self) -> dict[str, str]:
        """Return the names of software and card of which no rate is in the fit or in the calibration."""
        if self.calibrated:
            return {}
        card, software = self.scenario.cluster.accelerator, self.scenario.software
        rates = {"software": (software.fitted_rates, software.name), "card": (card.fitted_rates, card.name)}
        return {part: name for part, (fitted, name) in rates.items() if not fitted}


def _straggler_bounds(scenario: Scenario, level: float) -> Bounds:
    """Return the bounds of the step time if the spread between ranks is not the assumed one."""
    gpus, assumed, known = scenario.plan.gpus, scenario.software.straggler_spread, published_residuals()
    if gpus <= _MOST_GPUS_WITH_SPREAD:
        return Bounds()
    expected = 1 + expected_slowdown(assumed, gpus)
    least, most = (1 + expected_slowdown(spread, gpus) for spread in (known.spread_low, known.spread_high))
    factor = normal_quantile(level) / normal_quantile(_STATED_LEVEL)
    return Bounds(factor * max(0.0, math.log(expected / least)), factor * max(0.0, math.log(most / expected)))
