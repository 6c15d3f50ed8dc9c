r"""Fit of the compute law to the published rates of one GPU.

With the law's parameters θ (`lbsim.compute.roofline`; the efficiencies of the mathematics library, the time a kernel of
each software) and how fast each class of cores, architecture, card and software is compared with it, :math:`v_j`, a
rate has the time

.. math:: \ln t_i = \ln \left( c_i(θ) e^{-\sum_j v_{ij}} + u_i(θ) \right)

with c what the GPU computes and u its update, which no speed changes. Both are linear in the time a kernel, a factor
:math:`e^θ`; with the other parameters the fit takes c for exponential and u for linear, around a point that is moved
until it stays. What is left out is predicted with the law itself.

The objective is that of `lbsim.calibration.robust_least_squares`, with the same loss on the priors as on the residuals,
for a few cards and softwares are far from the others. Rates whose role is ``validate`` are never fitted to.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lbsim.calibration.priors import Prior
from lbsim.calibration.robust_least_squares import Objective, Vector
from lbsim.evaluation.single_gpu.rates import KERNEL_PRIORS, Values, effects
from lbsim.evaluation.single_gpu.rates import parts as law_parts
from lbsim.measurements.observation import Observation

NOISE = 0.06
"""Approximate standard deviation of the logarithm of a rate between runs of one framework by several sources."""
MOST_EFFICIENT = 0.95
"""Highest efficiency, a fraction of the rated figure; the architectures' speeds absorb what is beyond it."""
CORES, ARCHITECTURE, CARD, SOFTWARE, KERNEL_TIME = 0.5, 0.15, 0.06, 0.1, 0.3
"""Standard deviation of the priors of the other parameters."""
_STEP = 1e-3
_STAYS = 5e-3
"""Largest change of a parameter, in the logarithm, at convergence."""
_NEAR = 0.05
"""Largest distance of a kernels' parameter, in the logarithm, from the point of linearization."""
_MOST_ROUNDS = 6


class Fit:
    """Parameters that *data* depend on, by name, and their values fitted to all or some of the data."""

    def __init__(self, data: Sequence[Observation]) -> None:
        """Collect the parameters; those of the law come first."""
        self.data = list(data)
        softwares = sorted({rate.scenario.software.name for rate in self.data})
        groups = [(f"kernels {name}", spread) for name, (_, spread) in KERNEL_PRIORS.items()]
        groups += [(f"kernel_time {name}", KERNEL_TIME) for name in softwares]
        self._of_law = len(groups)
        for position, spread in enumerate((CORES, ARCHITECTURE, CARD, SOFTWARE)):
            groups += [(name, spread) for name in sorted({effects(rate)[position] for rate in self.data})]
        self.names = [name for name, _ in groups]
        self.priors = [_prior(name, spread) for name, spread in groups]

    @cached_property
    def values(self) -> dict[str, float]:
        """Values fitted to all of the data."""
        values: dict[str, float] = {}
        for _ in range(_MOST_ROUNDS):
            before, values = values, self._solved(range(len(self.data)), self._around(values), values)
            if all(abs(value - before.get(name, 0.0)) < _STAYS for name, value in values.items()):
                break
        return values

    @cached_property
    def _here(self) -> "_Around":
        """The law around what was fitted to all of the data."""
        return self._around(self.values)

    def without(self, unseen: Iterable[int]) -> dict[str, float]:
        """Return the values fitted to all of the data but those with the numbers *unseen*.

        The law is linearized around the fit to all data, which affects only its derivatives, and again around the
        result where that is far from there.
        """
        left_out = set(unseen)
        rest = [row for row in range(len(self.data)) if row not in left_out]
        values = self._solved(rest, self._here, self.values)
        return values if self._here.near(values) else self._solved(rest, self._around(values), values)

    def _around(self, values: Values) -> "_Around":
        count, law = len(self.data), self.names[: self._of_law]
        parts = np.array([law_parts(rate, values) for rate in self.data])
        slopes = np.zeros((self._of_law, count, 2))
        for column, name in enumerate(law):
            moved = dict(values) | {name: values.get(name, 0.0) + _STEP}
            own = [i for i, rate in enumerate(self.data) if _touches(name, rate)]
            slopes[column, own] = (np.array([law_parts(self.data[i], moved) for i in own]) - parts[own]) / _STEP
        at = np.array([values.get(name, 0.0) for name in law])
        names = self.names[self._of_law :]
        speeds = np.array([[float(name in own) for name in names] for own in map(effects, self.data)])
        observed = np.log([rate.value for rate in self.data])
        return _Around(at, parts, slopes, speeds, observed)

    def _solved(self, train: Sequence[int], around: "_Around", start: Values) -> dict[str, float]:
        """Return the parameters that fit the rates with the numbers *train* best, with the law as it is *around*."""
        own = around.of(list(train))
        objective = Objective(own.observed, np.full(len(own.observed), NOISE), self.priors, robust_priors=True)
        values = objective.minimise(own, np.array([start.get(name, 0.0) for name in self.names]))
        return dict(zip(self.names, values.tolist(), strict=True))


