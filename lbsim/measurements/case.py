"""Case files: published or measured numbers with the scenarios in which they were observed."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lbsim.errors import InputError, from_validation_error, unknown_name
from lbsim.measurements.case_class import CaseClass
from lbsim.measurements.measurement import Measurement
from lbsim.measurements.observation import CaseLabels, Observation
from lbsim.measurements.quantities import ALL_REDUCES, QUANTITIES
from lbsim.profiles import catalog
from lbsim.profiles.catalog import Folders
from lbsim.profiles.profile import Table, Text
from lbsim.scenario.request import build_scenario
from lbsim.scenario.scenario import Scenario
from lbsim.units import Bytes, Dimension

__all__ = [
    "CaseEntry",
    "CaseFile",
    "Changes",
    "case_files",
    "case_observation",
    "held_out_observation",
    "read_case_file",
]

Changes = dict[str, Any]
"""Changes of the file's scenario, by name or dotted path; see `lbsim.scenario.request.build_scenario`."""


class CaseEntry(Table):
    """One published or measured number of a case file, and the changes that make its scenario."""

    id: str = ""
    """Identifier; by default, the file's name and the number of the entry."""
    quantity: str
    value: str | float
    """Text with a unit; a number for an efficiency or a ratio."""
    relative_uncertainty: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Relative standard deviation of the value: rounding, spread of runs, precision of reading a plot."""
    locator: str = ""
    """Table, figure or page in the source."""
    role: Literal["validate", "calibrate"] = "validate"
    """Whether a fit may use it."""
    class_: Annotated[CaseClass | str, Field(alias="class", union_mode="left_to_right")] = ""
    """Class by which errors are averaged: a `CaseClass`, or any other text; by default the quantity."""
    message: Bytes | None = None
    """Bytes of the largest buffer of a collective, for a quantity of `lbsim.measurements.quantities.ALL_REDUCES`."""
    set: Changes = Field(default_factory=dict)
    relative_to: Changes | None = None
    """Further changes that make the denominator's scenario, if *value* is a ratio of the same quantity."""
    note: str = ""
    unfitted: Changes = Field(default_factory=dict)
    """Unfitted values beyond those of the file."""

    @model_validator(mode="after")
    def _is_positive(self) -> Self:
        if not 0 < self.si < math.inf:
            raise ValueError(f"value: {self.value!r} must be more than zero and finite")
        return self

    @model_validator(mode="after")
    def _has_a_message(self) -> Self:
        if (self.message is None) == (self.quantity in ALL_REDUCES):
            raise ValueError(
                f"message: the size of an all-reduce or other collective, only for {' and '.join(ALL_REDUCES)}"
            )
        return self

    @property
    def dimension(self) -> Dimension | None:
        """Dimension of the value; None if it is dimensionless."""
        if self.quantity not in QUANTITIES:
            raise unknown_name(self.quantity, "quantity", QUANTITIES)
        return None if self.relative_to is not None else QUANTITIES[self.quantity]

    @property
    def si(self) -> float:
        """Value in SI units."""
        dimension = self.dimension
        if dimension is None:
            if isinstance(self.value, str):
                raise InputError(f"value: '{self.value}' has a unit; this quantity is dimensionless; write e.g. 0.9")
            return self.value
        if not isinstance(self.value, str):
            raise InputError(f"value: {self.value} has no unit; write it as e.g. '{dimension.example}'")
        try:
            return dimension.parse(self.value)
        except ValueError as error:
            raise InputError(f"value: {error}") from None


class CaseFile(Table):
    """Content of a case file: one system as a source describes it, and the numbers observed on it."""

    source: Text
    system: Text
    """Name of the system; its cases are held out together in cross-validation."""
    assumed: tuple[str, ...] = ()
    """Assumptions of the scenario that the source does not state."""
    fitted_on_this_system: bool = False
    """Whether numbers in the profiles that the scenario uses were fitted to this system."""
    unfitted: Changes = Field(default_factory=dict)
    """Values of these numbers from other sources, from which a fit that holds the system out starts."""
    scenario: dict[str, Any]
    observed: Annotated[tuple[CaseEntry, ...], Field(min_length=1)]


def read_case_file(file: Path) -> CaseFile:
    """Return the content of *file*; InputError names the file and the field that is wrong."""
    try:
        content = CaseFile.model_validate(catalog.read_toml(file))
    except ValidationError as error:
        raise from_validation_error(error, str(file)) from None
    named = (
        one.model_copy(update={"id": one.id or f"{file.stem}.{number}", "class_": one.class_ or one.quantity})
        for number, one in enumerate(content.observed, start=1)
    )
    return content.model_copy(update={"observed": tuple(named)})


def case_files(folder: Path) -> list[Path]:
    """Return the TOML files in *folder*, or *folder* itself if it is a file; InputError if there are none."""
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.toml"))
    if not files:
        raise InputError(f"no case files in '{folder}'; a case is a .toml file, as in {catalog.PUBLISHED_CASES}")
    return files


def case_observation(file: Path, content: CaseFile, entry: CaseEntry) -> Observation:
    """Return *entry* of the case file *file*, whose content is *content*, as an observation.

    InputError, with the file and the id of the entry, if its scenario cannot be built.
    """
    relative_to = None if entry.relative_to is None else entry.set | entry.relative_to
    return Observation(
        measurement=Measurement(
            entry.quantity, entry.si, f"{file}: {entry.id}", entry.message, entry.relative_uncertainty
        ),
        scenario=_scenario(file, content, entry, entry.set),
        relative_to=None if relative_to is None else _scenario(file, content, entry, relative_to),
        case=CaseLabels(
            id=entry.id,
            quantity=entry.quantity,
            system=content.system,
            source=content.source,
            class_=entry.class_,
            role=entry.role,
            note=entry.note,
            fitted_on_this_system=content.fitted_on_this_system,
        ),
    )


def held_out_observation(file: Path, content: CaseFile, entry: CaseEntry) -> Observation:
    """Return *entry* as an observation that also has its scenario with unfitted profile values, where it states any."""
    observation, unfitted = case_observation(file, content, entry), content.unfitted | entry.unfitted
    if not unfitted:
        return observation
    return replace(observation, unfitted=_scenario(file, content, entry, entry.set | unfitted))


def _scenario(file: Path, content: CaseFile, entry: CaseEntry, changes: Changes) -> Scenario:
    try:
        return build_scenario(content.scenario, changes, Folders(beside=file.parent.absolute()))
    except InputError as error:
        raise InputError(f"{file}: {entry.id}: {error}") from None
