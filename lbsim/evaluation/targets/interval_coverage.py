"""How often the intervals that `lbsim predict` gives hold what was published of the scaling of several GPUs."""

from collections.abc import Iterator

from lbsim.evaluation.cross_validation.leave_out import COVERAGE
from lbsim.evaluation.targets.dataset import Place
from lbsim.evaluation.targets.result import INTERVALS, Line
from lbsim.evaluation.validate import validate

_CLASS = "scaling, "


def lines(place: Place) -> Iterator[Line]:
    """Yield the coverage of each class; no interval's width is learnt from the source of its own row."""
    if not any(name.startswith(_CLASS) for name in place.classes):
        return
    for name, results in validate(place.cases, _CLASS).groups("class").items():
        if not name.startswith(_CLASS):
            continue
        line = Line(
            INTERVALS,
            f"{name.replace('mixed', 'AMP')}, as predict gives them",
            share_aim=COVERAGE,
            how="the row's own source left out of the width, and in no fit",
        )
        yield line.of_shares([bool(result.inside) for result in results])
