r"""Where a value is on a line without ends, on which fits move and their covariance is told.

``log``: the logarithm of a time or a factor. ``logit``: :math:`\ln (e / (1 - e))` of an efficiency. ``linear``: itself,
of what is added.
"""

import math
from typing import Literal

Transform = Literal["log", "logit", "linear"]


def to_unconstrained(value: float, line: Transform) -> float:
    """Return where *value* is on its line."""
    if line == "linear":
        return value
    return math.log(value) if line == "log" else math.log(value / (1 - value))


def from_unconstrained(place: float, line: Transform) -> float:
    """Return the value at *place* on its line."""
    if line == "linear":
        return place
    if line == "log":
        return math.exp(place)
    return 1 / (1 + math.exp(-place)) if place > 0 else math.exp(place) / (1 + math.exp(place))


def shifted(value: float, distance: float, line: Transform) -> float:
    """Return the value *distance* from *value* on its line; of the logarithm's, which 0 is not on, 0 stays.

    >>> moved(2.0, 0.5, "linear"), moved(0.0, 0.5, "log")
    (2.5, 0.0)
    """
    return (
        value * math.exp(distance)
        if line == "log"
        else from_unconstrained(to_unconstrained(value, line) + distance, line)
    )
