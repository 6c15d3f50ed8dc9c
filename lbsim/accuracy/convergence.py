r"""How many epochs a batch size needs, and how good a model becomes: laws of statistical efficiency, with their doubt.

A larger batch needs more epochs by a *penalty*:

.. math:: E(B) = E_0 \, (1 + (B / B_{crit})^p)

and a network's error after so many epochs is that of an equivalent number of small-batch epochs:

.. math:: error(B, E) = e_\infty + 85.1 \, (E / penalty(B))^{-0.967}

McCandlish et al., arXiv:1812.06162, for p = 1; that p is not settled by the evidence is why it is a distribution here.
The two numbers of the second law are the epoch ladder of FFCV's ResNet-50 (16 to 88 epochs, largest residual 0.13
points; rows ``FCV`` of the evidence). What is fitted are distributions: priors on a grid times a Student-t likelihood.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lbsim.accuracy.recipe import Evidence, Recipe
from lbsim.errors import InputError

Array = NDArray[np.float64]
PenaltyName = Literal["lars", "linear-scaling"]

LADDER_SCALE, LADDER_EXPONENT = 85.1, -0.967
FEWEST_EPOCHS = 16.0
"""The shortest schedule of the ladder; below it the law is not tried."""
MOST_EPOCHS = 120.0
"""A third more than the longest schedule of ResNet-50 in the evidence at which only the batch varied."""
FAILURE = 56 / 998
"""Share of runs that end their schedule short of the target: MLPerf ResNet-50 logs, v0.7 to v4.0, closed division."""
_OCTAVE = 0.53
"""Percentage points, one standard deviation, for each doubling of the epochs away from those of the evidence: what
NVIDIA's ResNet-50 at 50, 90 and 250 epochs (rows ``DLE``) differs from the law."""
_RUN = 0.15
"""Percentage points between runs of one recipe; Goyal et al. give 0.08 to 0.12, and 0.27 at 16k and above."""
_SOURCES = 1.5
"""Percentage points between sources of one model; the digest of the evidence finds 1 to 2."""
_WORK_NOISE = 0.05
"""Relative, between a published mean of epochs to a target and the law."""
_RUN_NOISE = 0.1
"""Relative, between the epochs to a target of runs of one recipe: MLPerf's reference points have 2 to 9 %."""
_FREEDOM = 3
"""Of Student's t: a wild row (another generation of a recipe) pulls the fit little."""
_DRAWS = 2000
_ANY = (1.0, 1e9)
"""Epochs where none are told apart."""
_PRIORS: dict[PenaltyName, tuple[float, float, tuple[float, ...], tuple[float, ...]]] = {
    "lars": (4.4e4, 2.5, (0.75, 1.0, 1.25), (0.25, 0.5, 0.25)),
    "linear-scaling": (1.5e4, 3.0, (1.0, 1.5, 2.0, 2.5, 3.0), (0.2, 0.2, 0.2, 0.2, 0.2)),
}
"""The batch at which the penalty is 2, its factor of doubt, exponents and their weights: 44k from MLPerf's epochs to
target for LARS, with the factor of 2 to 3 by which sources differ; McCandlish et al.'s 15k for SGD on ImageNet."""


@dataclass(frozen=True)
class Row:
    """One row of the evidence."""

    id: str
    series: str
    """Rows of one series share a model, a source and a recipe."""
    batch: int
    quantity: Literal["work_to_target", "top1_error"]
    value: float
    """Epochs, samples or tokens to the target; or percent."""
    epochs: float | None
    target: str
    source: str


@dataclass(frozen=True)
class Estimate:
    """A value and the bounds that hold with 90 %."""

    low: float
    value: float
    high: float


@lru_cache
def evidence() -> tuple[Row, ...]:
    """Return all rows of ``lbsim/accuracy/evidence/convergence.csv``."""
    with (Path(__file__).parent / "evidence" / "convergence.csv").open(encoding="utf-8") as file:
        return tuple(
            Row(
                row["id"],
                row["series"],
                int(row["batch"]),
                "top1_error" if row["quantity"] == "top1_error" else "work_to_target",
                float(row["value"]),
                float(row["epochs"]) if row["epochs"] else None,
                row["target"],
                row["source"],
            )
            for row in csv.DictReader(file)
        )


def series(quantity: str) -> dict[str, list[Row]]:
    """Return the rows of *quantity* by series."""
    found: dict[str, list[Row]] = {}
    for row in evidence():
        if row.quantity == quantity:
            found.setdefault(row.series, []).append(row)
    return found


