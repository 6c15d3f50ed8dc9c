"""What every profile is: a named, sourced, frozen table of quantities, read from text by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError, ValidationInfo

from lbsim.errors import from_validation_error
from lbsim.profiles import catalog
from lbsim.profiles.catalog import SHIPPED, Folders

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Table(BaseModel):
    """A group of fields inside a profile: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(Table):
    """A profile: what it is called, where its numbers come from, and the numbers."""

    kind: ClassVar[str]
    """The folder of hardware_profiles in which profiles of this class stand."""

    name: Text
    source: Text
    """Where the numbers were published or measured."""
    calibrated: Text | None = None
    """Which of the numbers were fitted, on what, and the error that remained; or "nothing", and why."""

    @classmethod
    def load(cls, given: str | Path, folders: Folders = SHIPPED) -> Self:
        """Return the profile that *given*, a name or a path to a TOML file, means; InputError if it is not valid."""
        table = catalog.profile_table(cls.kind, str(given), folders)
        try:
            return cls.model_validate(table, context=folders)
        except ValidationError as error:
            raise from_validation_error(error, f"{cls.kind}/{given}") from None


def by_name(kind: str) -> BeforeValidator:
    """Return what lets a field hold a profile of *kind* by its name, by a path, or as an inline table."""
    return BeforeValidator(_resolver(kind))


def _resolver(kind: str) -> Callable[[Any, ValidationInfo], Any]:
    def resolve(given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, str | dict):
            return given
        folders = info.context if isinstance(info.context, Folders) else SHIPPED
        table = catalog.profile_table(kind, given, folders)
        return {"name": f"{info.field_name}, inline"} | table

    return resolve
