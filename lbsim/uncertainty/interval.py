"""How sure a prediction is.

An interval is as wide as the errors that predictions of its class had on published rows whose system the fit had not
seen (`lbsim.uncertainty.conformal`), and as the unknown spread of the ranks beside it. The class is what is known
before the answer is: whether there is an anchor, whether rates of this software and of this card were in the fit, on
which cores the products run, and where the accelerators are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from lbsim.compute.roofline import arithmetic_class
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.prediction import Interval, Range
from lbsim.simulation.stragglers import expected_slowdown
from lbsim.uncertainty.conformal import Bounds, normal
from lbsim.uncertainty.residuals import EARLY, Residuals

_MANY = 64
"""GPUs beyond which nothing in the fit constrains the spread of the ranks."""
_TIMES = ("step_time", "time_to_train")
_RATES = ("throughput", "throughput_per_gpu")
_STATED = 0.9
"""Level of the half-width and of the spreads that the residuals state outright."""
_NOBODY: frozenset[str] = frozenset()


_SPEED = "software.speed."
_STEPS = frozenset({"software.straggler_spread", "software.overlap_slowdown", "software.step_overhead"})
"""What only steps on several accelerators can tell, so that a calibration that has one of them has seen such steps."""


@dataclass(frozen=True)
class CalibrationSpread:
    """What a calibration in use says."""

    spread: Mapping[str, float]
    """Standard deviation, in the logarithm, that the fit leaves of each quantity."""
    paths: frozenset[str]
    """Of the values that it gives to this scenario."""
    noise: float
    """Standard deviation of what it did not explain, in the logarithm."""


_NOTHING = CalibrationSpread({}, frozenset(), 0.0)


@lru_cache
def residuals() -> Residuals:
    """Return the left-out errors by class of prediction."""
    return Residuals.load("published")


@lru_cache(maxsize=4096)
def learnt(name: str, level: float, without: frozenset[str] = _NOBODY) -> Bounds:
    """Return how far off another prediction of class *name* is, learnt *without* the groups so named."""
    return residuals().bounds(name, level, without)


def interval(
    scenario: Scenario,
    values: dict[str, float],
    level: float,
    measured: CalibrationSpread = _NOTHING,
    without: frozenset[str] = _NOBODY,
) -> Interval:
    """Return within what *values* lie with probability *level*, with what was *measured* of the scenario's parts.

    Bounds are in the logarithm and independent parts are combined in quadrature, either side by itself. Residuals of
    the groups *without* do not count: to test what the others say of them.
    """
    asked = _Asked(scenario, level, measured, without)
    whole, scaling = asked.whole(), asked.scaling()
    ranges = {}
    for name, value in values.items():
        fit = normal(level) * measured.spread.get(name, 0.0)
        off = (whole if name in _TIMES + _RATES else scaling).widened(Bounds(fit, fit))
        quick, slow = math.exp(off.below), math.exp(off.above)
        ranges[name] = (
            Range(value / quick, value * slow) if name in _TIMES else _rate(name, value / slow, value, value * quick)
        )
    return Interval(level, ranges, asked.reason())


def _rate(name: str, low: float, value: float, high: float) -> Range:
    """Return the range of a rate, or of an efficiency, which is not expected to pass 1."""
    return Range(low, high if name in _RATES else max(value, min(high, 1.0)))


@dataclass(frozen=True)
class _Asked:
    """A scenario, and what is known that its class depends on."""

    scenario: Scenario
    level: float
    measured: CalibrationSpread
    without: frozenset[str]

    def whole(self) -> Bounds:
        """Return how far off a rate or time is."""
        if self.scenario.plan.gpus == 1:
            return self.compute()
        if self.scenario.anchor is not None or self.calibrated:
            return self.compute().widened(self.scaling())
        return self.several().covering(self.compute()).widened(self._ranks())

    def several(self) -> Bounds:
        """Return how far off several accelerators are that nothing is anchored on."""
        software = self.scenario.software
        kind = "early" if software.year is not None and software.year <= EARLY else self.kind
        found = self._learnt(f"several.{kind}")
        return found if software.fitted_rates else found.covering(self._learnt(f"several_software.{kind}"))

    def compute(self) -> Bounds:
        """Return how far off one accelerator is; what is not known is never surer than what is."""
        if self.scenario.anchor is not None:
            again = residuals().anchored * normal(self.level) / normal(_STATED)
            kind = self._anchor()
            return (self._learnt(kind) if kind else Bounds()).widened(Bounds(again, again))
        found = self._learnt(f"model.{self.kind}")
        if self.calibrated:
            noise = normal(self.level) * self.measured.noise
            return found.covering(Bounds(noise, noise))
        unseen = self._unseen()
        found = found.widened(self._learnt("software")) if "software" in unseen else found
        found = found.widened(self._learnt(f"card.{self.kind}")) if "card" in unseen else found
        return found.covering(self._learnt(f"system.{self.kind}"))

    def scaling(self) -> Bounds:
        """Return how far off the scaling from one accelerator to all is."""
        if self.scenario.plan.gpus == 1:
            return Bounds()
        if self.measured.paths & _STEPS:
            found = self._learnt(larger_class(self.scenario))
        else:
            found = self._learnt(scaling_class(self.scenario))
        return found if "software.straggler_spread" in self.measured.paths else found.widened(self._ranks())

    def reason(self) -> str:
        """Return why it is as wide as it is, in a line."""
        if self.scenario.anchor is not None:
            how = {"": "the same batch and precision", "anchored_batch": "another batch"}
            kind = self._anchor()
            if kind == "anchored_precision":
                return "anchored on a measured throughput at another precision"
            return f"anchored on a measured throughput with {how[kind]}"
        why = "not calibrated on this system"
        if self.calibrated:
            why = "calibrated on this system, if perhaps on another model"
        elif self._unseen():
            why = f"no rate of {' or of '.join(self._unseen().values())} was in the fit"
        return f"{why}; an --anchor, one measured throughput, narrows it most"

    @property
    def kind(self) -> str:
        """Whether tensor cores are used."""
        return _arithmetic(self.scenario)

    @property
    def calibrated(self) -> bool:
        """Whether the speed of this software on these cores was measured."""
        cores = arithmetic_class(self.scenario.cluster.accelerator, self.scenario.plan)
        return f"{_SPEED}{cores}" in self.measured.paths

    def _learnt(self, name: str) -> Bounds:
        return learnt(name, self.level, self.without)

    def _ranks(self) -> Bounds:
        return _stragglers(self.scenario, self.level)

    def _anchor(self) -> str:
        """Return the class of residuals that an anchor which is not of the same batch and precision has."""
        plan, anchor = self.scenario.plan, self.scenario.anchor
        if anchor is not None and anchor.precision not in {None, plan.precision}:
            return "anchored_precision"
        return "anchored_batch" if anchor is not None and anchor.batch_per_gpu not in {None, plan.batch_per_gpu} else ""

    def _unseen(self) -> dict[str, str]:
        """Return the name of the software and of the card if no rate of it was in the fit, nor measured."""
        if self.calibrated:
            return {}
        card, software = self.scenario.cluster.accelerator, self.scenario.software
        rates = {"software": (software.fitted_rates, software.name), "card": (card.fitted_rates, card.name)}
        return {part: name for part, (fitted, name) in rates.items() if not fitted}


def scaling_class(scenario: Scenario) -> str:
    """Return the name of the class of *scenario*, of several GPUs, among the residuals of scaling."""
    where = "in_node" if scenario.plan.gpus <= scenario.cluster.gpus_per_node else "across_nodes"
    return f"{where}.{_arithmetic(scenario)}"


def larger_class(scenario: Scenario) -> str:
    """Return the name of its class where smaller scales of the same system were fitted to."""
    return f"larger.{_arithmetic(scenario)}"


def _arithmetic(scenario: Scenario) -> str:
    return "vector" if arithmetic_class(scenario.cluster.accelerator, scenario.plan) == "vector" else "tensor"


def _stragglers(scenario: Scenario, level: float) -> Bounds:
    """Return the logarithms by which a step is quicker or slower if ranks vary less or more than assumed."""
    gpus, assumed, known = scenario.plan.gpus, scenario.software.straggler_spread, residuals()
    if gpus <= _MANY:
        return Bounds()
    expected = 1 + expected_slowdown(assumed, gpus)
    least, most = (1 + expected_slowdown(spread, gpus) for spread in (known.spread_low, known.spread_high))
    factor = normal(level) / normal(_STATED)
    return Bounds(factor * max(0.0, math.log(expected / least)), factor * max(0.0, math.log(most / expected)))
