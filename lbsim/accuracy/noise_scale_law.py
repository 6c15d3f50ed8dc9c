r"""Convergence law of a model without published evidence, from its own runs and their gradient noise scale.

.. math:: E(B) = E_0 \, (1 + (B / B_{crit})^p)

A run gives E at its batch, and its noise scale gives B_crit: in theory the two are equal if the curvature is the same
in all directions, for the mean that `lbsim.accuracy.run_log` takes. The ratio of the two is known from the five
supervised tasks of McCandlish et al., arXiv:1812.06162, table 1: B_crit over B_simple, averages over a run with unknown
weights, is 0.22, 0.13, 0.45, 0.5 and 0.67. The root mean square of its logarithm is a factor of 3.5, and 12 at 90 %;
that is the uncertainty used here. For their autoencoders the ratio is 20. p is 1 in their theory; 0.75 and 1.25 have a
quarter of the weight each, as for recipes. Runs at a second batch narrow the uncertainty; their noise scale is not
needed.

The law holds where each batch has its best learning rate. It does not predict an accuracy that no run reached.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lbsim.accuracy.convergence_fit import fit_around
from lbsim.accuracy.convergence_law import ConvergenceLaw, Estimate, FloatArray, rounded_up
from lbsim.accuracy.recipe import OptimizerSettings, PublishedResult, Recipe
from lbsim.accuracy.run_log import MeasuredRun, read_run
from lbsim.errors import InputError

__all__ = ["MeasuredLaw", "MeasuredRecipe", "critical_batch", "law_of_runs", "recipe_of_runs"]

_PUBLISHED = ((200, 900), (500, 4_000), (900, 2_000), (15_000, 30_000), (100_000, 150_000))
"""B_crit and B_simple: MNIST, SVHN, CIFAR-10 and ImageNet in images, Billion Word in tokens; table 1, read in notes."""
_SPREAD = math.sqrt(float(np.mean([math.log(critical / simple) ** 2 for critical, simple in _PUBLISHED])))
"""Root mean square of the logarithm of B_crit over the noise scale: the scale of a Student's t with as many degrees of
freedom as there are tasks."""
_MOST_CRITICAL = 16
"""Largest batch to consider, in critical batches; a larger one saves less than 6 % of the steps."""


@dataclass(frozen=True, eq=False)
class MeasuredLaw(ConvergenceLaw):
    """A law whose E0 is epochs to one target, with the measured accuracy up to that target."""

    shares: FloatArray
    """Fractions of the epochs to the target."""
    accuracies: FloatArray
    """Best accuracy so far at each fraction, percent; the last is the highest measured."""

    @property
    def most_epochs(self) -> float:
        """No upper limit: there is no longest published schedule."""
        return math.inf

    def errors(self, batch: float, epochs: float) -> FloatArray:
        """Return draws of the top-1 error, in percent; never below the lowest measured, whatever the *epochs*."""
        return np.asarray(100 - np.interp(epochs / self.works(batch), self.shares, self.accuracies))

    def epochs_to(self, batch: float, top1: float, share: float = 0.5) -> float | None:
        """Return the epochs, rounded up to three digits, after which *share* of runs reach *top1* percent."""
        above = np.flatnonzero(self.accuracies >= top1)
        if not above.size:
            return None
        low, high = max(0, above[0] - 1), above[0]
        part = float(np.interp(top1, self.accuracies[[low, high]], self.shares[[low, high]]))
        return rounded_up(part * float(np.quantile(self.works(batch), share)))

    def epochs_to_target(self, batch: float) -> Estimate:
        """Return the epochs to the target at *batch*."""
        return self.work(batch)


class MeasuredRecipe(Recipe):
    """A recipe whose evidence is the user's own runs, at one batch or several."""

    options: dict[str, Any]
    """Options of the run at the smallest batch, by the names that the harness uses."""
    noise_scale: float
    """Gradient noise scale, samples."""
    critical_batch: float
    """Median critical batch of the law, samples."""

    def peak_rate(self, batch: int) -> float:
        r"""Return the learning rate from which to tune at *batch*, by McCandlish et al.'s theory.

        .. math:: \epsilon(B) = \epsilon_{max} / (1 + B_{crit} / B)
        """
        rate, at = self.evidence[0].rate or 0.0, self.evidence[0].batch
        return rate * (1 + self.critical_batch / at) / (1 + self.critical_batch / batch)


