r"""Unconstrained parameter transforms: log, logit and identity.

Fits move parameters, and state their covariance, in unconstrained space. ``log`` is for times and factors, ``logit``,
:math:`\ln (e / (1 - e))`, for efficiencies, and ``linear``, the identity, for what is added.
"""

import math
from typing import Literal

__all__ = ["Transform", "from_unconstrained", "shifted", "to_unconstrained"]

Transform = Literal["log", "logit", "linear"]


def to_unconstrained(value: float, transform: Transform) -> float:
    """Return the unconstrained value of *value*; ValueError if the transform is not defined there."""
    if transform == "linear":
        return value
    return math.log(value) if transform == "log" else math.log(value / (1 - value))


def from_unconstrained(value: float, transform: Transform) -> float:
    """Return the number whose unconstrained value is *value*."""
    if transform == "linear":
        return value
    if transform == "log":
        return math.exp(value)
    return 1 / (1 + math.exp(-value)) if value > 0 else math.exp(value) / (1 + math.exp(value))


def shifted(value: float, distance: float, transform: Transform) -> float:
    """Return *value* moved by *distance* in unconstrained space; 0 stays 0 under a log transform.

    >>> shifted(2.0, 0.5, "linear"), shifted(0.0, 0.5, "log")
    (2.5, 0.0)
    """
    if transform == "log":
        return value * math.exp(distance)
    return from_unconstrained(to_unconstrained(value, transform) + distance, transform)
