"""Cross-validation folds of the observations of several GPUs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lbsim.evaluation.cross_validation.corrections import FAMILY_OF
from lbsim.measurements.case import case_files, held_out_observation, read_case_file
from lbsim.measurements.case_class import SCALING, CaseClass
from lbsim.measurements.observation import Observation

Kind = Literal["system", "scale", "model"]
KINDS: tuple[Kind, ...] = ("system", "scale", "model")


@dataclass(frozen=True)
class Fold:
    """Observations that are held out together, and the others."""

    rest: list[Observation]
    unseen: list[Observation]

    @property
    def training(self) -> list[Observation]:
        """The others with role ``calibrate``; those with role ``validate`` are never fitted to."""
        return [one for one in self.rest if one.case.role == "calibrate"]


def cases(folder: Path) -> list[Observation]:
    """Return the observations in *folder* of the classes of `FAMILY_OF`, which can be left out; no ratios."""
    found = []
    for file in case_files(folder):
        content = read_case_file(file)
        wanted = [entry for entry in content.observed if entry.class_ in FAMILY_OF and entry.relative_to is None]
        found += [held_out_observation(file, content, entry) for entry in wanted]
    return found


def family(observation: Observation) -> str:
    """Return the name of the family in `FAMILIES` that *observation* belongs to."""
    return FAMILY_OF[CaseClass(observation.case.class_)]


def subject(observation: Observation) -> str:
    """Return the model; of an all-reduce, the size of its message."""
    return observation.scenario.model if observation.message is None else f"{observation.message:.0f} B"


def folds(kind: Kind, known: Sequence[Observation]) -> Iterable[Fold]:
    """Return the folds of *known*.

    ``system``: from the other systems; of scaling alone, because the profiles were fitted to the systems with fusion
    policies and all-reduces. ``scale``: the largest scale of a system from its smaller ones; of all-reduces each number
    of GPUs from the others. ``model``: from the system's other models, and for an all-reduce from its other sizes.
    """
    if kind == "system":
        for _, group in _groups((one for one in known if one.case.class_ in SCALING), family):
            yield from _each(group, lambda one: one.case.system)
        return
    for _, group in _groups(known, lambda one: f"{one.case.system}, {family(one)}"):
        if kind == "scale" and group[0].case.class_ == CaseClass.ALL_REDUCE:
            yield from _each(group, lambda one: str(one.scenario.plan.gpus))
        elif kind == "scale":
            largest = max(one.scenario.plan.gpus for one in group)
            smaller = [one for one in group if one.scenario.plan.gpus < largest]
            yield Fold(smaller, [one for one in group if one.scenario.plan.gpus == largest])
        else:
            yield from _each(group, subject)


def _each(group: Sequence[Observation], key: Callable[[Observation], str]) -> Iterable[Fold]:
    """Return one fold for each value of *key*."""
    for name, unseen in _groups(group, key):
        yield Fold([one for one in group if key(one) != name], unseen)


def _groups(known: Iterable[Observation], key: Callable[[Observation], str]) -> Iterable[tuple[str, list[Observation]]]:
    grouped: dict[str, list[Observation]] = {}
    for one in known:
        grouped.setdefault(key(one), []).append(one)
    return grouped.items()
