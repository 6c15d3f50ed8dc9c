"""Cross-validation over observations of several GPUs: each is predicted by a fit to the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lbsim.errors import InputError
from lbsim.evaluation.cross_validation.correction_fit import Predictions, fit_corrections
from lbsim.evaluation.cross_validation.folds import Kind, cases, folds, subject
from lbsim.evaluation.held_out_intervals import with_intervals
from lbsim.evaluation.residual import Residual
from lbsim.measurements.case_class import CaseClass
from lbsim.measurements.observation import Observation
from lbsim.profiles.catalog import PUBLISHED_CASES


@dataclass(frozen=True)
class HeldOut:
    """Residuals of observations that were held out of a fit, in two lists of the same order."""

    residuals: tuple[Residual, ...]
    """Predictions by the fit to the other observations.

    Their 90 % intervals are estimated from the other systems; of one system, from its other models or sizes.
    """
    shipped: tuple[Residual, ...]
    """Predictions with the profiles as shipped, which `lbsim predict` uses, with intervals of the same kind."""


def is_outlier(observation: Observation) -> bool:
    """Return whether the case notes that something decides *observation* which lbsim does not model."""
    case = observation.case
    return case.class_ != CaseClass.FUSION_POLICIES and case.role == "validate" and bool(case.note)


def leave_out(kind: Kind, folder: Path = PUBLISHED_CASES) -> HeldOut:
    """Return the residual of each observation in *folder* that can be predicted from the other folds.

    The fit to one `fold <lbsim.evaluation.cross_validation.folds.folds>` corrects the profiles: for ``system``, all of
    them by the same factors. InputError if nothing in *folder* can be held out.
    """
    known = Predictions()
    residuals, shipped = [], []
    for fold in folds(kind, cases(folder)):
        if fold.training:
            corrections = fit_corrections(fold.training, known, shared=kind == "system")
            residuals += [Residual(one, known.predicted(one, corrections.of(one))) for one in fold.unseen]
            shipped += [Residual(one, known.shipped(one)) for one in fold.unseen]
    if not residuals:
        raise InputError(f"--leave-out {kind}: no case in '{folder}' can be predicted from the others there")
    return HeldOut(tuple(_with_intervals(residuals)), tuple(_with_intervals(shipped)))


def _with_intervals(residuals: Sequence[Residual]) -> list[Residual]:
    """Return *residuals*, in the same order, with the intervals that others of their class give."""
    classes: dict[str, list[int]] = {}
    for row, one in enumerate(residuals):
        classes.setdefault(one.observation.case.class_, []).append(row)
    found: dict[int, Residual] = {}
    for rows in classes.values():
        own = [residuals[row] for row in rows]
        several = len({one.observation.case.system for one in own}) > 1
        found |= zip(rows, with_intervals(own, _system if several else _subject), strict=True)
    return [found[row] for row in range(len(residuals))]


def _system(residual: Residual) -> str:
    return residual.observation.case.system


def _subject(residual: Residual) -> str:
    """Return what groups the residuals of one system."""
    return subject(residual.observation)
