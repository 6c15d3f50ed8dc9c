"""The systems that lbsim is to reproduce: nothing of them was fitted to."""

from collections.abc import Iterator

from lbsim.evaluation.cross_validation.leave_out import COVERAGE
from lbsim.evaluation.targets.dataset import Place
from lbsim.evaluation.targets.result import ANCHORED, EFFICIENCIES, INTERVALS, NOT_ANCHORED, Line
from lbsim.evaluation.validate import validate

_LINES = {
    "seed efficiency": Line(EFFICIENCIES, "efficiencies", mean_aim=0.05, worst_aim=0.10),
    "seed time, anchored": Line(ANCHORED, "on the smallest scale", mean_aim=0.08, worst_aim=0.15),
    "seed time, anchored at another batch": Line(ANCHORED, "on another batch", mean_aim=0.08, worst_aim=0.15),
    "seed time, not anchored": Line(
        NOT_ANCHORED, "inside their interval", share_aim=(0.9, 1.0), how="the interval that lbsim predict gives"
    ),
}
"""By class of case. The class ``seed time, fitted`` is what was fitted to, and no target."""


def lines(place: Place) -> Iterator[Line]:
    """Yield a line for each class of figures of these systems, and their coverage together."""
    known = place.classes & set(_LINES)
    groups = validate(place.cases, "seed ").groups("class") if known else {}
    insides: list[bool] = []
    for name, line in _LINES.items():
        if name not in known:
            yield line.not_here(place.no_case(name))
            continue
        own = [bool(result.inside) for result in groups[name]]
        insides += own
        if line.share_aim is None:
            yield line.of_errors((result.observation.case.id, result.relative_error) for result in groups[name])
        else:
            yield line.of_shares(own)
    if insides:
        yield Line(INTERVALS, "seed systems, all never fitted", share_aim=COVERAGE).of_shares(insides)
