"""How well rates of one GPU are predicted that were left out of the fit, alone or with one of them as an anchor."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lbsim.evaluation.single_gpu.fit import Fit
from lbsim.evaluation.single_gpu.rates import Rate, Values
from lbsim.simulation.anchor import factor_at_other_batch

GROUPS: dict[str, Callable[[Rate], str]] = {
    "row": lambda rate: f"{rate.system} {rate.id} {rate.quantity}",
    "source": lambda rate: rate.system,
    "card": lambda rate: rate.scenario.cluster.accelerator.name,
    "model": lambda rate: rate.scenario.model,
}
"""What can be left out."""


@dataclass(frozen=True)
class Unseen:
    """A rate, and how far off its prediction was."""

    rate: Rate
    error: float
    """ln(predicted / observed) of its time."""
    anchor: Rate | None = None
    """That it was anchored on, if any."""

    @property
    def name(self) -> str:
        """Its id, and its anchor's."""
        return f"{self.rate.id}/{self.anchor.id}" if self.anchor else self.rate.id


def folds(fit: Fit, group: str) -> Iterator[tuple[list[Rate], Values]]:
    """Yield what is left out, group by group, and what the rest says."""
    of = GROUPS[group]
    for name in sorted({of(rate) for rate in fit.data}):
        places = [place for place, rate in enumerate(fit.data) if of(rate) == name]
        yield [fit.data[place] for place in places], fit.without(places)


def left_out(rates: list[Rate], values: Values) -> list[Unseen]:
    """Return how far off each of *rates* is, which *values* were not fitted to."""
    return [Unseen(rate, rate.error(values)) for rate in rates]


def from_another_model(rates: list[Rate], values: Values) -> list[Unseen]:
    """Return how far off each convolutional network is when one other of the same series is known.

    A series is what one source measured on one card with one software and precision; *values* were not fitted to it.
    Each other model of the series is the anchor once, with its batch nearest to the one that is predicted.
    """
    series: dict[tuple[str, ...], list[Rate]] = defaultdict(list)
    for rate in rates:
        scenario = rate.scenario
        if rate.quantity.startswith("throughput") and _is_convolutional(rate):
            card, precision = scenario.cluster.accelerator.name, scenario.plan.precision
            series[rate.system, card, scenario.software.name, precision].append(rate)
    return [
        Unseen(other, anchored_error(anchor, other, values), anchor)
        for group in series.values()
        for other in group
        for anchor in _anchors(group, other)
    ]


def anchored_error(anchor: Rate, other: Rate, values: Values) -> float:
    """Return ln(predicted / observed) of *other* when *anchor* is known, with lbsim's law of anchors."""
    (then, update_then), (now, update_now) = anchor.predicted(values), other.predicted(values)
    factor = factor_at_other_batch((anchor.seconds - update_then) / then, then, now)
    return math.log((factor * now + update_now) / other.seconds)


def _anchors(group: list[Rate], other: Rate) -> list[Rate]:
    nearest: dict[str, Rate] = {}
    for rate in sorted(group, key=lambda rate: _distance(rate, other)):
        if rate.scenario.model != other.scenario.model:
            nearest.setdefault(rate.scenario.model, rate)
    return list(nearest.values())


def _distance(rate: Rate, other: Rate) -> float:
    return abs(math.log(rate.scenario.plan.batch_per_gpu / other.scenario.plan.batch_per_gpu))


def _is_convolutional(rate: Rate) -> bool:
    return any(layer.channels is not None for layer in rate.scenario.workload.layers)
