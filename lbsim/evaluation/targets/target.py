"""Accuracy targets, read from targets.toml: classes of predictions, aims, and reasons of a miss."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import Field

from lbsim.profiles.profile import Table, Text

__all__ = ["Aim", "Section", "Target", "aim_of", "sections", "targets"]

_FILE = "targets.toml"


@dataclass(frozen=True)
class Aim:
    """Aims of two absolute relative errors."""

    mean: float
    worst: float


class Target(Table):
    """One target: which predictions are evaluated, and what they are to reach."""

    id: Text
    what: Text
    """Label of the row."""
    experiment: Text
    """Name in `lbsim.evaluation.targets.experiments`."""
    classes: tuple[Text, ...] = ()
    """Classes of the outcomes; all of the experiment if there are none."""
    anchor: str = ""
    """Model of the observation that predictions are anchored on, or ``any``; empty for predictions without anchor."""
    mean: Annotated[float | None, Field(gt=0)] = None
    """Aim of the mean absolute relative error."""
    worst: Annotated[float | None, Field(gt=0)] = None
    """Aim of the largest absolute relative error."""
    share: Annotated[tuple[float, float] | None, Field()] = None
    """Lowest and highest aim of the share of hits; such a target has no aims of errors."""
    how: str = ""
    """Remark that qualifies the label."""


class Section(Table):
    """Targets under one heading."""

    title: Text
    reason: Text
    """Reason of a miss: a larger error, or a share below its aim."""
    reason_above: str = ""
    """Reason of a share above its aim."""
    target: tuple[Target, ...]


@cache
def sections() -> tuple[Section, ...]:
    """Return the sections of targets.toml, in its order."""
    content = tomllib.loads((files(__package__) / _FILE).read_text(encoding="utf-8"))
    return tuple(Section.model_validate(section) for section in content["section"])


def targets() -> Iterator[tuple[Section, Target]]:
    """Yield each target with its section, in the order of the file."""
    return ((section, target) for section in sections() for target in section.target)


def aim_of(experiment: str, class_: str) -> Aim | None:
    """Return the aims of the errors of *class_* in *experiment*; None if there is no target with both."""
    for _, target in targets():
        if (target.experiment, target.classes) == (experiment, (class_,)) and target.mean and target.worst:
            return Aim(target.mean, target.worst)
    return None
