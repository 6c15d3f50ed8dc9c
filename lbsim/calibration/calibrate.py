"""Calibration: fit of profile quantities, by dotted path, to measurements.

`lbsim.calibration.parameters` has the parameters, `lbsim.calibration.priors` their priors, `lbsim.calibration.problem`
the observations and predictions, and `lbsim.calibration.robust_least_squares` the solver. A parameter whose posterior
standard deviation is more than 80 % of the prior's is not determined by the measurements: it keeps the profile's
value, and the others are fitted again.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce

import numpy as np

from lbsim.calibration.calibration import Calibration, Fitted
from lbsim.calibration.parameters import parameters
from lbsim.calibration.problem import CalibrationProblem, FixedSubset
from lbsim.calibration.robust_least_squares import PRIOR_NOISE, RobustFit, Vector, fit_with_noise, inverse
from lbsim.calibration.transforms import from_unconstrained
from lbsim.errors import InputError
from lbsim.measurements.observation import Observation
from lbsim.scenario.scenario import Scenario, override
from lbsim.version import __version__

__all__ = ["UNDETERMINED", "fit"]

UNDETERMINED = 0.8
"""Ratio of the posterior's to the prior's standard deviation above which a parameter is not determined."""
_LEAST_UNCERTAINTY = 0.003
"""Relative uncertainty of a measurement that states less, or none."""
_OUTLIER = 3.0
"""Standard deviations from the prediction beyond which an observation is an outlier."""


def fit(observations: Sequence[Observation], paths: Sequence[str], name: str = "calibration") -> Calibration:
    """Return the fitted values at *paths*, of each profile that the observations' scenarios have there.

    InputError if there are no observations, fewer than parameters that affect a prediction, or one that cannot run.
    """
    if not observations:
        raise InputError("no observations to fit to; name traces or case files")
    problem = CalibrationProblem(
        observations, parameters((here for one in observations for here in one.scenarios), paths)
    )
    problem.check()
    observed = np.log([one.value for one in observations])
    before = FixedSubset(problem, ()).logarithms(np.zeros(0)) - observed
    found = RobustFit(np.zeros(0), np.zeros((0, 0)), before)
    free, noise = _effective(problem), PRIOR_NOISE
    while free:
        priors = [problem.parameters[k].prior for k in free]
        fitted, noise = fit_with_noise(FixedSubset(problem, free), observed, _stated(observations), priors, noise)
        determined = [free[index] for index in _determined(fitted.covariance, [one.width for one in priors])]
        if determined == free:
            found = fitted
            break
        free = determined
    return _calibration(problem, free, found, before, name=name, noise=noise)


def _stated(observations: Sequence[Observation]) -> Vector:
    """Return the relative uncertainty of each observation, as its source states it."""
    return np.maximum([one.measurement.relative_uncertainty for one in observations], _LEAST_UNCERTAINTY)


def _effective(problem: CalibrationProblem) -> list[int]:
    """Return the parameters that change any prediction; InputError if they are more than the observations."""
    start = [one.prior.middle for one in problem.parameters]
    jacobian = problem.derivatives(start, range(len(start)))
    effective = [k for k in range(len(start)) if np.any(np.abs(jacobian[:, k]) > 1e-9)]
    if len(effective) > len(problem.observations):
        raise InputError(
            f"{len(problem.observations)} observations are too few for {len(effective)} quantities: "
            "add traces, or name fewer quantities, e.g. --vary cluster.inter_node.latency"
        )
    return effective


def _determined(covariance: Vector, widths: Sequence[float]) -> list[int]:
    """Return which parameters are determined, without the least determined one, again and again, until all are."""
    left = list(range(len(widths)))
    information = inverse(covariance)
    while left:
        spread = np.sqrt(np.diag(inverse(information[np.ix_(left, left)])))
        shares = [float(spread[index]) / widths[one] for index, one in enumerate(left)]
        worst = int(np.argmax(shares))
        if shares[worst] <= UNDETERMINED:
            break
        left.pop(worst)
    return left


def _calibration(
    problem: CalibrationProblem, free: Sequence[int], found: RobustFit, before: Vector, *, name: str, noise: float
) -> Calibration:
    sigma = np.hypot(_stated(problem.observations), noise)
    errors, first = np.abs(np.expm1(found.residuals)), np.abs(np.expm1(before))
    return Calibration(
        name=name,
        source=f"lbsim calibrate, {len(problem.observations)} observations",
        fitted=tuple(_fitted(problem, k, found, index) for index, k in enumerate(free)),
        covariance=tuple(tuple(float(f"{cell:.6g}") for cell in row) for row in found.covariance.tolist()),
        undetermined=tuple(f"{one.path} of {one.of}" for k, one in enumerate(problem.parameters) if k not in free),
        observations=len(problem.observations),
        outliers=int(np.sum(np.abs(found.residuals) > _OUTLIER * sigma)),
        mean_error=float(np.mean(errors)),
        max_error=float(np.max(errors)),
        mean_error_before=float(np.mean(first)),
        noise=noise,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        lbsim=__version__,
        clusters=tuple(sorted({one.scenario.cluster.name for one in problem.observations})),
        accelerators=tuple(sorted({one.scenario.cluster.accelerator.name for one in problem.observations})),
    )


def _fitted(problem: CalibrationProblem, k: int, found: RobustFit, index: int) -> Fitted:
    parameter = problem.parameters[k]
    scenario = next(problem.scenarios[number] for number, own in enumerate(problem.has) if k in own)
    value = float(f"{from_unconstrained(float(found.values[index]), parameter.prior.transform):.6g}")
    return Fitted(
        path=parameter.path,
        of=parameter.of,
        value=_text(override(scenario, {parameter.path: value}), parameter.path),
        before=_text(scenario, parameter.path),
        line=parameter.prior.transform,
        uncertainty=math.sqrt(float(found.covariance[index, index])),
        prior=parameter.prior.width,
    )


def _text(scenario: Scenario, path: str) -> str | float:
    """Return the value at *path*, with its unit if it has one."""
    above, _, leaf = path.rpartition(".")
    found: str | float = reduce(getattr, above.split("."), scenario).model_dump(mode="json")[leaf]
    return found
