"""Convergence laws of published recipes, and the prior that other sources of a model give."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from lbsim.accuracy.convergence_fit import fit_errors
from lbsim.accuracy.convergence_law import ConvergenceLaw
from lbsim.accuracy.recipe import PenaltyName, PublishedResult, Recipe

__all__ = ["best_results", "floor_of_sources", "law_of"]

_BETWEEN_SOURCES = 1.5
"""Least standard deviation of e∞ between sources of one model, percentage points; the digest of the evidence finds 1 to
2."""


def law_of(recipe: Recipe) -> ConvergenceLaw:
    """Return the law of *recipe*, fitted to its own evidence."""
    return _law(tuple((row.batch, row.epochs, 100 - row.top1) for row in best_results(recipe)), recipe.penalty)


@lru_cache
def _law(rows: tuple[tuple[float, float, float], ...], penalty: PenaltyName) -> ConvergenceLaw:
    return fit_errors(rows, penalty)


def best_results(recipe: Recipe) -> list[PublishedResult]:
    """Return the best result per batch and number of epochs, so that a scan of learning rates counts once."""
    best: dict[tuple[int, float], PublishedResult] = {}
    for row in recipe.results:
        key = (row.batch, row.epochs)
        if key not in best or row.top1 > best[key].top1:
            best[key] = row
    return list(best.values())


def floor_of_sources(laws: Sequence[ConvergenceLaw]) -> tuple[float, float]:
    """Return mean and standard deviation of e∞, in percent, over *laws* of one model from different sources."""
    floors = [float(np.median(law.floor)) for law in laws]
    spread = float(np.std(floors, ddof=1)) if len(floors) > 1 else 0.0
    return float(np.mean(floors)), max(spread, _BETWEEN_SOURCES)
