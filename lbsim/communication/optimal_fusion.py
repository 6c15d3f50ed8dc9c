"""Fusion policies from the cost of a message: greedy MG-WFBP and the exact optimum."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

__all__ = ["Cost", "completion_time", "mg_wfbp", "optimal"]

Cost = Callable[[float], float]
"""Seconds of a message as a function of its bytes; must not decrease with the bytes."""


def mg_wfbp(messages: Sequence[float], ready: Sequence[float], cost: Cost) -> list[int]:
    """Return the bounds of the buffers by the greedy rule of MG-WFBP: merge a gradient if that delays nothing.

    *messages* are the gradients' bytes and *ready* their times in seconds, in the order of completion. Buffer i holds
    the gradients from ``bounds[i]`` to ``bounds[i + 1]``. A buffer can start at t, when its gradients are ready and the
    previous buffer is sent; it merges the next gradient if that is ready before t plus the start-up cost of a message,
    which merging saves.

    S. Shi, X. Chu, B. Li, "MG-WFBP: efficient data communication for distributed synchronous SGD algorithms,"
    INFOCOM 2019, algorithm 1.
    """
    startup = cost(0.0)
    bounds, free, held = [0], 0.0, messages[0]
    for index in range(1, len(messages)):
        start = max(free, ready[index - 1])
        if ready[index] < start + startup:
            held += messages[index]
            continue
        free = start + cost(held)
        bounds.append(index)
        held = messages[index]
    return [*bounds, len(messages)]


def optimal(messages: Sequence[float], ready: Sequence[float], cost: Cost, slowdown: float = 0.0) -> list[int]:
    r"""Return the bounds of the buffers with the earliest end of communication on one stream.

    The arguments and the bounds are as in `mg_wfbp`. With :math:`f_j` the time at which the first j gradients are sent,
    :math:`r_j` the time at which gradient j is ready, :math:`S_j` the bytes of the first j and c the cost,

    .. math:: f_j = \min_{i<j} \max(f_i, r_j) + c(S_j - S_i)

    which is exact because an earlier end of the previous messages never delays later ones. It holds for any cost that
    does not decrease with the bytes. The scan over i stops when the group, started when its last gradient is ready,
    ends no earlier than the best end so far: a longer group costs more. O(n²) in the worst case.

    With *slowdown*, the fraction by which compute takes longer while a message is sent, messages also delay the
    gradients. The search then keeps one state per gradient, the one with the earliest end, and is not exact; the
    result is the earliest of this search, the greedy rule, a single buffer and no fusion.
    """
    hidden = slowdown / (1 + slowdown)
    total = [0.0, *accumulate(messages)]
    progress, spent, origin = [0.0] * len(total), [0.0] * len(total), [0] * len(total)
    for j in range(1, len(total)):
        now, held, best = ready[j - 1], total[j], math.inf
        least = cost(held) if hidden else 0.0  # lower bound of the time to send all of them: a single start-up
        for i in range(j - 1, -1, -1):
            seconds = cost(held - total[i])
            if now + seconds + hidden * max(0.0, least - seconds) >= best:
                break
            reached = progress[i] if progress[i] > now else now
            ended = reached + seconds + hidden * spent[i]
            if ended < best:
                best, origin[j] = ended, i
                progress[j], spent[j] = reached + (1 - hidden) * seconds, spent[i] + seconds
    bounds = [len(messages)]
    while bounds[-1]:
        bounds.append(origin[bounds[-1]])
    searched = bounds[::-1]
    if not slowdown:
        return searched
    others = [mg_wfbp(messages, ready, cost), [0, len(messages)], list(range(len(messages) + 1))]
    return min([searched, *others], key=lambda cuts: completion_time(cuts, messages, ready, cost, slowdown))


def completion_time(
    bounds: Sequence[int], messages: Sequence[float], ready: Sequence[float], cost: Cost, slowdown: float = 0.0
) -> float:
    """Return the seconds from the start of backward until the last buffer of *bounds* is sent.

    The arguments are as in `optimal`. Time is counted in progress of compute: a message of c seconds delays it by
    ``slowdown / (1 + slowdown)`` of c.
    """
    hidden = slowdown / (1 + slowdown)
    progress = spent = 0.0
    for start, stop in pairwise(bounds):
        seconds = cost(sum(messages[start:stop]))
        progress = max(progress, ready[stop - 1]) + (1 - hidden) * seconds
        spent += seconds
    return progress + hidden * spent
