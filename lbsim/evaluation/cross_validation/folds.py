"""Observations that can be left out, and which are fitted to when others are."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from lbsim.communication.collective_time import MICROBENCHMARKS
from lbsim.evaluation.cross_validation.corrections import FAMILIES, corrected
from lbsim.measurements.case import CaseFile, Observed, case_files, read_case_file
from lbsim.profiles.catalog import Folders
from lbsim.scenario.request import build_scenario
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import ScenarioMetrics

Kind = Literal["system", "scale", "model"]
KINDS: tuple[Kind, ...] = ("system", "scale", "model")


@dataclass(frozen=True)
class Case:
    """One observation that can be left out."""

    file: CaseFile
    observed: Observed
    scenario: Scenario
    """With what the profiles would say without its file's system, where the file knows (`CaseFile.unfitted`)."""
    family: str
    shipped: Scenario
    """With what the profiles say."""

    @property
    def what(self) -> str:
        """The model, or the size of the all-reduce."""
        return self.scenario.model if self.observed.message is None else f"{self.observed.message:.0f} B"

    def logarithm(self, corrections: Mapping[str, float]) -> float:
        """Return ln(predicted / observed) with these corrections, by path."""
        return self._logarithm(ScenarioMetrics(corrected(self.scenario, corrections), self._uncorrected))

    def as_shipped(self) -> float:
        """Return ln(predicted / observed) with what the profiles say."""
        return self._logarithm(ScenarioMetrics(self.shipped))

    @cached_property
    def _uncorrected(self) -> ScenarioMetrics:
        """On one GPU a step is the same with and without corrections, which are of links, waiting and collectives."""
        return ScenarioMetrics(self.scenario)

    def _logarithm(self, steps: ScenarioMetrics) -> float:
        quantity, message = self.observed.quantity, self.observed.message
        value = steps.value(quantity) if message is None else MICROBENCHMARKS[quantity](steps.scenario, message)
        return math.log(value / self.observed.si)


@dataclass(frozen=True)
class Fold:
    """What is left out together, and what it is predicted from."""

    rest: list[Case]
    unseen: list[Case]

    @property
    def training(self) -> list[Case]:
        """The rest whose role is not ``validate``: that is predicted, never fitted to."""
        return [case for case in self.rest if case.observed.role == "calibrate"]


def cases(place: Path) -> list[Case]:
    """Return the observations in *place* of several GPUs that a fit may be asked about."""
    found = []
    for file in case_files(place):
        content = read_case_file(file)
        for observed in content.observed:
            family = next((name for name in FAMILIES if observed.class_.startswith(name)), None)
            if family is not None and observed.relative_to is None:
                folders = Folders(beside=file.parent.absolute())
                shipped = build_scenario(content.scenario, observed.set, folders)
                unfitted = content.unfitted | observed.unfitted
                scenario = build_scenario(content.scenario, observed.set | unfitted, folders) if unfitted else shipped
                found.append(Case(content, observed, scenario, family, shipped))
    return found


def folds(kind: Kind, known: Sequence[Case]) -> Iterable[Fold]:
    """Return what is fitted to and what is predicted from it, fold by fold.

    ``system``: from the other systems; of scaling alone, because the profiles were fitted to the systems with fusion
    policies and all-reduces. ``scale``: the largest scale of a system from its smaller ones; of all-reduces each number
    of GPUs from the others. ``model``: from the system's other models, and for an all-reduce from its other sizes.
    """
    if kind == "system":
        for family, group in _groups(known, lambda case: case.family):
            if family.startswith("scaling"):
                yield from _each(group, lambda case: case.file.system)
        return
    for _, group in _groups(known, lambda case: f"{case.file.system}, {case.family}"):
        if kind == "scale" and group[0].family == "all-reduce":
            yield from _each(group, lambda case: str(case.scenario.plan.gpus))
        elif kind == "scale":
            largest = max(case.scenario.plan.gpus for case in group)
            smaller = [case for case in group if case.scenario.plan.gpus < largest]
            yield Fold(smaller, [case for case in group if case.scenario.plan.gpus == largest])
        else:
            yield from _each(group, lambda case: case.what)


def _each(group: Sequence[Case], key: Callable[[Case], str]) -> Iterable[Fold]:
    """Return one fold for each *key*, predicted from all others."""
    for name, unseen in _groups(group, key):
        yield Fold([case for case in group if key(case) != name], unseen)


def _groups(known: Iterable[Case], key: Callable[[Case], str]) -> Iterable[tuple[str, list[Case]]]:
    grouped: dict[str, list[Case]] = {}
    for case in known:
        grouped.setdefault(key(case), []).append(case)
    return grouped.items()
