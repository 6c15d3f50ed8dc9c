"""Experiments on one GPU: a rate or its whole source is held out of the fit and predicted."""

from dataclasses import replace

from lbsim.evaluation.held_out_intervals import with_intervals
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.single_gpu.leave_out import GROUPS, folds, from_another_model, left_out
from lbsim.evaluation.single_gpu.rates import cores
from lbsim.evaluation.targets.data import TargetData
from lbsim.evaluation.targets.evaluate import Outcome, Outcomes, outcome
from lbsim.measurements.case_class import CaseClass

__all__ = ["intervals", "outcomes"]

_CLASSES = {
    "vector": CaseClass.SINGLE_GPU_FP32,
    "tensor": CaseClass.SINGLE_GPU_MIXED,
    "tf32": CaseClass.SINGLE_GPU_TF32,
}


def outcomes(group: str, data: TargetData) -> Outcomes:
    """Return the held-out predictions with each *group* held out.

    For sources, also those of each convolutional network anchored on another one of its series.
    """
    fit = data.single_gpu_fit
    if fit is None:
        return Outcomes(())
    alone: list[Residual] = []
    anchored: list[Residual] = []
    for unseen, values in folds(fit, group):
        alone += left_out(unseen, values)
        if group == "source":
            anchored += from_another_model(unseen, values)
    return Outcomes(tuple(map(_outcome, (*intervals(group, alone), *anchored))))


def _outcome(residual: Residual) -> Outcome:
    """Return *residual* in the class of the cores that its products run on, whatever the source calls its precision."""
    return replace(outcome(residual), class_=_CLASSES[cores(residual.observation)])


def intervals(group: str, residuals: list[Residual]) -> list[Residual]:
    """Return *residuals* with intervals from the residuals on the same cores of every other *group*."""
    found: list[Residual] = []
    for kind in dict.fromkeys(cores(one.observation) for one in residuals):
        own = [one for one in residuals if cores(one.observation) == kind]
        found += with_intervals(own, lambda one: GROUPS[group](one.observation))
    return found
