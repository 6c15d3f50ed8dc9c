"""What a report is about: scenarios, their predictions at every scale, and what was published of them."""

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

_TRAITS = ("model", "cluster", "batch", "precision", "software", "all-reduce", "fusion", "optimizer")


@dataclass(frozen=True)
class Run:
    """One scenario of a report, by the name that its lines have."""

    label: str
    scenario: Scenario
    price: Price | None = None
    _made: dict[int, Prediction] = field(default_factory=dict, compare=False, repr=False)

    def at(self, gpus: int) -> Prediction:
        """Return the prediction on *gpus* GPUs, made once; InputError if it cannot run on so many."""
        if gpus not in self._made:
            self._made[gpus] = predict(override(self.scenario, {"plan.gpus": gpus}))
        return self._made[gpus]

    @cached_property
    def prediction(self) -> Prediction:
        """At the GPUs that were asked about."""
        return self.at(self.scenario.plan.gpus)

    @cached_property
    def scales(self) -> dict[int, Prediction]:
        """Predictions from one GPU to twice as many as were asked about; scales that cannot run are left out."""
        return dict(self._scales())

    def _scales(self) -> Iterator[tuple[int, Prediction]]:
        asked, node = self.scenario.plan.gpus, self.scenario.cluster.gpus_per_node
        inside = {2**power for power in range(node.bit_length()) if 2**power < node}
        nodes = {node * 2**power for power in range((2 * asked).bit_length()) if node * 2**power <= 2 * asked}
        for gpus in sorted({1, asked} | {gpus for gpus in inside | nodes if gpus <= 2 * asked}):
            try:
                yield gpus, self.at(gpus)
            except InputError:
                if gpus == asked:
                    raise

    def is_of(self, scenario: Scenario) -> bool:
        """Return whether *scenario* is this one but for the GPUs, the all-reduce and an anchor."""
        own, other = self.scenario, scenario
        return (
            (own.model, own.cluster.name, own.software.name) == (other.model, other.cluster.name, other.software.name)
            and own.plan.batch_per_gpu == other.plan.batch_per_gpu
            and own.plan.precision == other.plan.precision
        )


@dataclass(frozen=True)
class Subject:
    """The runs that share the figures; the first is the one that was asked about."""

    runs: tuple[Run, ...]

    @cached_property
    def published(self) -> Validation:
        """Published rates and times, beside their predictions; made once for all figures."""
        return _published()

    def published_of(self, run: Run) -> list[Residual]:
        """Return what was published of *run* at whatever number of GPUs, each number once."""
        found = {
            (result.observation.quantity, result.observed, result.observation.scenario.plan.gpus): result
            for result in self.published.results
            if run.is_of(result.observation.scenario)
        }
        return list(found.values())


_ELSEWHERE = frozenset({CaseClass.FUSION_POLICIES, CaseClass.ALL_REDUCE})
"""Classes of cases with a report or command of their own, which would make this one twice as slow."""


@lru_cache
def _published() -> Validation:
    gc.disable()  # nothing here is in a cycle for long, and looking for cycles takes an eighth of the time
    try:
        return validate(without=_ELSEWHERE)
    finally:
        gc.enable()


def labelled(scenarios: Sequence[Scenario], prices: Iterable[Price | None] = ()) -> tuple[Run, ...]:
    """Return a run for each of *scenarios*, named by what sets it apart from the others; the same is taken once."""
    different = list(dict.fromkeys(scenarios)) if _hashable(scenarios) else list(scenarios)
    told = [_traits(scenario) for scenario in different]
    apart = [name for name in _TRAITS if len({traits[name] for traits in told}) > 1] or ["model", "cluster"]
    labels = [", ".join(traits[name] for name in apart) for traits in told]
    priced = [*prices]
    each = priced * len(told) if len(priced) == 1 else priced or [None] * len(told)
    if len(each) != len(told):
        raise InputError(f"--price: {len(each)} prices for {len(told)} scenarios; write one for all or one for each")
    return tuple(Run(*one) for one in zip(labels, different, each, strict=True))


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
