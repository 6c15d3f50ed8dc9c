"""Table of ``lbsim calibrate``: fitted values and remaining errors."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from lbsim.cli.tables._layout import heading, pairs
from lbsim.units import dimension_of

if TYPE_CHECKING:
    # for annotations; importing them here would lengthen start-up
    from lbsim.calibration.calibration import Calibration

__all__ = ["calibration_table"]


def calibration_table(calibration: "Calibration") -> RenderableType:
    """Return the fitted values, the values that the data do not determine, and the remaining error."""
    rows = [
        (f"{one.path} of {one.of}", f"{_fitted(one.value)}  ± {one.uncertainty:.0%}, was {_fitted(one.before)}")
        for one in calibration.fitted
    ]
    errors = f"mean {calibration.mean_error:.1%}, largest {calibration.max_error:.0%}; before, mean "
    outliers = f"{calibration.outliers}, more than three standard deviations off; down-weighted"
    about = [
        ("observations", f"{calibration.observations} of {', '.join(calibration.clusters)}"),
        ("remaining error", f"{errors}{calibration.mean_error_before:.1%}"),
        *([("outliers", outliers)] if calibration.outliers else []),
    ]
    parts: list[RenderableType] = [
        heading("Fitted"),
        pairs(rows or [("nothing", "the observations determine none of the values")]),
        heading("Fit"),
        pairs(about),
    ]
    if calibration.undetermined:
        undetermined = pairs((name, "unchanged") for name in calibration.undetermined)
        parts[2:2] = [heading("Not determined by the observations"), undetermined]
    return Group(*parts)


def _fitted(value: str | float) -> str:
    """Return a fitted value with three significant digits and its unit."""
    if not isinstance(value, str):
        return f"{value:.3g}"
    dimension = dimension_of(value)
    return dimension.short(dimension.parse(value), 3)
