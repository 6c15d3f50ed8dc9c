"""Parser of the axes of a sweep: paths, each followed by its values."""

import re
from collections.abc import Iterable

from lbsim.analysis.sweep import TABLES, Axis
from lbsim.errors import InputError, unknown_name
from lbsim.scenario.plan import Plan
from lbsim.scenario.scenario import Scenario

__all__ = ["parse_axes"]

_SHORT_NAMES = {name: name for name in TABLES} | {"library": "software.library"}
_SHORT_NAMES |= {name: f"plan.{name}" for name in Plan.model_fields}
_ADVICE = "write a path such as cluster.nics, or one of"
_DOTTED = re.compile(rf"({'|'.join(Scenario.model_fields)})(\.[a-z_][a-z0-9_]*)+")


def parse_axes(words: Iterable[str]) -> tuple[Axis, ...]:
    """Return the axes in *words*: paths, each followed by its values. InputError if there are none.

    >>> [(axis.path, axis.texts) for axis in parse_axes(["gpus", "8", "16", "cluster.nics", "2"])]
    [('plan.gpus', ('8', '16')), ('cluster.nics', ('2',))]
    """
    found: dict[str, list[str]] = {}
    values: list[str] | None = None
    for word in words:
        path = _path(word)
        if path is None:
            if values is None:
                raise unknown_name(word, "what can be swept", _SHORT_NAMES, _ADVICE)
            values.append(word)
        elif path in found:
            raise InputError(f"{word}: swept twice; write it once, followed by all its values")
        else:
            values = found[path] = []
    _check_values(found)
    return tuple(Axis(path, tuple(texts), tuple(texts)) for path, texts in found.items())


def _path(word: str) -> str | None:
    """Return the dotted path for *word*; None if it is a value."""
    short = word.replace("-", "_")
    return _SHORT_NAMES.get(short) or (word if _DOTTED.fullmatch(word) else None)


def _check_values(found: dict[str, list[str]]) -> None:
    """Raise InputError if there is no path or a path without values."""
    if not found:
        raise InputError("nothing to sweep; write paths and values, e.g. lbsim sweep gpus 8 16 32 --out results.csv")
    for path, texts in found.items():
        if not texts:
            raise InputError(f"{path}: no values to sweep; write them after it, e.g. gpus 8 16 32")