def law_of_runs(runs: Sequence[MeasuredRun]) -> MeasuredLaw:
    """Return the law of *runs* to one target, with B_crit from their noise scales.

    InputError if no run has a noise scale.
    """
    scales = [(run.noise_scale, run.doubt) for run in runs if run.noise_scale is not None]
    if not scales:
        raise InputError(runs[0].problem)
    centre, doubt = critical_batch(scales)
    law = fit_around([run.batch for run in runs], [run.epochs for run in runs], centre, doubt, freedom=len(_PUBLISHED))
    # all curves reach the target at a fraction of 1; beyond it, keep what every run measured
    shares = np.unique(np.concatenate([run.shares for run in runs]))
    shares = shares[shares <= min(run.shares[-1] for run in runs)]
    accuracies = np.mean([np.interp(shares, run.shares, run.accuracies) for run in runs], axis=0)
    return MeasuredLaw(**vars(law), shares=shares, accuracies=accuracies)


def critical_batch(scales: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the median of B_crit and the standard deviation of its logarithm.

    *scales* are noise scales in samples with the standard deviations of their logarithms.

    >>> middle, doubt = critical_batch([(30_000.0, 0.0)])
    >>> f"{middle:,.0f}, {doubt:.2f}"
    '30,000, 1.25'
    """
    logs = [math.log(value) for value, _ in scales]
    measured = math.sqrt(sum(doubt**2 for _, doubt in scales)) / len(scales)
    return math.exp(sum(logs) / len(logs)), math.hypot(_SPREAD, measured)


def recipe_of_runs(
    folders: Sequence[Path], model: str, samples: int, target: float
) -> tuple[MeasuredRecipe, MeasuredLaw]:
    """Return the runs in *folders* as a recipe of *model* with its law.

    *samples* is the size of the model's training set, *target* the accuracy in percent. InputError if a run is of
    another data set or recipe, or did not reach the target.
    """
    runs = sorted((read_run(folder, target) for folder in folders), key=lambda run: run.batch)
    _check_samples(runs, model, samples)
    _check_options(runs)
    law = law_of_runs(runs)
    return _recipe(runs, model, samples, target, float(np.median(law.critical_batch))), law


def _recipe(
    runs: Sequence[MeasuredRun], model: str, samples: int, target: float, critical_batch: float
) -> MeasuredRecipe:
    options = dict(runs[0].options)
    most = min(samples // 2, math.ceil(_MOST_CRITICAL * critical_batch))
    return MeasuredRecipe(
        name=runs[0].folder.name or str(runs[0].folder),
        source=f"measured: {', '.join(str(run.folder) for run in runs)}",
        model=model,
        dataset=str(options.get("data")),
        batch_least=1,
        batch_most=max(most, *(run.batch for run in runs)),
        optimizer=OptimizerSettings(name=options["optimizer"]),
        epochs=max(run.epochs for run in runs),
        penalty="linear-scaling",
        evidence=tuple(_result(run, target) for run in runs),
        options=options,
        noise_scale=math.exp(float(np.mean([math.log(run.noise_scale) for run in runs if run.noise_scale]))),
        critical_batch=critical_batch,
    )


def _result(run: MeasuredRun, target: float) -> PublishedResult:
    given = run.options.get("rate")
    rate = float(given) if given is not None else 0.1 * run.batch / 256  # the harness's linear scaling
    where = str(run.folder)
    return PublishedResult(
        id=where, batch=run.batch, epochs=run.epochs, top1=target, rate=rate, source=where, locator="epochs.csv"
    )


def _check_samples(runs: Sequence[MeasuredRun], model: str, samples: int) -> None:
    """Raise InputError unless all *runs* trained on *samples* samples, those of *model*."""
    for run in runs:
        if run.training_samples != samples:
            raise InputError(
                f"the run in {run.folder} trained on {run.training_samples:,} samples, but {Path(model).name} has "
                f"{samples:,}; an epoch must be the same: write lbsim workload trace --samples"
            )


def _check_options(runs: Sequence[MeasuredRun]) -> None:
    """Raise InputError unless all *runs* have one recipe; batch, learning rate, seed and engine may differ."""
    may_differ = {"batch_per_gpu", "ranks", "rate", "seed", "epochs", "engine", "communication", "device", "loss_scale"}
    first: Mapping[str, Any] = runs[0].options
    for run in runs[1:]:
        for name in sorted((first.keys() | run.options.keys()) - may_differ):
            if run.options.get(name) != first.get(name):
                raise InputError(
                    f"the runs in {runs[0].folder} and {run.folder} are of different recipes: {name} is "
                    f"{first.get(name)!r} and {run.options.get(name)!r}"
                )
