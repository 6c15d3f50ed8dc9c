"""How much longer the slowest of many ranks takes."""

import math
from functools import lru_cache

_REACH = 9.0
_INTERVALS = 400


@lru_cache(maxsize=4096)
def expected_maximum(ranks: int) -> float:
    r"""Return the expected maximum of *ranks* independent standard normal numbers.

    .. math:: E = \int_0^\infty (1 - \Phi(x)^n) dx - \int_{-\infty}^0 \Phi(x)^n dx

    H. A. David, H. N. Nagaraja, "Order Statistics," 3rd ed., 2003, section 3.1. Integrated by Simpson's rule.

    >>> [round(expected_maximum(ranks), 2) for ranks in (1, 2, 8, 1024)]
    [0.0, 0.56, 1.42, 3.25]
    """
    step = 2 * _REACH / _INTERVALS
    total = 0.0
    for index in range(_INTERVALS + 1):
        x = -_REACH + index * step
        weight = 1 if index in {0, _INTERVALS} else 4 if index % 2 else 2
        below = math.exp(ranks * math.log(0.5 * math.erfc(-x / math.sqrt(2))))
        total += weight * ((1.0 if x > 0 else 0.5 if index * 2 == _INTERVALS else 0.0) - below)
    return total * step / 3


def slowdown(spread: float, ranks: int) -> float:
    r"""Return the share by which a step in which everyone waits for the slowest is longer: :math:`σ E[max_n]`.

    *spread*, σ, is the standard deviation of a rank's step as a share of it. Ranks vary independently and
    normally; no published row tells whether they do (a constant a step fits as well).
    """
    return spread * expected_maximum(ranks)
