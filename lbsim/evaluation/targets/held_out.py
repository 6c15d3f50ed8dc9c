"""Experiments on several GPUs: a system, a scale or a model is held out of the fit and predicted."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

from lbsim.errors import InputError
from lbsim.evaluation.cross_validation.folds import Kind
from lbsim.evaluation.cross_validation.leave_out import is_outlier, leave_out
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.targets.data import TargetData
from lbsim.evaluation.targets.evaluate import Outcome, Outcomes, outcome
from lbsim.measurements.case_class import CaseClass

__all__ = ["APART", "ORDER", "order_of_policies", "outcomes"]

APART = 0.02
"""Relative difference of two measured times below which their order is not significant."""
ORDER = "order of fusion policies"
"""Class of the outcomes of pairs."""


def outcomes(kind: Kind, data: TargetData) -> Outcomes:
    """Return the held-out predictions of *kind*; for scales, with the order of each pair of fusion policies."""
    try:
        residuals = leave_out(kind, data.cases).residuals
    except InputError as error:
        if str(error).startswith("--leave-out"):  # no case that can be held out; a fault in a file is another error
            return Outcomes(())
        raise
    found = [outcome(one, outlier=is_outlier(one.observation)) for one in residuals]
    if kind == "scale":
        found += order_of_policies(one for one in residuals if one.observation.case.class_ == CaseClass.FUSION_POLICIES)
    return Outcomes(tuple(found))


def order_of_policies(residuals: Iterable[Residual]) -> Iterator[Outcome]:
    """Yield whether the order of each two plans was predicted that differ significantly.

    Pairs are of one system, cluster, model, number of GPUs and batch.
    """
    groups: dict[tuple[object, ...], list[Residual]] = defaultdict(list)
    for residual in residuals:
        observation, scenario = residual.observation, residual.observation.scenario
        key = (observation.case.system, scenario.cluster.name, scenario.model, scenario.plan.gpus)
        groups[*key, scenario.plan.batch_per_gpu, observation.quantity].append(residual)
    for group in groups.values():
        for one, other in combinations(group, 2):
            observed = math.log(one.observed / other.observed)
            if abs(observed) > math.log1p(APART):
                predicted = observed + one.logarithm - other.logarithm
                name = f"{one.observation.case.id}/{other.observation.case.id}"
                yield Outcome(name, ORDER, math.expm1(predicted - observed), hit=predicted * observed > 0)
