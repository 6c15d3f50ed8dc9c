r"""Training runs of the harness as logged: accuracy by epoch, gradient noise scale, and options.

The harness writes ``run.json``, ``epochs.csv`` and, with ``--noise-scale-every``, ``noise_scale.csv`` into its output
folder. The noise scale grows while the loss falls, so a run has a mean noise scale only. A step at batch B advances
training by the fraction 1 / (1 + B_noise / B) of a step without noise, and the critical batch is the mean of B_noise
with these weights:

.. math:: \bar B = \frac{\sum_k n_k \, \mathrm{tr}(\Sigma)_k / D_k}{\sum_k n_k \, |G|_k^2 / D_k},
   \qquad D_k = B \, |G|_k^2 + \mathrm{tr}(\Sigma)_k

over the mean estimates of ten parts of the run, of n_k steps each: S. McCandlish et al., arXiv:1812.06162, section 2,
where E_min / S_min is that mean. The moving averages in the file are not used, because they lag behind a gradient that
falls quickly.
"""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lbsim.accuracy.convergence_law import FloatArray
from lbsim.errors import InputError

__all__ = ["MeasuredRun", "noise_scale_of", "read_run"]

_PARTS = 10
"""Parts of a run; within each, the noise scale is taken as constant."""
_FEWEST = 4
"""Fewest measurements per part."""
_MEASURE = "train with --noise-scale-every 1, or more in a long run"


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """One training run up to a target accuracy."""

    folder: Path
    batch: int
    """Samples per step over all ranks."""
    epochs: float
    """Epochs to the target, interpolated between two validations."""
    noise_scale: float | None
    """Mean gradient noise scale of the steps to the target, samples; None if it was not measured."""
    doubt: float
    """Standard deviation of the noise scale's logarithm, from the measurements."""
    problem: str
    """Reason why there is no noise scale, else empty."""
    shares: FloatArray
    """Fractions of the epochs to the target at which accuracy was measured."""
    accuracies: FloatArray
    """Best accuracy so far at each fraction, percent."""
    training_samples: int
    options: Mapping[str, Any]
    """Command-line options of the harness."""


class _Crossing(NamedTuple):
    """The point at which a learning curve reaches the target."""

    epochs: float
    last_step_below: float
    """Step of the last validation below the target."""
    shares: FloatArray
    accuracies: FloatArray


def read_run(folder: Path, target: float) -> MeasuredRun:
    """Return the run in *folder* up to *target*, an accuracy in percent.

    InputError if the run did not reach the target, or if its files are missing or damaged.
    """
    log = _run_json(folder / "run.json")
    crossing = _crossing(folder, target)
    value, doubt, problem = _noise_scale(folder / "noise_scale.csv", crossing.last_step_below)
    return MeasuredRun(
        folder=folder,
        batch=log["batch"],
        epochs=crossing.epochs,
        noise_scale=value,
        doubt=doubt,
        problem=problem,
        shares=crossing.shares,
        accuracies=crossing.accuracies,
        training_samples=log["training_samples"],
        options=log["options"],
    )


def noise_scale_of(file: Path, until: float = math.inf) -> tuple[float, float]:
    """Return the mean noise scale, in samples, and the standard deviation of its logarithm.

    Steps of *file* up to *until* count. The deviation is the jackknife's: each measurement is left out of its part of
    the run. InputError if there are too few measurements, or if the gradient is below its noise.
    """
    table = _columns(file, ("step", "batch", "squared_gradient", "gradient_variance"))
    early = table["step"] <= until
    batch, squared, variance = (table[name][early] for name in ("batch", "squared_gradient", "gradient_variance"))
    if squared.size < _PARTS * _FEWEST:
        raise InputError(
            f"{file}: {squared.size} measurements up to the target are too few; at least {_PARTS * _FEWEST} are "
            f"needed: {_MEASURE}"
        )
    parts = list(zip(*(np.array_split(column, _PARTS) for column in (batch, squared, variance)), strict=True))
    sums = [_sums(size[0], signal.mean(), noise.mean(), signal.size) for size, signal, noise in parts]
    total = np.sum(sums, axis=0)
    deviation = 0.0
    for (size, signal, noise), part in zip(parts, sums, strict=True):
        left = signal.size - 1
        without = _sums(size[0], (signal.sum() - signal) / left, (noise.sum() - noise) / left, signal.size)
        ratios = _ratio(file, total[:, None] - part[:, None] + without)
        deviation += left / signal.size * float(((np.log(ratios) - np.log(ratios).mean()) ** 2).sum())
    return float(_ratio(file, total)), math.sqrt(deviation)


def _crossing(folder: Path, target: float) -> _Crossing:
    """Return where the learning curve in *folder* reaches *target* percent; InputError if it does not."""
    curve = _columns(folder / "epochs.csv", ("step", "epoch", "validation_accuracy"))
    best = 100 * np.maximum.accumulate(curve["validation_accuracy"])
    if not best.size or best[-1] < target:
        reached = f"{best[-1]:.4g}% at most, in {curve['epoch'][-1]:g} epochs" if best.size else "no validation"
        raise InputError(
            f"--target {target:g}%: the run in {folder} reached {reached}; it does not show how to go beyond that"
        )
    epochs, accuracies = np.append(0.0, curve["epoch"]), np.append(0.0, best)
    first = int(np.argmax(accuracies >= target))
    part = (target - accuracies[first - 1]) / (accuracies[first] - accuracies[first - 1])
    crossing = float(epochs[first - 1] + part * (epochs[first] - epochs[first - 1]))
    return _Crossing(crossing, float(curve["step"][first - 1]), epochs / crossing, accuracies)


def _noise_scale(file: Path, until: float) -> tuple[float | None, float, str]:
    try:
        return *noise_scale_of(file, until), ""
    except InputError as error:
        return None, 0.0, str(error)


def _sums(batch: float, signal: FloatArray, noise: FloatArray, steps: int) -> FloatArray:
    """Return the terms that a part of the run adds to numerator and denominator of the mean noise scale."""
    return np.asarray(steps * np.array([noise, signal]) / (batch * signal + noise))


def _ratio(file: Path, sums: FloatArray) -> FloatArray:
    if sums.min() <= 0:
        raise InputError(f"{file}: the gradient is below its noise; measure more steps, or at a larger batch")
    return np.asarray(sums[0] / sums[1])


def _columns(file: Path, names: tuple[str, ...]) -> dict[str, FloatArray]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return {name: np.array([float(row[name]) for row in rows]) for name in names}
    except FileNotFoundError:
        raise InputError(f"no {file.name} in {file.parent}; {_MEASURE}, and name its --output folder") from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, csv.Error):
        raise InputError(
            f"{file}: not a table written by the harness, or damaged; it needs {', '.join(names)}"
        ) from None


def _run_json(file: Path) -> dict[str, Any]:
    try:
        log = json.loads(file.read_text(encoding="utf-8"))
        options = dict(log["options"])
        return {"options": options, "batch": int(log["batch"]), "training_samples": int(log["training_samples"])}
    except FileNotFoundError:
        raise InputError(f"no {file.name} in {file.parent}; name the --output folder of a run of the harness") from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{file}: not written by a run of the harness, or damaged") from None