def _prior(name: str, spread: float) -> Prior:
    """Return the prior of parameter *name*, around its start; an efficiency has an upper bound."""
    field, highest = name.removeprefix("kernels "), math.inf
    if field.endswith("_efficiency"):
        highest = math.log(MOST_EFFICIENT / KERNEL_PRIORS[field][0])
    return Prior("log", 0.0, spread, -math.inf, highest)


@dataclass(frozen=True)
class _Around:
    """The law of some rates around one point."""

    at: Vector
    """The law's parameters there: the kernels' first, then each software's time a kernel."""
    parts: Vector
    """Of each rate: seconds of compute before any speed, and of the update."""
    slopes: Vector
    """Of each parameter and rate: what both change by."""
    speeds: Vector
    """1 for each speed that a rate has."""
    observed: Vector
    """Logarithm of each measured time."""

    def of(self, which: Sequence[int]) -> "_Around":
        return _Around(self.at, self.parts[which], self.slopes[:, which], self.speeds[which], self.observed[which])

    def near(self, values: Values) -> bool:
        """Return whether the kernels' parameters are where the law is as it is here."""
        there = (values[f"kernels {name}"] for name in KERNEL_PRIORS)
        return all(abs(value - here) < _NEAR for value, here in zip(there, self.at, strict=False))

    def logarithms(self, values: Vector) -> Vector:
        """Return the logarithm of each predicted time."""
        _, _, compute, update = self._times(values)
        return np.asarray(np.log(compute + update))

    def derivatives(self, values: Vector) -> Vector:
        """Return the Jacobian of the logarithms."""
        grown, longer, compute, update = self._times(values)
        factor, whole = compute / longer, compute + update
        moved = np.exp(values[len(KERNEL_PRIORS) : len(self.at)] - self.at[len(KERNEL_PRIORS) :])[:, None]
        by_kernels = compute * grown + self.slopes[: len(KERNEL_PRIORS), :, 1]
        by_time = moved * (factor * self.slopes[len(KERNEL_PRIORS) :, :, 0] + self.slopes[len(KERNEL_PRIORS) :, :, 1])
        return np.hstack([(np.vstack([by_kernels, by_time]) / whole).T, -(compute / whole)[:, None] * self.speeds])

    def _times(self, values: Vector) -> tuple[Vector, Vector, Vector, Vector]:
        """Return how compute grows with the kernels' parameters, compute before them and speeds, and both parts."""
        count = len(KERNEL_PRIORS)
        moved = values[: len(self.at)] - self.at
        before, update = np.where(self.parts > 0, self.parts, 1e-30).T
        grown = self.slopes[:count, :, 0] / before
        later = np.expm1(moved[count:])
        longer = before + later @ self.slopes[count:, :, 0]
        compute = longer * np.exp(moved[:count] @ grown - self.speeds @ values[len(self.at) :])
        update = update + moved[:count] @ self.slopes[:count, :, 1] + later @ self.slopes[count:, :, 1]
        return grown, np.maximum(longer, 1e-30), compute, np.maximum(update, 1e-30)


def _touches(name: str, rate: Observation) -> bool:
    """Return whether parameter *name*, of the law, stands in what *rate* takes."""
    kind, _, of = name.partition(" ")
    return kind == "kernels" or rate.scenario.software.name == of
