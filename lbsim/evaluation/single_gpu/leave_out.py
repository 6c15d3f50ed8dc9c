"""Cross-validation of the single-GPU fit, without an anchor or anchored on another rate of the series."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator

from lbsim.evaluation.residual import Residual
from lbsim.evaluation.single_gpu.fit import Fit
from lbsim.evaluation.single_gpu.rates import Values, predicted, residual
from lbsim.measurements.observation import Observation
from lbsim.simulation.anchor import factor_at_other_batch

GROUPS: dict[str, Callable[[Observation], str]] = {
    "row": lambda rate: f"{rate.case.system} {rate.case.id} {rate.case.quantity}",
    "source": lambda rate: rate.case.system,
    "card": lambda rate: rate.scenario.cluster.accelerator.name,
    "model": lambda rate: rate.scenario.model,
}
"""Name of the group that each rate is held out with."""


def folds(fit: Fit, group: str) -> Iterator[tuple[list[Observation], Values]]:
    """Yield the rates of each *group*, and the values fitted to the others."""
    of = GROUPS[group]
    for name in sorted({of(rate) for rate in fit.data}):
        rows = [row for row, rate in enumerate(fit.data) if of(rate) == name]
        yield [fit.data[row] for row in rows], fit.without(rows)


def left_out(rates: list[Observation], values: Values) -> list[Residual]:
    """Return the residuals of *rates*, to which *values* were not fitted."""
    return [residual(rate, values) for rate in rates]


def from_another_model(rates: list[Observation], values: Values) -> list[Residual]:
    """Return the residual of each convolutional network anchored on each other one of its series.

    A series is what one source measured on one card with one software and precision; *values* were not fitted to it.
    Each other model of the series is the anchor once, with its batch nearest to the one that is predicted.
    """
    series: dict[tuple[str, ...], list[Observation]] = defaultdict(list)
    for rate in rates:
        scenario = rate.scenario
        if rate.case.quantity.startswith("throughput") and _is_convolutional(rate):
            card, precision = scenario.cluster.accelerator.name, scenario.plan.precision
            series[rate.case.system, card, scenario.software.name, precision].append(rate)
    return [
        anchored_residual(anchor, other, values)
        for group in series.values()
        for other in group
        for anchor in _anchors(group, other)
    ]


def anchored_residual(anchor: Observation, other: Observation, values: Values) -> Residual:
    """Return the residual of *other* with *anchor* known, by lbsim's law of anchors."""
    (then, update_then), (now, update_now) = predicted(anchor, values), predicted(other, values)
    factor = factor_at_other_batch((anchor.value - update_then) / then, then, now)
    return Residual(other, factor * now + update_now, anchor=anchor)


def _anchors(group: list[Observation], other: Observation) -> list[Observation]:
    nearest: dict[str, Observation] = {}
    for rate in sorted(group, key=lambda rate: _distance(rate, other)):
        if rate.scenario.model != other.scenario.model:
            nearest.setdefault(rate.scenario.model, rate)
    return list(nearest.values())


def _distance(rate: Observation, other: Observation) -> float:
    return abs(math.log(rate.scenario.plan.batch_per_gpu / other.scenario.plan.batch_per_gpu))


def _is_convolutional(rate: Observation) -> bool:
    return any(layer.channels is not None for layer in rate.scenario.workload.layers)
