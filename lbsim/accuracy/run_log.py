r"""What a training run of one's own leaves: its accuracy by epoch, its gradient noise scale, and the options it had.

The harness writes ``run.json``, ``epochs.csv`` and, with ``--noise-scale-every``, ``noise_scale.csv`` into its output
folder. The noise scale grows while the loss falls, so a run has no single one. Of a step at batch B a share
1 / (1 + B_noise / B) counts as one without noise, and the critical batch is the mean of B_noise over those:

.. math:: \bar B = \frac{\sum_k n_k \, \mathrm{tr}(\Sigma)_k / D_k}{\sum_k n_k \, |G|_k^2 / D_k},
   \qquad D_k = B \, |G|_k^2 + \mathrm{tr}(\Sigma)_k

with the mean estimates of ten parts of the run, of n_k steps each: S. McCandlish et al., arXiv:1812.06162, section 2,
where E_min / S_min is that mean. The moving averages in the file are not used, for they lag behind a gradient that
falls quickly.
"""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbsim.errors import InputError

Array = NDArray[np.float64]
_PARTS = 10
"""Of a run, in each of which the noise scale is taken to stay."""
_FEWEST = 4
"""Measurements in a part."""
_MEASURE = "train with --noise-scale-every 1, or more in a long run"


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """One training run up to a target accuracy."""

    folder: Path
    batch: int
    """Samples a step over all ranks."""
    epochs: float
    """To the target, in proportion between two validations."""
    noise_scale: float | None
    """Samples; over the steps to the target. None if the run does not tell."""
    doubt: float
    """One standard deviation of the noise scale's logarithm, as measured."""
    problem: str
    """Why there is no noise scale, if there is none."""
    shares: Array
    """Of the epochs to the target, at which the accuracies were measured."""
    accuracies: Array
    """Percent, the best so far."""
    training_samples: int
    options: Mapping[str, Any]
    """What the harness was told."""


def read_run(folder: Path, target: float) -> MeasuredRun:
    """Return what the run in *folder* tells of the way to *target* percent, or raise InputError."""
    told = _told(folder / "run.json")
    curve = _columns(folder / "epochs.csv", ("step", "epoch", "validation_accuracy"))
    best = 100 * np.maximum.accumulate(curve["validation_accuracy"])
    if not best.size or best[-1] < target:
        reached = f"{best[-1]:.4g}% at most, in {curve['epoch'][-1]:g} epochs" if best.size else "no validation"
        raise InputError(
            f"--target {target:g}%: the run in {folder} reached {reached}; what is beyond that it cannot tell"
        )
    epochs, accuracies = np.append(0.0, curve["epoch"]), np.append(0.0, best)
    first = int(np.argmax(accuracies >= target))
    part = (target - accuracies[first - 1]) / (accuracies[first] - accuracies[first - 1])
    crossing = float(epochs[first - 1] + part * (epochs[first] - epochs[first - 1]))
    value, doubt, problem = _noise_scale(folder / "noise_scale.csv", float(curve["step"][first - 1]))
    return MeasuredRun(
        folder=folder,
        batch=told["batch"],
        epochs=crossing,
        noise_scale=value,
        doubt=doubt,
        problem=problem,
        shares=epochs / crossing,
        accuracies=accuracies,
        training_samples=told["training_samples"],
        options=told["options"],
    )


def _noise_scale(file: Path, until: float) -> tuple[float | None, float, str]:
    try:
        return *noise_scale_of(file, until), ""
    except InputError as error:
        return None, 0.0, str(error)


def noise_scale_of(file: Path, until: float = math.inf) -> tuple[float, float]:
    """Return the mean noise scale of the steps in *file* up to *until*, in samples, and its logarithm's deviation.

    The deviation is the jackknife's: each measurement is left out of its part of the run.
    """
    table = _columns(file, ("step", "batch", "squared_gradient", "gradient_variance"))
    early = table["step"] <= until
    batch, squared, variance = (table[name][early] for name in ("batch", "squared_gradient", "gradient_variance"))
    if squared.size < _PARTS * _FEWEST:
        raise InputError(
            f"{file}: {squared.size} measurements up to the target are too few, {_PARTS * _FEWEST} the least; "
            f"{_MEASURE}"
        )
    parts = list(zip(*(np.array_split(column, _PARTS) for column in (batch, squared, variance)), strict=True))
    each = [_contribution(own[0], signal.mean(), noise.mean(), signal.size) for own, signal, noise in parts]
    total = np.sum(each, axis=0)
    deviation = 0.0
    for (own, signal, noise), whole in zip(parts, each, strict=True):
        left = signal.size - 1
        without = _contribution(own[0], (signal.sum() - signal) / left, (noise.sum() - noise) / left, signal.size)
        ratios = _ratio(file, total[:, None] - whole[:, None] + without)
        deviation += left / signal.size * float(((np.log(ratios) - np.log(ratios).mean()) ** 2).sum())
    return float(_ratio(file, total)), math.sqrt(deviation)


def _contribution(batch: float, signal: Array, noise: Array, steps: int) -> Array:
    """Return what a part of the run adds above and below."""
    return np.asarray(steps * np.array([noise, signal]) / (batch * signal + noise))


def _ratio(file: Path, sums: Array) -> Array:
    if sums.min() <= 0:
        raise InputError(f"{file}: the gradient is lost in its noise; measure more steps, or at a larger batch")
    return np.asarray(sums[0] / sums[1])


def _columns(file: Path, names: tuple[str, ...]) -> dict[str, Array]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return {name: np.array([float(row[name]) for row in rows]) for name in names}
    except FileNotFoundError:
        raise InputError(f"no {file.name} in {file.parent}; {_MEASURE}, and name its --output folder") from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, csv.Error):
        raise InputError(f"{file}: not a table of the harness, or damaged; it needs {', '.join(names)}") from None


def _told(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        options = dict(told["options"])
        return {"options": options, "batch": int(told["batch"]), "training_samples": int(told["training_samples"])}
    except FileNotFoundError:
        raise InputError(f"no {file.name} in {file.parent}; name the --output folder of a run of the harness") from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{file}: not the options of a run of the harness, or damaged") from None
