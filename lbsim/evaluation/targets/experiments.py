"""Experiments by name: each predicts what a fit has not seen, and yields the outcomes that targets evaluate."""

from collections.abc import Callable, Mapping
from functools import partial

from lbsim.evaluation.cross_validation.folds import KINDS
from lbsim.evaluation.targets import held_out, own_traces, single_gpu, testbed
from lbsim.evaluation.targets.data import TargetData
from lbsim.evaluation.targets.evaluate import Outcomes, outcome
from lbsim.evaluation.targets.target import targets
from lbsim.evaluation.validate import validate

__all__ = ["EXPERIMENTS", "predict"]


def predict(data: TargetData) -> Outcomes:
    """Return the predictions of `lbsim predict`; no interval's width is estimated from the source of its own row."""
    wanted = {name for _, target in targets() if target.experiment == "predict" for name in target.classes}
    if not wanted & data.classes:
        return Outcomes(())
    return Outcomes(tuple(map(outcome, validate(data.cases, classes=wanted).results)))


EXPERIMENTS: Mapping[str, Callable[[TargetData], Outcomes]] = {
    "predict": predict,
    **{kind: partial(held_out.outcomes, kind) for kind in KINDS},
    **{group: partial(single_gpu.outcomes, group) for group in ("row", "source")},
    "own traces": own_traces.outcomes,
    "testbed": testbed.outcomes,
}
"""Some seconds to a minute each."""
