r"""The epochs of a model without published evidence, from a run of its own and the noise scale measured in it.

.. math:: E(B) = E_0 \, (1 + (B / B_{crit})^p)

One run gives E at its batch, and the noise scale B_crit: in theory they are the same where the curvature is alike in
all directions, for the mean that `lbsim.accuracy.run_log` takes. How far they are apart is known from the five
supervised tasks of McCandlish et al., arXiv:1812.06162, table 1: B_crit over B_simple, averages over a run whose
weights we do not know, is 0.22, 0.13, 0.45, 0.5 and 0.67, off by a factor of 3.5 in the root mean square and of 12 at
90 %; that is the doubt here. Of their autoencoders it is 20. p is 1 in their theory; 0.75 and 1.25 have a quarter of
the weight each, as for recipes. Runs at a second batch narrow the doubt; of those the noise scale need not be known.

The law holds where each batch has its best learning rate, and says nothing of an accuracy that no run has reached.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lbsim.accuracy.convergence import Array, Estimate, Law, fit_around
from lbsim.accuracy.recipe import Evidence, Optimizer, Recipe
from lbsim.accuracy.run_log import MeasuredRun, read_run
from lbsim.errors import InputError

_PUBLISHED = ((200, 900), (500, 4_000), (900, 2_000), (15_000, 30_000), (100_000, 150_000))
"""B_crit and B_simple: MNIST, SVHN, CIFAR-10 and ImageNet in images, Billion Word in tokens; table 1, read in notes."""
_SPREAD = math.sqrt(float(np.mean([math.log(critical / simple) ** 2 for critical, simple in _PUBLISHED])))
"""Of the logarithm of B_crit over the noise scale: the root mean square, for a Student-t as free as there are tasks."""
_MOST_CRITICAL = 16
"""Critical batches beyond which no batch is tried: there steps fall by less than 6 % more."""


@dataclass(frozen=True, eq=False)
class MeasuredLaw(Law):
    """A law whose E0 is epochs to one target, and the accuracy on the way to it."""

    shares: Array
    """Of the epochs to the target."""
    accuracies: Array
    """Percent, never falling; the last is the best measured."""

    @property
    def most_epochs(self) -> float:
        """There is no longest schedule in published evidence to keep to."""
        return math.inf

    def errors(self, batch: float, epochs: float) -> Array:
        """Return draws of the top-1 error, percent; no better than measured, however many the *epochs*."""
        needed = np.exp(self.floor + self.noise) * self.penalty(batch)
        return np.asarray(100 - np.interp(epochs / needed, self.shares, self.accuracies))

    def epochs_to(self, batch: float, top1: float, share: float = 0.5) -> float | None:
        """Return the epochs, rounded up to three digits, after which *share* of the runs have *top1* percent."""
        above = np.flatnonzero(self.accuracies >= top1)
        if not above.size:
            return None
        low, high = max(0, above[0] - 1), above[0]
        way = float(np.interp(top1, self.accuracies[[low, high]], self.shares[[low, high]]))
        return _rounded_up(way * float(np.quantile(np.exp(self.floor + self.noise) * self.penalty(batch), share)))

    def needed(self, batch: float) -> Estimate:
        """Return the epochs to the target at *batch*."""
        return self.work(batch)


class MeasuredRecipe(Recipe):
    """What one's own runs did, at one batch or several."""

    options: dict[str, Any]
    """Of the run at the smallest batch, as the harness names them."""
    noise_scale: float
    """Samples."""
    critical_batch: float
    """The middle of the law's."""

    def peak_rate(self, batch: int) -> float:
        r"""Return the rate that McCandlish et al.'s theory has for *batch*, to begin tuning with.

        .. math:: \epsilon(B) = \epsilon_{max} / (1 + B_{crit} / B)
        """
        own, at = self.evidence[0].rate or 0.0, self.evidence[0].batch
        return own * (1 + self.critical_batch / at) / (1 + self.critical_batch / batch)


