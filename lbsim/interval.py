"""How sure a prediction is.

Until a calibration says more, an interval's width is the error that predictions of its class had on published rows
that the fit had not seen (a quantile of the left-out residuals), and the unknown spread of the ranks beside it.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from statistics import NormalDist

from lbsim.compute import arithmetic_class
from lbsim.metrics import Interval, Range
from lbsim.residuals import Residuals
from lbsim.scenario import Scenario
from lbsim.stragglers import slowdown

_MANY = 64
"""GPUs beyond which nothing in the fit constrains the spread of the ranks."""
_TIMES = ("step_time", "time_to_train")
_RATES = ("throughput", "throughput_per_gpu")


@lru_cache
def residuals() -> Residuals:
    """Return the left-out errors by class of prediction."""
    return Residuals.load("published")


def interval(
    scenario: Scenario, values: dict[str, float], level: float, spread: Mapping[str, float] | None = None
) -> Interval:
    """Return within what *values* lie with probability *level*; *spread* is what a calibration leaves open of each.

    Half-widths are in the logarithm and independent parts are combined in quadrature; the spread of the ranks
    makes it wider on the slow side than on the fast one.
    """
    known = residuals()
    compute, reason = _compute(scenario, known)
    scaling = _scaling(scenario, known)
    faster, slower = _stragglers(scenario, known)
    factor = NormalDist().inv_cdf((1 + level) / 2) / NormalDist().inv_cdf((1 + known.level) / 2)
    ranges = {}
    for name, value in values.items():
        fit = NormalDist().inv_cdf((1 + known.level) / 2) * (spread or {}).get(name, 0.0)
        own = math.hypot(compute if name in _TIMES + _RATES else 0.0, fit)
        quick = math.exp(factor * math.hypot(own, scaling, faster))
        slow = math.exp(factor * math.hypot(own, scaling, slower))
        ranges[name] = (
            Range(value / quick, value * slow) if name in _TIMES else _rate(name, value / slow, value, value * quick)
        )
    return Interval(level, ranges, reason)


def _rate(name: str, low: float, value: float, high: float) -> Range:
    """Return the range of a rate, or of an efficiency, which is not expected to pass 1."""
    return Range(low, high if name in _RATES else max(value, min(high, 1.0)))


def _compute(scenario: Scenario, known: Residuals) -> tuple[float, str]:
    plan, anchor = scenario.plan, scenario.anchor
    if anchor is not None:
        if anchor.precision not in {None, plan.precision}:
            return known.anchored_precision, "anchored on a measured throughput at another precision"
        if anchor.batch_per_gpu not in {None, plan.batch_per_gpu}:
            return known.anchored_batch, "anchored on a measured throughput with another batch"
        return known.anchored, "anchored on a measured throughput with the same batch and precision"
    card, software = scenario.cluster.accelerator, scenario.software
    parts, unseen = [known.model], []
    if not software.fitted_rates:
        parts, unseen = [*parts, known.software], [software.name]
    if not card.fitted_rates:
        parts, unseen = [*parts, known.card], [*unseen, card.name]
    cores = arithmetic_class(card, plan)
    why = f"no rate of {' or of '.join(unseen)} was in the fit" if unseen else "not calibrated on this system"
    width = math.hypot(*(getattr(part, cores) for part in parts))
    return width, f"{why}; an --anchor, one measured throughput, narrows it most"


def _scaling(scenario: Scenario, known: Residuals) -> float:
    plan, cluster = scenario.plan, scenario.cluster
    if plan.gpus == 1:
        return 0.0
    cores = "vector" if arithmetic_class(cluster.accelerator, plan) == "vector" else "tensor"
    where = "in_node" if plan.gpus <= cluster.gpus_per_node else "across_nodes"
    width: float = getattr(known, f"{cores}_{where}")
    return width


def _stragglers(scenario: Scenario, known: Residuals) -> tuple[float, float]:
    """Return the logarithms by which a step is quicker or slower if ranks vary less or more than assumed."""
    gpus, assumed = scenario.plan.gpus, scenario.software.straggler_spread
    if gpus <= _MANY:
        return 0.0, 0.0
    expected = 1 + slowdown(assumed, gpus)
    least, most = (1 + slowdown(spread, gpus) for spread in (known.spread_low, known.spread_high))
    return max(0.0, math.log(expected / least)), max(0.0, math.log(most / expected))
