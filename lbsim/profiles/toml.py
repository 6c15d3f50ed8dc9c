"""TOML of a profile."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lbsim.profiles.profile import Profile


def profile_to_toml(profile: Profile) -> str:
    """Return *profile* as the TOML file that is read as it, under the name that the file has."""
    return "\n".join(_toml(profile.model_dump(mode="json", exclude_none=True, exclude={"name"}))) + "\n"


def _toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{_key(key)} = {_inline(value)}"
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield ""
            yield f"[{'.'.join((*path, _key(key)))}]"
            yield from _toml(value, (*path, _key(key)))


def _key(name: str) -> str:
    """Return *name* as a key of TOML, between quotes where it must be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _inline(value: Any) -> str:
    """Return *value* on one line; a JSON string, number, true, false or array of these is a TOML one too."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)} = {_inline(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value, ensure_ascii=False)
