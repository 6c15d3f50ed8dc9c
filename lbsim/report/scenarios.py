"""Scenarios of a report: their labels, predictions at every number of GPUs, and published values."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from lbsim.errors import InputError
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.validate import Validation, validate
from lbsim.measurements.case_class import CaseClass
from lbsim.predict import predict
from lbsim.report.price import Price
from lbsim.scenario.scenario import Scenario, override
from lbsim.simulation.prediction import Prediction

__all__ = ["ReportScenario", "ReportScenarios", "labelled"]

_TRAITS = ("model", "cluster", "batch", "precision", "software", "all-reduce", "fusion", "optimizer")


@dataclass(frozen=True)
class ReportScenario:
    """One scenario of a report, with its label in figures and its price."""

    label: str
    scenario: Scenario
    price: Price | None = None
    _made: dict[int, Prediction] = field(default_factory=dict, compare=False, repr=False)

    def at(self, gpus: int) -> Prediction:
        """Return the prediction on *gpus* GPUs, computed once; InputError if the scenario cannot run on so many."""
        if gpus not in self._made:
            self._made[gpus] = predict(override(self.scenario, {"plan.gpus": gpus}))
        return self._made[gpus]

    @cached_property
    def prediction(self) -> Prediction:
        """Prediction on the scenario's number of GPUs."""
        return self.at(self.scenario.plan.gpus)

    @cached_property
    def scales(self) -> dict[int, Prediction]:
        """Predictions by number of GPUs, from one to twice the scenario's; numbers that cannot run are omitted."""
        return dict(self._scales())

    def _scales(self) -> Iterator[tuple[int, Prediction]]:
        requested, node = self.scenario.plan.gpus, self.scenario.cluster.gpus_per_node
        inside = {2**power for power in range(node.bit_length()) if 2**power < node}
        nodes = {node * 2**power for power in range((2 * requested).bit_length()) if node * 2**power <= 2 * requested}
        for gpus in sorted({1, requested} | {gpus for gpus in inside | nodes if gpus <= 2 * requested}):
            try:
                yield gpus, self.at(gpus)
            except InputError:
                if gpus == requested:
                    raise

    def is_of(self, scenario: Scenario) -> bool:
        """Return whether *scenario* has the same model, cluster, software, batch per GPU and precision."""
        mine, other = self.scenario, scenario
        return (
            (mine.model, mine.cluster.name, mine.software.name)
            == (other.model, other.cluster.name, other.software.name)
            and mine.plan.batch_per_gpu == other.plan.batch_per_gpu
            and mine.plan.precision == other.plan.precision
        )


@dataclass(frozen=True)
class ReportScenarios:
    """Scenarios that share the figures of a report; the first is the main one."""

    entries: tuple[ReportScenario, ...]

    @cached_property
    def published(self) -> Validation:
        """Published rates and times with their predictions, computed once for all figures."""
        return _published()

    def published_of(self, entry: ReportScenario) -> list[Residual]:
        """Return the published values of *entry* on any number of GPUs, without duplicates."""
        found = {
            (result.observation.quantity, result.observed, result.observation.scenario.plan.gpus): result
            for result in self.published.results
            if entry.is_of(result.observation.scenario)
        }
        return list(found.values())


_ELSEWHERE = frozenset({CaseClass.FUSION_POLICIES, CaseClass.ALL_REDUCE})
"""Classes of cases that reports omit: they have their own reports, and would double the time of this one."""


@lru_cache
def _published() -> Validation:
    gc.disable()  # garbage collection would take an eighth of the time and free nothing
    try:
        return validate(without=_ELSEWHERE)
    finally:
        gc.enable()


def labelled(scenarios: Sequence[Scenario], prices: Iterable[Price | None] = ()) -> tuple[ReportScenario, ...]:
    """Return a labelled scenario for each different one of *scenarios*; labels name what differs between them.

    *prices* are none, one for all, or one for each. Raises InputError for another number of prices.
    """
    different = list(dict.fromkeys(scenarios)) if _hashable(scenarios) else list(scenarios)
    traits_of = [_traits(scenario) for scenario in different]
    apart = [name for name in _TRAITS if len({traits[name] for traits in traits_of}) > 1] or ["model", "cluster"]
    labels = [", ".join(traits[name] for name in apart) for traits in traits_of]
    priced = [*prices]
    each = priced * len(traits_of) if len(priced) == 1 else priced or [None] * len(traits_of)
    if len(each) != len(traits_of):
        raise InputError(
            f"--price: {len(each)} prices for {len(traits_of)} scenarios; give one for all or one for each"
        )
    return tuple(ReportScenario(*one) for one in zip(labels, different, each, strict=True))


def _hashable(scenarios: Sequence[Scenario]) -> bool:
    try:
        hash(tuple(scenarios))
    except TypeError:
        return False
    return True


def _traits(scenario: Scenario) -> dict[str, str]:
    plan = scenario.plan
    values = (
        Path(scenario.model).stem,
        scenario.cluster.name,
        f"batch {plan.batch_per_gpu} a GPU",
        plan.precision,
        scenario.software.name,
        plan.all_reduce,
        f"fusion {plan.fusion}",
        plan.optimizer,
    )
    return dict(zip(_TRAITS, values, strict=True))
