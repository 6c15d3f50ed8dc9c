"""Base classes of profiles: named, sourced, immutable tables of quantities."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError, ValidationInfo

from lbsim.errors import from_validation_error
from lbsim.profiles import catalog
from lbsim.profiles.catalog import SHIPPED, Folders

__all__ = ["Profile", "Table", "Text", "by_name"]

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Table(BaseModel):
    """Base class of tables read from files: immutable; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(Table):
    """Base class of profiles: name, source and calibration status."""

    kind: ClassVar[str]
    """Subfolder of hardware_profiles for profiles of this class."""

    name: Text
    source: Text
    """Publication or measurement that the numbers come from."""
    calibrated: Text | None = None
    """Fitted numbers, the data of the fit and the remaining error; or "nothing" and the reason."""

    @classmethod
    def load(cls, given: str | Path, folders: Folders = SHIPPED) -> Self:
        """Return the profile *given* by name or by path to a TOML file.

        InputError if the file is missing or a field is invalid.
        """
        table = catalog.profile_table(cls.kind, str(given), folders)
        try:
            return cls.model_validate(table, context=folders)
        except ValidationError as error:
            raise from_validation_error(error, f"{cls.kind}/{given}") from None


def by_name(kind: str) -> BeforeValidator:
    """Return a pydantic validator that accepts a profile of *kind* as name, path or inline table."""
    return BeforeValidator(_resolver(kind))


def _resolver(kind: str) -> Callable[[Any, ValidationInfo], Any]:
    def resolve(given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, str | dict):
            return given
        folders = info.context if isinstance(info.context, Folders) else SHIPPED
        table = catalog.profile_table(kind, given, folders)
        return {"name": f"{info.field_name}, inline"} | table

    return resolve
