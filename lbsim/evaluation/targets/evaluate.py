"""Evaluation of accuracy targets on the outcomes of experiments."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbsim.evaluation.residual import Residual
from lbsim.evaluation.targets.target import Section, Target, sections, targets

__all__ = ["Outcome", "Outcomes", "TargetRow", "evaluate", "outcome", "reason", "rows"]


@dataclass(frozen=True)
class Outcome:
    """One prediction of an experiment, compared with what was measured."""

    name: str
    """Id of the case, or what was measured."""
    class_: str
    relative_error: float
    hit: bool | None = None
    """Whether the value is inside its interval, or the pair in its order; None where neither applies."""
    outlier: bool = False
    """Whether something that lbsim does not model decides the measurement; errors leave it out, shares do not."""
    anchor: str = ""
    """Model of the observation that the prediction is anchored on."""


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of one experiment, or the reason why there are none."""

    rows: tuple[Outcome, ...]
    missing: str = ""


@dataclass(frozen=True)
class TargetRow:
    """One row of the table of targets; errors and shares are fractions, not per cent.

    It has errors, or a share, or the reason why it has neither. Its fields are the keys of the JSON.
    """

    target: str
    """Title of the section."""
    what: str
    rows: int = 0
    outliers: int = 0
    """Outliers, which are not among the rows."""
    mean: float | None = None
    """Absolute relative error."""
    mean_aim: float | None = None
    worst: float | None = None
    worst_aim: float | None = None
    worst_id: str = ""
    share: float | None = None
    """Share of the rows inside their interval or in the right order."""
    share_aim: tuple[float, float] | None = None
    """Lowest and highest aim."""
    how: str = ""
    missing: str = ""
    """Reason why there is no number; empty if there is one."""

    @property
    def reached(self) -> bool | None:
        """Whether every aim is reached; None without aims or without numbers."""
        pairs = ((self.mean, self.mean_aim), (self.worst, self.worst_aim))
        reached = [value <= aim for value, aim in pairs if value is not None and aim is not None]
        if self.share is not None and self.share_aim is not None:
            reached.append(self.share_aim[0] <= self.share <= self.share_aim[1])
        return all(reached) if reached else None

    @property
    def verdict(self) -> str:
        """Result in a word or two."""
        if self.missing:
            return "not here"
        return {None: "no aim", True: "reached", False: "missed"}[self.reached]


def outcome(residual: Residual, *, outlier: bool = False) -> Outcome:
    """Return *residual* as an outcome of the class of its case."""
    case, anchor = residual.observation.case, residual.anchor
    name = f"{case.id}/{anchor.case.id}" if anchor else case.id
    model = anchor.scenario.model if anchor else ""
    return Outcome(name, case.class_, residual.relative_error, residual.inside, outlier, model)


def rows(outcomes: Mapping[str, Outcomes], cases: str) -> list[TargetRow]:
    """Return a row for each target, from the outcomes of each experiment on the folder *cases*."""
    return [evaluate(section, target, outcomes[target.experiment], cases) for section, target in targets()]


def evaluate(section: Section, target: Target, found: Outcomes, cases: str) -> TargetRow:
    """Return the row of *target*, with the errors or the share of the outcomes that it is about."""
    chosen = [one for one in found.rows if _is_about(target, one)]
    numbers = _share(chosen) if target.share else _errors(chosen)
    if not numbers:
        of = " or ".join(f"'{name}'" for name in target.classes)
        numbers = {"missing": found.missing or f"no case{of and f' of the class {of}'} in {cases} that can be held out"}
    return TargetRow(
        target=section.title,
        what=target.what,
        mean_aim=target.mean,
        worst_aim=target.worst,
        share_aim=target.share,
        how=target.how,
        **numbers,
    )


def reason(row: TargetRow) -> str:
    """Return why *row* is missed; nothing if it is not."""
    if row.reached is not False:
        return ""
    section = next(section for section in sections() if section.title == row.target)
    above = row.share is not None and row.share_aim is not None and row.share > row.share_aim[1]
    return section.reason_above if above and section.reason_above else section.reason


def _is_about(target: Target, one: Outcome) -> bool:
    anchored = bool(one.anchor) if target.anchor == "any" else one.anchor == target.anchor
    return anchored and (not target.classes or one.class_ in target.classes)


def _errors(chosen: Sequence[Outcome]) -> dict[str, Any]:
    inliers = [one for one in chosen if not one.outlier] or chosen
    if not inliers:
        return {}
    errors = [(abs(one.relative_error), one.name) for one in inliers]
    worst, name = max(errors)
    mean = math.fsum(error for error, _ in errors) / len(errors)
    outliers = len(chosen) - len(inliers)
    return {"rows": len(errors), "outliers": outliers, "mean": mean, "worst": worst, "worst_id": name}


def _share(chosen: Sequence[Outcome]) -> dict[str, Any]:
    hits = [one.hit for one in chosen if one.hit is not None]
    return {"rows": len(hits), "share": sum(hits) / len(hits)} if hits else {}
