"""Where to cut the gradients into buffers, when the cost of a message is known."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

Cost = Callable[[float], float]
"""Seconds that a message of so many bytes takes; it never falls as the message grows."""


def mg_wfbp(messages: Sequence[float], ready: Sequence[float], cost: Cost) -> list[int]:
    """Return where buffers start, by the greedy rule: a gradient joins the buffer before it if that costs no wait.

    A buffer that starts at t, when its gradients are ready and the one before has travelled, takes in the next
    gradient if that is ready by t and the start-up that one message less saves.

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
    r"""Return where buffers start so that the last one ends as soon as is possible on one communication stream.

    With :math:`f_j` when the first j gradients have travelled, :math:`r_j` when gradient j is ready and
    :math:`S_j` the bytes of the first j,

    .. math:: f_j = \min_{i<j} \max(f_i, r_j) + c(S_j - S_i)

    which is exact because an earlier end of what came before never makes what follows later. It holds for any cost
    that does not fall with the message, and the scan over i stops where the group alone, started when its last
    gradient is ready, ends no sooner than the best found: a longer group costs more.

    While a message travels compute takes *slowdown* longer, so that messages cost twice. The search then keeps one
    state a gradient, the one that would end soonest, and is no longer exact; it falls back to the greedy rule, to one
    buffer or to none merged where one of those ends sooner. O(n²) at worst.
    """
    hidden = slowdown / (1 + slowdown)
    total = [0.0, *accumulate(messages)]
    progress, spent, origin = [0.0] * len(total), [0.0] * len(total), [0] * len(total)
    for j in range(1, len(total)):
        now, held, best = ready[j - 1], total[j], math.inf
        least = cost(held) if hidden else 0.0  # no way to send them all takes less, as start-ups are paid once
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
    found = bounds[::-1]
    if not slowdown:
        return found
    others = [mg_wfbp(messages, ready, cost), [0, len(messages)], list(range(len(messages) + 1))]
    return min([found, *others], key=lambda cuts: completion_time(cuts, messages, ready, cost, slowdown))


def completion_time(
    bounds: Sequence[int], messages: Sequence[float], ready: Sequence[float], cost: Cost, slowdown: float = 0.0
) -> float:
    """Return when the last buffer of *bounds* has travelled, in seconds after backward starts.

    Progress of compute is the clock: a message that takes c holds it back by the hidden share of c.
    """
    hidden = slowdown / (1 + slowdown)
    progress = spent = 0.0
    for start, stop in pairwise(bounds):
        seconds = cost(sum(messages[start:stop]))
        progress = max(progress, ready[stop - 1]) + (1 - hidden) * seconds
        spent += seconds
    return progress + hidden * spent