@dataclass(frozen=True, eq=False)
class Law:
    """Draws from what the evidence leaves possible: equally likely, in the same order in every array."""

    floor: Array
    """The logarithm of E0, or e∞ in percent."""
    critical_batch: Array
    exponent: Array
    noise: Array
    """Of one further row: relative, or in points."""
    evidenced_epochs: tuple[float, float]
    batches: tuple[int, int]
    """The least and largest of the evidence."""

    @property
    def most_epochs(self) -> float:
        """How many a plan may take."""
        return MOST_EPOCHS

    def penalty(self, batch: float) -> Array:
        """Return how many times the epochs of a small batch *batch* needs."""
        return np.asarray(1 + (batch / self.critical_batch) ** self.exponent)

    def work(self, batch: float) -> Estimate:
        """Return the work to the target, in the unit of the series."""
        return _estimate(np.exp(self.floor + self.noise) * self.penalty(batch))

    def errors(self, batch: float, epochs: float) -> Array:
        """Return draws of the top-1 error, percent, of a run of *epochs* at *batch*."""
        low, high = self.evidenced_epochs
        octaves = max(0.0, math.log2(low / epochs), math.log2(epochs / high))
        beyond = _OCTAVE * octaves * _standard_normal(len(self.floor))
        effective = epochs / self.penalty(batch)
        return np.asarray(self.floor + LADDER_SCALE * effective**LADDER_EXPONENT + self.noise + beyond)

    def top1(self, batch: float, epochs: float) -> Estimate:
        """Return the top-1 accuracy, percent, of a run of *epochs* at *batch*."""
        return _estimate(100 - self.errors(batch, epochs))

    def epochs_to(self, batch: float, top1: float, share: float = 0.5) -> float | None:
        """Return the fewest epochs after which *share* of runs have *top1* percent; None if no number of them does.

        A share of one half asks that *top1* is what is expected.
        """
        left = np.maximum(100 - top1 - self.floor - self.noise, 0.0)
        with np.errstate(divide="ignore"):
            needed = self.penalty(batch) * (left / LADDER_SCALE) ** (1 / LADDER_EXPONENT)
        start = float(np.quantile(needed, share, method="higher"))
        if not math.isfinite(start):
            return None
        # epochs beyond those of the evidence widen what is possible: go on from there until enough draws have it
        for epochs in max(FEWEST_EPOCHS, math.ceil(start)) + np.arange(-8, 40):
            if epochs >= FEWEST_EPOCHS and self.share_of_runs(batch, float(epochs), top1) >= share:
                return float(epochs)
        return None

    def share_of_runs(self, batch: float, epochs: float, top1: float) -> float:
        """Return the share of runs of *epochs* at *batch* with *top1* percent or more."""
        return float((100 - self.errors(batch, epochs) >= top1).mean())

    def top1_of(self, share: float, batch: float, epochs: float) -> float:
        """Return the top-1 accuracy, percent, that *share* of runs of *epochs* at *batch* have or exceed."""
        return float(np.quantile(100 - self.errors(batch, epochs), 1 - share))

    def needed(self, batch: float) -> Estimate | None:  # noqa: ARG002
        """Return the epochs to the target at *batch*; None where what is fitted are accuracies."""
        return None

    def beyond(self, batch: float) -> bool:
        """Return whether *batch* is not between the smallest and largest of the evidence."""
        return not self.batches[0] <= batch <= self.batches[1]


@lru_cache
def _standard_normal(count: int) -> Array:
    return np.random.default_rng(1).standard_normal(count)


def _estimate(draws: Array) -> Estimate:
    low, value, high = np.quantile(draws, (0.05, 0.5, 0.95))
    return Estimate(float(low), float(value), float(high))


def fit_work(batches: Sequence[float], works: Sequence[float]) -> Law:
    """Fit the penalty law to *works*, epochs or samples to one target, at *batches*.

    The prior on the batch at which the penalty is 2 is three times the largest, give or take a factor of seven.
    """
    batch, logs = np.array(batches, float), np.log(np.array(works, float))
    critical = batch.max() * np.exp(np.linspace(-3, 6, 61))
    exponents, weights = np.array([0.5, 0.75, 1.0, 1.5]), np.array([0.2, 0.3, 0.3, 0.2])
    floors = np.linspace(logs.min() - 1.2, logs.min() + 0.4, 121)
    model = np.log1p((batch[:, None, None] / critical[None, :, None]) ** exponents[None, None, :])
    residual = logs[:, None, None, None] - model[..., None] - floors
    weight = _log_likelihood(residual, _WORK_NOISE)
    prior = -0.5 * ((np.log(critical / batch.max()) - 1.1) / 2.0) ** 2
    weight += prior[:, None, None] + np.log(weights)[None, :, None]
    drawn = _drawn(weight, (critical, exponents, floors), _WORK_NOISE)
    return Law(**drawn, evidenced_epochs=_ANY, batches=(int(batch.min()), int(batch.max())))


