"""One number of a scenario, by its dotted path, and the profile that it is part of."""

from functools import reduce
from typing import Any

from lbsim.errors import InputError
from lbsim.profiles.profile import Profile
from lbsim.scenario.scenario import Scenario, override


def owning_profile(scenario: Scenario, path: str) -> str:
    """Return the name of the profile of *scenario* in which *path* stands; InputError if nothing does.

    One that stands inline has its owner's name before it: ``hkbu-ib: inter_node, inline``.
    """
    found: Any = None
    for end in range(1, path.count(".") + 2):
        at = _attribute(scenario, ".".join(path.split(".")[:end]), path)
        if isinstance(at, Profile):
            found = f"{found}: {at.name}" if at.name.endswith(", inline") else at.name
    if found is None:
        raise InputError(f"'{path}' is part of no profile, so that nothing can be learnt about it")
    return str(found)


def value_at(scenario: Scenario, path: str) -> float:
    """Return the number at *path* of *scenario*; InputError if there is none."""
    found = _attribute(scenario, path, path)
    if isinstance(found, bool) or not isinstance(found, float | int):
        raise InputError(f"'{path}' is no number in {owning_profile(scenario, path)}, so that it cannot be fitted")
    return float(found)


def _attribute(scenario: Scenario, part: str, path: str) -> Any:
    try:
        return reduce(getattr, part.split("."), scenario)
    except AttributeError:
        # the same words, with the nearest name, as for any path that does not exist
        override(scenario, {path: 1.0})
        raise InputError(f"no '{path}' in a scenario") from None
