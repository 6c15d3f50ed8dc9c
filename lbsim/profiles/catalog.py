"""Finds things by their file name: profiles in folders of TOML, algorithms and workloads as modules.

There is no registry: a file in the right folder is found because it is there.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbsim.errors import InputError, unknown_name
from lbsim.package_data import PACKAGE, data_folder

SHIPPED_PROFILES = data_folder("hardware_profiles")
PUBLISHED_CASES = data_folder("traces", "published")
_RECIPES = "recipes"
"""Recipes stand in the package, beside the evidence that they rest on."""


@dataclass(frozen=True)
class Folders:
    """Where profiles are looked for: the user's folders first, then what ships.

    *beside* is the folder of the file being read, so that it can name a profile file next to it.
    """

    own: tuple[Path, ...] = ()
    beside: Path | None = None

    def files(self, kind: str) -> dict[str, Path]:
        """Return each profile of *kind* by name; a user's file hides a shipped one of the same name."""
        found: dict[str, Path] = {}
        for folder in self._folders(kind):
            for file in sorted(folder.glob("*.toml")):
                found.setdefault(file.stem, file)
        return found

    def find(self, kind: str, name: str) -> Path:
        """Return the file that *name*, a profile's name or a path to a TOML file, means."""
        if name.endswith(".toml"):
            file = (self.beside or Path()) / name
            if not _is_file(file):
                raise InputError(f"no profile file '{file}'")
            return file
        if Path(name).name == name:  # not in another folder
            for folder in self._folders(kind):
                if _is_file(file := folder / f"{name}.toml"):
                    return file
        raise unknown_name(name, f"{_shipped(kind).parent.name}/{kind}", self.files(kind))

    def _folders(self, kind: str) -> tuple[Path, ...]:
        return (*(folder / kind for folder in self.own), _shipped(kind))


SHIPPED = Folders()


def profile_kinds() -> list[str]:
    """Return the kinds of profile, which are the folders that ship."""
    return sorted([*(folder.name for folder in SHIPPED_PROFILES.iterdir() if folder.is_dir()), _RECIPES])


def _is_file(file: Path) -> bool:
    """Return whether there is such a file; there is none whose name is longer than any can be."""
    return os.path.isfile(file)  # noqa: PTH113 - Path.is_file raises for such a name


def _shipped(kind: str) -> Path:
    return (PACKAGE / "accuracy" if kind == _RECIPES else SHIPPED_PROFILES) / kind


def read_toml(file: Path) -> dict[str, Any]:
    """Return the tables of *file*, or raise InputError that names the file and line."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: {error}") from None
    except RecursionError:
        raise InputError(f"{file}: nested too deep") from None


def profile_table(kind: str, given: str | Mapping[str, Any], folders: Folders = SHIPPED) -> dict[str, Any]:
    """Return the table of a profile, given by name, by path or inline, with what it extends filled in.

    ``extends = "name"`` takes everything that the file does not say from another profile of the same kind.
    """
    return _extended(kind, given, folders, ())


def _extended(kind: str, given: str | Mapping[str, Any], folders: Folders, seen: tuple[Path, ...]) -> dict[str, Any]:
    if isinstance(given, str):
        file = folders.find(kind, given).resolve()
        if file in seen:
            raise InputError(f"{file}: extends itself, by way of {' -> '.join(f.stem for f in (*seen, file))}")
        table = {"name": file.stem} | read_toml(file)
        folders, seen = Folders(folders.own, file.parent), (*seen, file)
        if "extends" not in table:
            return _anchored(table, folders)
    else:
        table = dict(given)
    parent = table.pop("extends", None)
    if parent is None:
        return table
    if not isinstance(parent, str):
        raise InputError(f"extends: {parent!r} is no name of a profile in hardware_profiles/{kind}")
    below = _extended(kind, parent, folders, seen)
    below.pop("calibrated", None)  # what was fitted there may be what this one changes
    return _merged(below, _anchored(table, folders))


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return below | both


def _anchored(table: dict[str, Any], folders: Folders) -> dict[str, Any]:
    """Return *table* with paths to files beside it made absolute, so that it can be read from anywhere."""
    return {
        key: str((folders.beside or Path()) / value) if isinstance(value, str) and value.endswith(".toml") else value
        for key, value in table.items()
    }