def fit_around(
    batches: Sequence[float], epochs: Sequence[float], critical_batch: float, doubt: float, freedom: int
) -> Law:
    """Fit E0 to the *epochs* to one target of single runs at *batches*, with the critical batch known beforehand.

    Its logarithm has a Student-t distribution of so many degrees of *freedom* around that of *critical_batch*, *doubt*
    wide. Where batches differ they narrow it.
    """
    batch, logs = np.array(batches, float), np.log(np.array(epochs, float))
    steps = np.linspace(-6, 6, 121)
    critical = critical_batch * np.exp(steps * doubt)
    exponents, weights = np.array(_PRIORS["lars"][2]), np.array(_PRIORS["lars"][3])
    model = np.log1p((batch[:, None, None] / critical[None, :, None]) ** exponents[None, None, :])
    floors = np.arange(logs.min() - model.max() - 1, logs.max() + 1, _RUN_NOISE / 5)
    weight = _log_likelihood(logs[:, None, None, None] - model[..., None] - floors, _RUN_NOISE)
    prior = -(freedom + 1) / 2 * np.log1p(steps**2 / freedom)
    weight += prior[:, None, None] + np.log(weights)[None, :, None]
    drawn = _drawn(weight, (critical, exponents, floors), _RUN_NOISE)
    return Law(**drawn, evidenced_epochs=_ANY, batches=(int(batch.min()), int(batch.max())))


def fit_errors(
    rows: Sequence[tuple[float, float, float]], penalty: PenaltyName, floor: tuple[float, float] | None = None
) -> Law:
    """Fit the law of errors to *rows* of (batch, epochs, top-1 error in percent).

    *floor* is what other sources of the model have for e∞: its mean and standard deviation; without rows it is all
    that is known of it, and InputError says that it is missing.
    """
    if not rows and floor is None:
        raise InputError("no evidence to fit: give rows of (batch, epochs, error), or e∞ of other sources")
    batch, epochs, error = np.array(rows, float).reshape(-1, 3).T
    centre, doubt, powers, weights = _PRIORS[penalty]
    critical = centre * np.exp(np.linspace(-3.5, 3.5, 61) * math.log(doubt))
    exponents = np.array(powers)
    lowest = float((error - LADDER_SCALE * epochs**LADDER_EXPONENT).min()) if rows else (floor or (0.0, 0.0))[0]
    floors = np.linspace(lowest - 6, lowest + (3 if rows else 6), 181)
    pen = 1 + (batch[:, None, None] / critical[None, :, None]) ** exponents[None, None, :]
    model = LADDER_SCALE * (epochs[:, None, None] / pen) ** LADDER_EXPONENT
    residual = error[:, None, None, None] - model[..., None] - floors
    weight = _log_likelihood(residual, _RUN)
    prior = -0.5 * (np.log(critical / centre) / math.log(doubt)) ** 2
    weight += prior[:, None, None] + np.log(np.array(weights))[None, :, None]
    if floor is not None:
        weight += -0.5 * ((floors - floor[0]) / floor[1]) ** 2
    drawn = _drawn(weight, (critical, exponents, floors), _RUN)
    if not rows:
        return Law(**drawn, evidenced_epochs=_ANY, batches=(0, 0))
    known = (float(epochs.min()), float(epochs.max()))
    return Law(**drawn, evidenced_epochs=known, batches=(int(batch.min()), int(batch.max())))


def _log_likelihood(residual: Array, scale: float) -> Array:
    return np.asarray(-(_FREEDOM + 1) / 2 * np.log1p((residual / scale) ** 2 / _FREEDOM).sum(axis=0))


def _drawn(weight: Array, axes: tuple[Array, Array, Array], noise: float) -> dict[str, Array]:
    """Return draws from the grid by its log *weight*, whose *axes* are critical batch, exponent and floor."""
    share = np.exp(weight - weight.max()).ravel()
    generator = np.random.default_rng(0)
    picked = generator.choice(share.size, _DRAWS, p=share / share.sum())
    one, two, three = np.unravel_index(picked, weight.shape)
    critical, exponents, floors = axes
    further = generator.standard_t(_FREEDOM, _DRAWS) * noise
    return {"floor": floors[three], "critical_batch": critical[one], "exponent": exponents[two], "noise": further}


def law_of(recipe: Recipe) -> Law:
    """Return the law of *recipe*, fitted to its own evidence."""
    return _law(tuple((row.batch, row.epochs, 100 - row.top1) for row in best_results(recipe)), recipe.penalty)


@lru_cache
def _law(rows: tuple[tuple[float, float, float], ...], penalty: PenaltyName) -> Law:
    return fit_errors(rows, penalty)


def best_results(recipe: Recipe) -> list[Evidence]:
    """Return of each batch and number of epochs the best result: a scan of rates is one choice, not many."""
    best: dict[tuple[int, float], Evidence] = {}
    for row in recipe.results:
        key = (row.batch, row.epochs)
        if key not in best or row.top1 > best[key].top1:
            best[key] = row
    return list(best.values())


def from_other_sources(laws: Sequence[Law]) -> tuple[float, float]:
    """Return mean and standard deviation of e∞ over *laws* of one model from other sources."""
    floors = [float(np.median(law.floor)) for law in laws]
    spread = float(np.std(floors, ddof=1)) if len(floors) > 1 else 0.0
    return float(np.mean(floors)), max(spread, _SOURCES)
