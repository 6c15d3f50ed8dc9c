"""Profile lookup by file name, with inheritance through ``extends``.

There is no registry: a TOML file in the folder of its kind is a profile.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbsim.errors import InputError, unknown_name
from lbsim.package_data import PACKAGE, data_folder

__all__ = ["PUBLISHED_CASES", "SHIPPED", "SHIPPED_PROFILES", "Folders", "profile_kinds", "profile_table", "read_toml"]

SHIPPED_PROFILES = data_folder("hardware_profiles")
PUBLISHED_CASES = data_folder("traces", "published")
_RECIPES = "recipes"
"""Kind of profile that is stored in the package, next to the evidence that it cites."""


@dataclass(frozen=True)
class Folders:
    """Search path of profiles: the user's folders first, then the shipped folder."""

    user: tuple[Path, ...] = ()
    """The user's profile folders, each with one subfolder per kind."""
    beside: Path | None = None
    """Folder of the file being read, against which relative paths in that file are resolved."""

    def files(self, kind: str) -> dict[str, Path]:
        """Return the file of each profile of *kind* by name; a user's file hides a shipped file of the same name."""
        found: dict[str, Path] = {}
        for folder in self._folders(kind):
            for file in sorted(folder.glob("*.toml")):
                found.setdefault(file.stem, file)
        return found

    def find(self, kind: str, name: str) -> Path:
        """Return the file of profile *name* of *kind*; a *name* that ends in ``.toml`` is a path.

        InputError if there is no such file.
        """
        if name.endswith(".toml"):
            file = (self.beside or Path()) / name
            if not _is_file(file):
                raise InputError(f"no profile file '{file}'")
            return file
        if Path(name).name == name:  # a name, not a path
            for folder in self._folders(kind):
                if _is_file(file := folder / f"{name}.toml"):
                    return file
        raise unknown_name(name, f"{_shipped(kind).parent.name}/{kind}", self.files(kind))

    def _folders(self, kind: str) -> tuple[Path, ...]:
        return (*(folder / kind for folder in self.user), _shipped(kind))


SHIPPED = Folders()


def profile_kinds() -> list[str]:
    """Return the kinds of profile, which are the names of the shipped folders."""
    return sorted([*(folder.name for folder in SHIPPED_PROFILES.iterdir() if folder.is_dir()), _RECIPES])


def _is_file(file: Path) -> bool:
    """Return whether *file* exists; False, not an error, for a name longer than the file system allows."""
    return os.path.isfile(file)  # noqa: PTH113 - Path.is_file raises for such a name


def _shipped(kind: str) -> Path:
    return (PACKAGE / "accuracy" if kind == _RECIPES else SHIPPED_PROFILES) / kind


def read_toml(file: Path) -> dict[str, Any]:
    """Return the content of the TOML *file*.

    InputError, with file and line, if it cannot be read or parsed.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: {error}") from None
    except RecursionError:
        raise InputError(f"{file}: nested too deep") from None


def profile_table(kind: str, given: str | Mapping[str, Any], folders: Folders = SHIPPED) -> dict[str, Any]:
    """Return the content of a profile of *kind*, with the fields that it inherits.

    *given* is the profile's name, a path to a TOML file, or an inline table. ``extends = "name"`` inherits every field
    that the profile does not set from another profile of the same kind.

    InputError if a file is missing or invalid, or if profiles extend each other in a cycle.
    """
    return _extended(kind, given, folders, ())


def _extended(kind: str, given: str | Mapping[str, Any], folders: Folders, seen: tuple[Path, ...]) -> dict[str, Any]:
    if isinstance(given, str):
        file = folders.find(kind, given).resolve()
        if file in seen:
            raise InputError(f"{file}: extends itself through {' -> '.join(f.stem for f in (*seen, file))}")
        table = {"name": file.stem} | read_toml(file)
        folders, seen = Folders(folders.user, file.parent), (*seen, file)
        if "extends" not in table:
            return _absolute_paths(table, folders)
    else:
        table = dict(given)
    parent = table.pop("extends", None)
    if parent is None:
        return table
    if not isinstance(parent, str):
        raise InputError(f"extends: {parent!r} is not the name of a profile in hardware_profiles/{kind}")
    base = _extended(kind, parent, folders, seen)
    base.pop("calibrated", None)  # this profile may change the fields that were fitted there
    return _merged(base, _absolute_paths(table, folders))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {
        key: _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }
    return base | merged


def _absolute_paths(table: dict[str, Any], folders: Folders) -> dict[str, Any]:
    """Return *table* with relative paths to TOML files made absolute."""
    return {
        key: str((folders.beside or Path()) / value) if isinstance(value, str) and value.endswith(".toml") else value
        for key, value in table.items()
    }
