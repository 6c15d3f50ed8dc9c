"""What bad input gets: one line that says what was given, what is wrong and what to write."""

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic import ValidationError


class InputError(ValueError):
    """Something the user wrote cannot be used; the message is one line that says what to write."""


def unknown_name(given: str, place: str, valid: Iterable[str], verb: str = "there are") -> InputError:
    """Return the error for a name that does not exist, with the nearest valid one first.

    >>> print(unknown_name("rign", "lbsim/communication/all_reduce", ["hierarchical", "hybrid", "ring"]))
    no 'rign' in lbsim/communication/all_reduce; did you mean 'ring'? there are: hierarchical, hybrid, ring
    """
    names = sorted(valid)
    nearest = get_close_matches(given.rpartition(".")[2], names, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return InputError(f"no '{given}' in {place}; {hint}{verb}: {', '.join(names) or 'none'}")


def from_validation_error(error: ValidationError, place: str = "") -> InputError:
    """Return the first fault that pydantic found as one line, after *place*, a file or a table."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    kind, given = fault["type"], fault.get("input")
    if kind == "extra_forbidden":
        message = f"no such field '{where}'; see `lbsim profiles show` for one that is complete"
    elif kind == "missing":
        message = f"'{where}' is missing"
    else:
        text = str(fault["msg"]).removeprefix("Value error, ")
        told = kind == "value_error" or isinstance(given, dict | list)
        message = ": ".join(part for part in (where, text if told else f"{text}, not {given!r}") if part)
    return InputError(": ".join(part for part in (place, message) if part))