def law_of_runs(runs: Sequence[MeasuredRun]) -> MeasuredLaw:
    """Return the law of *runs* to one target, with B_crit from their noise scales."""
    scales = [(run.noise_scale, run.doubt) for run in runs if run.noise_scale is not None]
    if not scales:
        raise InputError(runs[0].problem)
    centre, doubt = critical_batch(scales)
    law = fit_around([run.batch for run in runs], [run.epochs for run in runs], centre, doubt, freedom=len(_PUBLISHED))
    # all curves have the target at a share of 1; what only some measured beyond it is left out
    shares = np.unique(np.concatenate([run.shares for run in runs]))
    shares = shares[shares <= min(run.shares[-1] for run in runs)]
    accuracies = np.mean([np.interp(shares, run.shares, run.accuracies) for run in runs], axis=0)
    return MeasuredLaw(**vars(law), shares=shares, accuracies=accuracies)


def critical_batch(scales: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the middle of B_crit and its logarithm's deviation, from noise *scales* and their own deviations.

    >>> middle, doubt = critical_batch([(30_000.0, 0.0)])
    >>> f"{middle:,.0f}, {doubt:.2f}"
    '30,000, 1.25'
    """
    logs = [math.log(value) for value, _ in scales]
    own = math.sqrt(sum(doubt**2 for _, doubt in scales)) / len(scales)
    return math.exp(sum(logs) / len(logs)), math.hypot(_SPREAD, own)


def own_recipe(folders: Sequence[Path], model: str, samples: int, target: float) -> tuple[MeasuredRecipe, MeasuredLaw]:
    """Return the runs in *folders* as a recipe of *model*, whose training set has so many *samples*, and its law."""
    runs = sorted((read_run(folder, target) for folder in folders), key=lambda run: run.batch)
    for run in runs:
        if run.training_samples != samples:
            raise InputError(
                f"the run in {run.folder} trained on {run.training_samples:,} samples, but {Path(model).name} has "
                f"{samples:,}; an epoch must be the same: write lbsim workload trace --samples"
            )
    _check_alike(runs)
    law = law_of_runs(runs)
    middle = float(np.median(law.critical_batch))
    most = min(samples // 2, math.ceil(_MOST_CRITICAL * middle))
    options = dict(runs[0].options)
    recipe = MeasuredRecipe(
        name=runs[0].folder.name or str(runs[0].folder),
        source=f"measured: {', '.join(str(run.folder) for run in runs)}",
        model=model,
        dataset=str(options.get("data")),
        batch_least=1,
        batch_most=max(most, *(run.batch for run in runs)),
        optimizer=Optimizer(name=options["optimizer"]),
        epochs=max(run.epochs for run in runs),
        penalty="linear-scaling",
        evidence=tuple(_evidence(run, target) for run in runs),
        options=options,
        noise_scale=math.exp(float(np.mean([math.log(run.noise_scale) for run in runs if run.noise_scale]))),
        critical_batch=middle,
    )
    return recipe, law


def _evidence(run: MeasuredRun, target: float) -> Evidence:
    given = run.options.get("rate")
    rate = float(given) if given is not None else 0.1 * run.batch / 256  # the harness's linear scaling
    where = str(run.folder)
    return Evidence(
        id=where, batch=run.batch, epochs=run.epochs, top1=target, rate=rate, source=where, locator="epochs.csv"
    )


def _check_alike(runs: Sequence[MeasuredRun]) -> None:
    """Raise InputError unless all *runs* are of one recipe, which the batch, its rate and the seed may differ in."""
    own = {"batch_per_gpu", "ranks", "rate", "seed", "epochs", "engine", "communication", "device", "loss_scale"}
    first: Mapping[str, Any] = runs[0].options
    for run in runs[1:]:
        for name in sorted((first.keys() | run.options.keys()) - own):
            if run.options.get(name) != first.get(name):
                raise InputError(
                    f"the runs in {runs[0].folder} and {run.folder} are of different recipes: {name} is "
                    f"{first.get(name)!r} and {run.options.get(name)!r}"
                )


def _rounded_up(value: float) -> float:
    """Return *value* with three digits, never less.

    >>> _rounded_up(5.2311), _rounded_up(62.37), _rounded_up(3.0)
    (5.24, 62.4, 3.0)
    """
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return round(math.ceil(value / unit - 1e-9) * unit, 12)
