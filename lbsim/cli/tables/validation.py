"""Table of ``lbsim validate``: observed and predicted values, by class."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from lbsim.cli.tables._layout import Columns, amount, counted, paragraph, percent, significant

if TYPE_CHECKING:
    # for annotations; importing them here would lengthen start-up
    from lbsim.evaluation.residual import Residual
    from lbsim.evaluation.validate import Accuracy, Validation

__all__ = ["validation_table"]


def validation_table(validation: "Validation") -> RenderableType:
    """Return every case by class, with the mean error of each class and, at the end, of all cases."""
    parts: list[RenderableType] = []
    for name, accuracy in validation.by("class").items():
        parts += [paragraph(name, "bold"), _results(validation.groups("class")[name], accuracy), paragraph("")]
    return Group(*parts, paragraph(f"All: {_in_words(validation.accuracy)}", "bold"))


def _results(results: "Iterable[Residual]", accuracy: "Accuracy") -> Columns:
    table = Columns(padding=(0, 1, 0, 0), show_footer=True)
    table.column("  system", width=15, no_wrap=True, overflow="ellipsis")
    table.column("id", width=9, overflow="fold")
    table.column("quantity", "mean, coverage", width=22)
    table.column("observed", justify="right", width=8)
    table.column("predicted", justify="right", width=9)
    table.column("error", percent(accuracy.mean_absolute_relative_error), justify="right", width=7)
    table.column("in", percent(accuracy.interval_coverage, 0), justify="right", width=4)
    for result in results:
        table.row(*_result(result))
    return table


def _result(result: "Residual") -> tuple[str, ...]:
    case, dimension = result.observation.case, result.observation.dimension
    observed, _, unit = amount(result.observed, dimension).partition(" ")
    factor = dimension.units[unit] if dimension else 1.0
    ratio = "ratio of " if result.observation.relative_to else ""
    quantity = f"{ratio}{case.quantity.replace('_', ' ')}{unit and f', {unit}'}"
    return (
        f"  {case.system}",
        case.id,
        quantity,
        observed,
        significant(result.predicted / factor) if dimension else f"{result.predicted:.3f}",
        f"{result.relative_error:+.1%}",
        {True: "yes", False: "no", None: "-"}[result.inside],
    )


def _in_words(accuracy: "Accuracy") -> str:
    error, largest = percent(accuracy.mean_absolute_relative_error), percent(accuracy.max_absolute_relative_error)
    covered = accuracy.interval_coverage
    inside = "" if covered is None else f", {percent(covered, 0)} inside the interval"
    return f"mean error {error}, largest {largest}{inside}, over {counted(accuracy.count, 'observed value')}"
