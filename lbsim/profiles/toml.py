"""TOML text of a profile or of any table, written with tomli-w."""

from collections.abc import Mapping
from typing import Any

from lbsim.profiles.profile import Profile

__all__ = ["profile_to_toml", "table_to_toml"]


def profile_to_toml(profile: Profile) -> str:
    """Return *profile* as a TOML file's text.

    The name is left out, because the name of the file gives it. Quantities are text with their unit. Loading the
    file gives a profile that equals *profile*.
    """
    return table_to_toml(profile.model_dump(mode="json", exclude_none=True, exclude={"name"}))


def table_to_toml(table: Mapping[str, Any]) -> str:
    """Return *table* as TOML; its values are those of JSON, without null.

    TypeError if a value has no form in TOML, such as None.

    >>> print(table_to_toml({"latency": "2 us", "peak": {"fp32": "14 TFLOP/s"}}), end="")
    latency = "2 us"
    <BLANKLINE>
    [peak]
    fp32 = "14 TFLOP/s"
    """
    import tomli_w  # noqa: PLC0415 - late, because a prediction writes no TOML

    return tomli_w.dumps(table)
