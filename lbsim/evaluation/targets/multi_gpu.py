"""Several GPUs and all-reduces: each class predicted from other systems, smaller scales or other sizes."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations

from lbsim.errors import InputError
from lbsim.evaluation.cross_validation.folds import Kind
from lbsim.evaluation.cross_validation.leave_out import COVERAGE, TARGETS, HeldOut, Summary, leave_out, summaries
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.targets.dataset import Place
from lbsim.evaluation.targets.result import ALL_REDUCES, HKB, INTERVALS, SCALING, Line

APART = 0.02
"""Relative difference of two published times below which their order says nothing."""
_POLICIES, _ALL_REDUCE = "fusion policies", "all-reduce"
_LINES: dict[tuple[Kind, str], Line] = {
    ("scale", _POLICIES): Line(HKB, "each fusion policy"),
    ("system", "scaling, fp32 in a node"): Line(SCALING, "fp32 in a node"),
    ("system", "scaling, fp32 across nodes"): Line(SCALING, "fp32 across nodes"),
    ("system", "scaling, mixed in a node"): Line(SCALING, "AMP in a node"),
    ("system", "scaling, mixed across nodes"): Line(SCALING, "AMP across nodes"),
    ("scale", _ALL_REDUCE): Line(ALL_REDUCES, "each rank count left out"),
    ("model", _ALL_REDUCE): Line(ALL_REDUCES, "each size left out"),
}
_WHAT: dict[Kind, str] = {"system": "source", "scale": "scale", "model": "model"}
_WHAT_OF_ALL_REDUCES: dict[Kind, str] = _WHAT | {"scale": "rank count", "model": "size"}


def lines(kind: Kind, place: Place) -> Iterator[Line]:
    """Yield the errors of each class that has an aim, the order of the policies, and the coverage by class."""
    held_out = _held_out(kind, place)
    found = {one.class_: one for one in summaries(kind, held_out)}
    for (of, class_), line in _LINES.items():
        if of == kind:
            aim, summary = TARGETS[kind, class_], found.get(class_)
            aimed = replace(line, mean_aim=aim.mean, worst_aim=aim.worst)
            yield aimed.not_here(place.no_case(class_)) if summary is None else _told(aimed, summary)
    if kind == "scale":
        yield _order(place, held_out.residuals)
    for class_, summary in found.items():
        if class_.startswith("scaling") == (kind == "system"):
            yield _coverage(kind, class_, summary)


def _held_out(kind: Kind, place: Place) -> HeldOut:
    try:
        return leave_out(kind, place.cases)
    except InputError as error:
        if str(error).startswith("--leave-out"):  # nothing there that can be; a fault in a file is another error
            return HeldOut((), ())
        raise


def _told(line: Line, summary: Summary) -> Line:
    return replace(
        line,
        rows=summary.count - summary.outliers,
        outliers=summary.outliers,
        mean=summary.mean,
        worst=summary.worst,
        worst_id=summary.worst_id,
    )


def _order(place: Place, results: Iterable[Residual]) -> Line:
    line = Line(HKB, "pairs of policies in the right order", share_aim=(1.0, 1.0), how="that differ by more than 2 %")
    right = list(ordered(one for one in results if one.observation.case.class_ == _POLICIES))
    return line.of_shares(right) if right else line.not_here(place.no_case(_POLICIES))


def ordered(results: Iterable[Residual]) -> Iterator[bool]:
    """Yield whether their order was predicted, for each two plans of a system, model and scale that really differ."""
    alike: dict[tuple[object, ...], list[Residual]] = defaultdict(list)
    for one in results:
        scenario = one.observation.scenario
        key = (one.observation.case.system, scenario.cluster.name, scenario.model, scenario.plan.gpus)
        alike[*key, scenario.plan.batch_per_gpu, one.observation.quantity].append(one)
    for group in alike.values():
        for one, other in combinations(group, 2):
            observed = math.log(one.observed / other.observed)
            if abs(observed) > math.log1p(APART):
                yield (observed + one.logarithm - other.logarithm) * observed > 0


def _coverage(kind: Kind, class_: str, summary: Summary) -> Line:
    what = _WHAT_OF_ALL_REDUCES[kind] if class_ == _ALL_REDUCE else _WHAT[kind]
    line = Line(INTERVALS, f"{class_.replace('mixed', 'AMP')}, {what} left out", share_aim=COVERAGE)
    if summary.coverage is None:
        return line.not_here("too few cases to estimate an interval from the others")
    return replace(line, rows=summary.count, share=summary.coverage)
