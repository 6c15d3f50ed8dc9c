"""Scenario requests: tables of a scenario file, and overrides by name or dotted path."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbsim.errors import InputError
from lbsim.profiles.catalog import SHIPPED, Folders
from lbsim.scenario.scenario import Scenario, override

__all__ = ["ScenarioRequest", "build_scenario", "ordered_changes", "read_scenario_tables"]

_NAMED = frozenset({"cluster", "model", "software", "anchor"})
"""Parts that an override replaces entirely, before the software's defaults are filled in."""


def read_scenario_tables(file: Path) -> dict[str, Any]:
    """Return the scenario tables of *file*: TOML with ``[scenario]``, or the JSON output of a prediction.

    InputError if the file is missing, cannot be parsed or has no scenario.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"no scenario file '{file}'") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: {error}") from None
    except RecursionError:
        raise InputError(f"{file}: nested too deep") from None
    scenario = content.get("scenario")
    if not isinstance(scenario, dict):
        raise InputError(f"{file}: no [scenario]; write e.g. [scenario] and under it [scenario.plan] with gpus = 1024")
    if not isinstance(scenario.get("plan", {}), dict):
        raise InputError(f"{file}: scenario.plan is not a table; write [scenario.plan] and under it gpus = 1024")
    return scenario


def build_scenario(tables: Mapping[str, Any], changes: Mapping[str, Any], folders: Folders = SHIPPED) -> Scenario:
    """Return the scenario of *tables* with *changes*, which map names or dotted paths to values.

    ``cluster``, ``model``, ``software`` and ``anchor`` replace that part of the tables; then each dotted path replaces
    a single field.

    InputError if a name, a path or a value is invalid.

    >>> build_scenario({"plan": {"gpus": 8}}, {"software": "chainer-2017", "cluster.nics": 2}).cluster.nics
    2
    """
    named, paths = ordered_changes(changes)
    return override(Scenario.read(dict(tables) | named, folders), paths, folders)


def ordered_changes(changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the *changes* of entire parts and those of dotted paths, each in the order to apply them."""
    named = {name: value for name, value in changes.items() if name in _NAMED}
    if isinstance(named.get("anchor"), str):
        named["anchor"] = {"throughput": named["anchor"]}
    paths = [path for path in changes if path not in _NAMED]
    # last, because `split` is an error before plan.fusion_split is set
    paths.sort(key=lambda path: path == "plan.fusion")
    return named, {path: changes[path] for path in paths}


@dataclass(frozen=True)
class ScenarioRequest:
    """User input before validation: the tables of a file, and changes by name or dotted path."""

    tables: Mapping[str, Any]
    changes: Mapping[str, Any]
    folders: Folders = SHIPPED
