"""Minimum of a positive definite quadratic form between bounds."""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_MAX_ACTIVE_SETS = 20
"""Active sets to try before the slower method that always ends."""


def bounded_minimum(curvature: Vector, pull: Vector, lowest: Vector, highest: Vector) -> Vector:
    r"""Return the x between *lowest* and *highest* that minimises :math:`x^T C x / 2 - p^T x`.

    *curvature* C is positive definite, of shape (n, n); *pull* p and the bounds have shape (n,). By the primal-dual
    active set method, which needs two or three linear solves; if its active sets cycle, by bounded-variable least
    squares of :math:`L^T x - L^{-1} p`, with :math:`C = L L^T`.

    M. Hintermüller, K. Ito, K. Kunisch, "The primal-dual active set strategy as a semismooth Newton method," SIAM J.
    Optim. 13(3), 2003; P. B. Stark, R. L. Parker, "Bounded-variable least-squares," Comput. Stat. 10, 1995.
    """
    below = above = np.zeros(len(pull), dtype=bool)
    for _ in range(_MAX_ACTIVE_SETS):
        free = ~(below | above)
        step = np.where(below, lowest, np.where(above, highest, 0.0))
        rest = pull[free] - curvature[np.ix_(free, ~free)] @ step[~free]
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], rest)
        downhill = pull - curvature @ step
        now_below = (step < lowest) | (below & (downhill < 0))
        now_above = (step > highest) | (above & (downhill > 0))
        if np.array_equal(now_below, below) and np.array_equal(now_above, above):
            return step
        below, above = now_below, now_above
    return _by_least_squares(curvature, pull, lowest, highest)


def _by_least_squares(curvature: Vector, pull: Vector, lowest: Vector, highest: Vector) -> Vector:
    from scipy.optimize import lsq_linear  # noqa: PLC0415 - late, for start-up time

    lower = np.linalg.cholesky(curvature)
    found = lsq_linear(lower.T, np.linalg.solve(lower, pull), (lowest, highest), method="bvls").x
    return np.asarray(found, dtype=np.float64)
