"""One GPU: published rates left out alone, with their source, or but for one other network of their series."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lbsim.evaluation.coverage import Coverage, by_group, coverage
from lbsim.evaluation.cross_validation.leave_out import COVERAGE
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.single_gpu.fit import Fit
from lbsim.evaluation.single_gpu.leave_out import GROUPS, folds, from_another_model, left_out
from lbsim.evaluation.single_gpu.rates import cores as cores_of
from lbsim.evaluation.single_gpu.rates import rates
from lbsim.evaluation.targets.dataset import Place
from lbsim.evaluation.targets.result import INTERVALS, SINGLE_GPU, Line

_ROW = Line(SINGLE_GPU, "each rate left out", mean_aim=0.07, worst_aim=0.30)
_MODEL = Line(SINGLE_GPU, "another CNN from ResNet-50", mean_aim=0.08, worst_aim=0.25, how="the source left out")
_ANY_MODEL = replace(_MODEL, what="another CNN from any one")
_ANCHOR = "resnet50"
"""The model that most sources measure, and that nearly every series has."""
_SOURCE = {
    "vector": Line(SINGLE_GPU, "a source left out, fp32", mean_aim=0.10, worst_aim=0.30),
    "tensor": Line(SINGLE_GPU, "a source left out, AMP", mean_aim=0.20),
    "tf32": Line(SINGLE_GPU, "a source left out, TF32"),
}
_CORES = {"vector": "fp32", "tensor": "AMP", "tf32": "TF32"}
_CLASS = "single GPU"


def lines(place: Place) -> Iterator[Line]:
    """Yield the errors of what is left out, and the coverage by class."""
    aimed = (_ROW, _MODEL, _ANY_MODEL, *_SOURCE.values())
    data = rates("calibrate", place.cases) if any(one.startswith(_CLASS) for one in place.classes) else []
    if len({rate.case.system for rate in data}) < 2:
        yield from (line.not_here(place.no_case(_CLASS)) for line in aimed)
        return
    fit = Fit(data)
    alone = [one for unseen, values in folds(fit, "row") for one in left_out(unseen, values)]
    of_sources, of_models = [], []
    for unseen, values in folds(fit, "source"):
        of_sources += left_out(unseen, values)
        of_models += from_another_model(unseen, values)
    yield _told(_ROW, alone)
    yield _told(_MODEL, [one for one in of_models if one.anchor and one.anchor.scenario.model == _ANCHOR])
    yield _told(_ANY_MODEL, of_models)
    for what, found in (("row", alone), ("source", of_sources)):
        for cores, line in _SOURCE.items():
            own = [one for one in found if cores_of(one.observation) == cores]
            if what == "source":
                yield _told(line, own)
            yield _coverage(what, f"one GPU, {_CORES[cores]}, {what} left out", own)


def _told(line: Line, found: Sequence[Residual]) -> Line:
    if not found:
        return line.not_here("no case that can be left out")
    return line.of_errors((_name(one), math.expm1(one.logarithm)) for one in found)


def _name(one: Residual) -> str:
    return f"{one.observation.case.id}/{one.anchor.case.id}" if one.anchor else one.observation.case.id


def _coverage(group: str, what: str, found: Sequence[Residual]) -> Line:
    line, own = Line(INTERVALS, what, share_aim=COVERAGE), coverage_of(group, found)
    if not own.inside:
        return line.not_here(f"too few cases to hold out each {group} and estimate an interval from the others")
    return line.of_shares(own.inside)


def coverage_of(group: str, found: Sequence[Residual]) -> Coverage:
    """Return the coverage of *found* with intervals from the residuals of another *group* alone.

    The residuals of rates that were held out together are not independent.
    """
    return coverage(by_group(found, lambda one: GROUPS[group](one.observation)))
