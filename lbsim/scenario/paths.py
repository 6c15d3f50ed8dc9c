"""Dotted paths in a scenario: the number at a path and the profile that contains it."""

from functools import reduce
from typing import Any

from lbsim.errors import InputError
from lbsim.profiles.profile import Profile
from lbsim.scenario.scenario import Scenario, override

__all__ = ["owning_profile", "value_at"]


def owning_profile(scenario: Scenario, path: str) -> str:
    """Return the name of the innermost profile of *scenario* that contains *path*.

    An inline profile is prefixed with the profile around it: ``hkbu-ib: inter_node, inline``.

    InputError if no profile contains the path.
    """
    name: str | None = None
    for end in range(1, path.count(".") + 2):
        value = _attribute(scenario, ".".join(path.split(".")[:end]), path)
        if isinstance(value, Profile):
            name = f"{name}: {value.name}" if value.name.endswith(", inline") else value.name
    if name is None:
        raise InputError(f"'{path}' is not part of a profile, so it cannot be calibrated")
    return name


def value_at(scenario: Scenario, path: str) -> float:
    """Return the number at *path* of *scenario*, in SI.

    InputError if the path does not exist or its value is not a number.
    """
    found = _attribute(scenario, path, path)
    if isinstance(found, bool) or not isinstance(found, float | int):
        raise InputError(f"'{path}' is not a number in {owning_profile(scenario, path)}, so it cannot be fitted")
    return float(found)


def _attribute(scenario: Scenario, part: str, path: str) -> Any:
    try:
        return reduce(getattr, part.split("."), scenario)
    except AttributeError:
        # raises the usual error for an unknown path, with the closest name
        override(scenario, {path: 1.0})
        raise InputError(f"no '{path}' in a scenario") from None
