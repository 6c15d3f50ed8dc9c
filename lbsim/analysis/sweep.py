"""Sweep of scenarios: axes, tasks and the grid of all combinations of values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lbsim.profiles.catalog import Folders
from lbsim.scenario.request import ordered_changes
from lbsim.scenario.scenario import Scenario, override
from lbsim.simulation.metrics import Breakdown

__all__ = ["QUANTITIES", "RESULT_COLUMNS", "TABLES", "Axis", "Sweep", "SweepRow", "Task", "Value"]

TABLES = ("cluster", "model", "software", "anchor")
"""Paths whose values replace a table of the scenario, with the defaults that depend on it."""
QUANTITIES = (
    "throughput",
    "throughput_per_gpu",
    "step_time",
    "scaling_efficiency",
    "scaling_efficiency_vs_node",
    "time_to_train",
)
"""Predicted quantities that have an interval."""
RESULT_COLUMNS = (
    *QUANTITIES,
    "communication_time",
    *(f"breakdown.{field.name}" for field in fields(Breakdown)),
    *(f"interval.{name}.{end}" for name in QUANTITIES for end in ("low", "high")),
    "memory.total",
)
"""Columns with predicted numbers, in SI units; the names are dotted paths in the JSON of a prediction."""

Value = str | int | float | bool
SweepRow = dict[str, Any]
"""Cells by column; None for the numbers of a scenario that is invalid."""


@dataclass(frozen=True)
class Axis:
    """A path that varies and its values."""

    path: str
    texts: tuple[str, ...]
    """Values as the user wrote them."""
    values: tuple[Value, ...]
    """Values as results list them: numbers in SI units, and text as written."""


@dataclass(frozen=True)
class Task:
    """One scenario to predict."""

    number: int
    """Index in the grid, from 0; the last axis varies fastest."""
    base: Scenario
    changes: Mapping[str, Any]
    """Overrides of *base* by dotted path."""
    values: tuple[Value, ...]
    """Value of each axis."""

    def scenario(self, folders: Folders) -> Scenario:
        """Return the scenario, with profiles from *folders*; InputError if it is invalid."""
        return override(self.base, self.changes, folders)


@dataclass(frozen=True)
class Sweep:
    """A grid of scenarios whose paths and values are valid, and the selection to predict."""

    axes: tuple[Axis, ...]
    changes: Mapping[str, Any]
    """Overrides that all scenarios share, by dotted path."""
    folders: Folders
    bases: Mapping[tuple[int, ...], Scenario]
    """Scenario to override, per combination of values of the axes in `TABLES`."""
    numbers: Sequence[int]
    """Indices in the grid of the scenarios to predict, ascending."""
    identity: str
    """Hash of the scenarios and the version of lbsim; equal for equal sweeps only."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of results, in order."""
        return ("number", *(axis.path for axis in self.axes), *RESULT_COLUMNS, "error", "sweep")

    def task(self, number: int) -> Task:
        """Return the scenario at index *number* of the grid."""
        indices = _indices(number, self.axes)
        base = self.bases[tuple(at for axis, at in zip(self.axes, indices, strict=True) if axis.path in TABLES)]
        varied = {axis.path: axis.texts[at] for axis, at in zip(self.axes, indices, strict=True)}
        _, changes = ordered_changes(dict(self.changes) | varied)
        values = tuple(axis.values[at] for axis, at in zip(self.axes, indices, strict=True))
        return Task(number, base, changes, values)

    def row(self, task: Task, predicted: SweepRow) -> SweepRow:
        """Return the row of *task*, given its *predicted* numbers or its error."""
        varied = dict(zip((axis.path for axis in self.axes), task.values, strict=True))
        return {"number": task.number} | varied | predicted | {"sweep": self.identity}


def _indices(number: int, axes: Sequence[Axis]) -> tuple[int, ...]:
    """Return the index of each axis's value at index *number* of the grid."""
    return tuple(reversed(list(_from_last(number, axes))))


def _from_last(number: int, axes: Sequence[Axis]) -> Iterator[int]:
    for axis in reversed(axes):
        number, index = divmod(number, len(axis.texts))
        yield index
