"""What a fit found, as a table."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from lbsim.cli.tables._layout import heading, pairs
from lbsim.units import dimension_of

if TYPE_CHECKING:
    # for their names alone; they are imported where they are made, for start-up time
    from lbsim.calibration.calibration import Calibration


def of_calibration(calibration: "Calibration") -> RenderableType:
    """Return each fitted value, what stayed as it was, and the error that remained."""
    rows = [
        (f"{one.path} of {one.of}", f"{_fitted(one.value)}  ± {one.uncertainty:.0%}, was {_fitted(one.before)}")
        for one in calibration.fitted
    ]
    errors = f"mean {calibration.mean_error:.1%}, largest {calibration.max_error:.0%}; before, mean "
    outliers = f"{calibration.outliers}, further off than three standard deviations; they count for less"
    about = [
        ("observations", f"{calibration.observations} of {', '.join(calibration.clusters)}"),
        ("remaining error", f"{errors}{calibration.mean_error_before:.1%}"),
        *([("outliers", outliers)] if calibration.outliers else []),
    ]
    parts: list[RenderableType] = [
        heading("Fitted"),
        pairs(rows or [("nothing", "the observations tell none of the values asked for")]),
        heading("Fit"),
        pairs(about),
    ]
    if calibration.undetermined:
        undetermined = pairs((name, "stays as it was") for name in calibration.undetermined)
        parts[2:2] = [heading("What the observations cannot tell"), undetermined]
    return Group(*parts)


def _fitted(value: str | float) -> str:
    """Return a value to read."""
    if not isinstance(value, str):
        return f"{value:.3g}"
    dimension = dimension_of(value)
    return dimension.short(dimension.parse(value), 3)
