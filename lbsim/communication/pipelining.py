"""Pipelining: the number of chunks with which a pipelined collective is fastest."""

from collections.abc import Callable

from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric, closed_form

__all__ = ["MOST_HALVINGS", "fastest_chunks"]

MOST_HALVINGS = 12
"""Largest exponent of the number of chunks, a power of two."""


def fastest_chunks(in_chunks: Callable[[int], Collective], fabric: Fabric, power: int) -> Collective:
    """Return the fastest of the collectives that *in_chunks* returns for 1, 2, 4 and more chunks.

    The search starts at 2 to the *power*, and goes on in each direction as long as the time falls: time has a single
    minimum, because some terms increase with the chunks and others decrease.
    """
    best = in_chunks(2**power)
    seconds = closed_form(best, fabric)
    for towards in (1, -1):
        while 0 <= power + towards <= MOST_HALVINGS:
            other = in_chunks(2 ** (power + towards))
            time = closed_form(other, fabric)
            if time >= seconds:
                break
            power, best, seconds = power + towards, other, time
    return best
