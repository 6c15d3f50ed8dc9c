"""Errors of user input: one line with the value given, the fault and the correction."""

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic import ValidationError

__all__ = ["InputError", "from_validation_error", "unknown_name"]


class InputError(ValueError):
    """Invalid user input. The message is one line and states the value given, the fault and the correction."""


def unknown_name(given: str, location: str, valid: Iterable[str], verb: str = "there are") -> InputError:
    """Return the error for the unknown name *given*, with the closest of the *valid* names as a suggestion.

    *location* is the folder or object that was searched; *verb* introduces the list of valid names.

    >>> print(unknown_name("rign", "lbsim/communication/all_reduce", ["hierarchical", "hybrid", "ring"]))
    no 'rign' in lbsim/communication/all_reduce; did you mean 'ring'? there are: hierarchical, hybrid, ring
    """
    names = sorted(valid)
    nearest = get_close_matches(given.rpartition(".")[2], names, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return InputError(f"no '{given}' in {location}; {hint}{verb}: {', '.join(names) or 'none'}")


def from_validation_error(error: ValidationError, location: str = "") -> InputError:
    """Return the first fault in pydantic's *error* as an InputError of one line.

    *location*, a file or a table, precedes the message.
    """
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    kind, given = fault["type"], fault.get("input")
    if kind == "extra_forbidden":
        message = f"no such field '{where}'; see `lbsim profiles show NAME` for a complete profile"
    elif kind == "missing":
        message = f"'{where}' is missing"
    else:
        text = str(fault["msg"]).removeprefix("Value error, ")
        self_explanatory = kind == "value_error" or isinstance(given, dict | list)
        message = ": ".join(part for part in (where, text if self_explanatory else f"{text}, not {given!r}") if part)
    return InputError(": ".join(part for part in (location, message) if part))
