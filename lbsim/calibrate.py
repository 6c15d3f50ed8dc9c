r"""Fits quantities of profiles, by dotted path, to measurements.

The values :math:`x` on their lines (`lbsim.calibration`) minimise

.. math:: \sum_i ρ\left( \frac{\ln \hat y_i(x) - \ln y_i}{σ_i} \right)
    + \sum_k \left( \frac{x_k - x_k^0}{w_k} \right)^2, \qquad ρ(r) = 2 (\sqrt{1 + r^2} - 1)

with :math:`x_k^0` what the profile says and :math:`w_k` how far off profiles are thought to be. :math:`σ_i` is what
the source states, and beside it the noise of what the model leaves, estimated from the residuals themselves. ρ grows
linearly, so that outliers pull little. A value of which the measurements leave more than 80 % of the prior's standard
deviation is not told by them: it stays as it was, and the rest is fitted again.

P. J. Huber, "Robust estimation of a location parameter," Ann. Math. Statist. 35(1), 1964; scipy's least_squares is
imported here alone, late, because it takes half a second to load.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbsim import __version__
from lbsim.calibration import Calibration, Fitted, Line, coordinate, on, owner, value_at
from lbsim.compute import ComputeTimes, compute_times
from lbsim.errors import InputError
from lbsim.memory import check_fits
from lbsim.scenario import Scenario, override
from lbsim.steps import Steps
from lbsim.timing import ALONE

UNTOLD = 0.8
"""Share of the prior's standard deviation above which a value is not told by the measurements."""
_LEAST_UNCERTAINTY = 0.003
"""Relative, of any measurement."""
_PRIOR_NOISE, _PRIOR_COUNT = 0.02, 2.0
"""What the model is thought to leave, and the observations that this is worth."""
_REACH = 4.0
"""Standard deviations of its prior within which a value is looked for."""
_STEP = 0.01
"""On the line, for the derivatives; the model has steps of its own, which a shorter one would fall into."""
_MOST_EVALUATIONS = 10
_NO_COMPUTE = (
    "cluster.inter_node.",
    "cluster.intra_node.",
    "cluster.host.",
    "cluster.node_spread",
    "software.library.",
    "software.straggler_spread",
    "software.overlap_slowdown",
    "software.step_overhead",
)
"""Paths that change nothing about what one GPU computes in."""
_OUTLIER = 3.0

_Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """One measured number, and the scenario in which it was."""

    scenario: Scenario
    quantity: str
    """As in `lbsim.case.QUANTITIES`, or of `lbsim.timing.ALONE`."""
    value: float
    """SI."""
    relative_uncertainty: float = 0.0
    """Standard deviation that its source states."""
    where: str = ""
    """``FILE: FIELD``, for errors."""
    message: float | None = None
    """Bytes, of a quantity of `lbsim.timing.ALONE`."""
    relative_to: Scenario | None = None
    """If there is one, *value* is the quantity divided by the same quantity there."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """One, or two for a ratio."""
        return (self.scenario,) if self.relative_to is None else (self.scenario, self.relative_to)


@dataclass(frozen=True)
class _Prior:
    width: float
    """Standard deviation on the line."""
    line: Line = "log"
    from_zero: float = 0.0
    """Where to start, in SI, if the profile says 0: most likely if it is not."""


_EFFICIENCY = _Prior(0.8, "logit")
_KERNELS = _Prior(0.4, "logit")
_PRIORS = {
    "latency": _Prior(0.7, from_zero=1e-6),
    "efficiency": _EFFICIENCY,
    "per_collective": _Prior(0.7, from_zero=2e-5),
    "per_step": _Prior(0.7, from_zero=2e-6),
    "per_step_inside": _Prior(0.7, from_zero=2e-6),
    "launch_overhead": _Prior(0.7, from_zero=1e-6),
    "kernel_time": _Prior(0.5, from_zero=2e-6),
    "step_overhead": _Prior(1.0, from_zero=1e-3),
    "input_overhead": _Prior(0.7, from_zero=0.02),
    "straggler_spread": _Prior(0.7, from_zero=0.01),
    "node_spread": _Prior(0.7, from_zero=0.01),
    "overlap_slowdown": _Prior(0.7, from_zero=0.05),
    "vector_efficiency": _KERNELS,
    "tensor_efficiency": _KERNELS,
    "memory_efficiency": _KERNELS,
    "backward_efficiency": _KERNELS,
    "vector": _Prior(0.3),
    "tf32": _Prior(0.3),
    "tensor": _Prior(0.3),
}
"""By the last word of the path. A factor of two in what a library or a link costs is what fits of several sources to
the same profile differ by (hardware_profiles/libraries, links); 30 % in speed is what cards not in the fit do."""
_ANY_OTHER = _Prior(0.3)
_BELOW_ONE = {"input_overhead", "straggler_spread", "node_spread", "overlap_slowdown"}
_SURE = 0.97
_UNKNOWN = (0.8, _Prior(1.5, "logit"))
"""Where to look for an efficiency that a profile says is 1, or near it: nothing is known, and 1 is at the end."""


@dataclass(frozen=True)
class _Parameter:
    path: str
    of: str
    before: float
    prior: _Prior

    @property
    def start(self) -> float:
        """On the line."""
        value = self.before or self.prior.from_zero
        unsure = self.prior.line == "logit" and value > _SURE
        return coordinate(_UNKNOWN[0] if unsure else value, self.prior.line)

    @property
    def highest(self) -> float:
        """On the line."""
        reach = self.start + _REACH * self.prior.width
        return min(reach, math.log(0.95)) if self.path.rpartition(".")[2] in _BELOW_ONE else reach


@dataclass
class _Problem:
    """Predictions of all observations as a function of the parameters' places on their lines."""

    observations: Sequence[Observation]
    parameters: Sequence[_Parameter]
    scenarios: list[Scenario] = field(default_factory=list)
    """Distinct ones."""
    uses: list[tuple[int, ...]] = field(default_factory=list)
    """Of each observation: its scenarios."""
    has: list[tuple[int, ...]] = field(default_factory=list)
    """Of each scenario: its parameters."""

    def __post_init__(self) -> None:
        """Find what is the same, so that it is played once."""
        numbers: dict[str, int] = {}
        for one in self.observations:
            keys = [scenario.model_dump_json() for scenario in one.scenarios]
            for key, scenario in zip(keys, one.scenarios, strict=True):
                if key not in numbers:
                    numbers[key] = len(self.scenarios)
                    self.scenarios.append(scenario)
            self.uses.append(tuple(numbers[key] for key in keys))
        for scenario in self.scenarios:
            self.has.append(tuple(k for k, one in enumerate(self.parameters) if _stands_in(scenario, one)))
        self._made: dict[tuple[Any, ...], float] = {}
        self._rated: dict[tuple[float, ...], ComputeTimes] = {}

    def check(self) -> None:
        """Raise InputError for an observation of what cannot run."""
        for one in self.observations:
            try:
                for scenario in one.scenarios:
                    check_fits(scenario)
                    _value(Steps(scenario), one)
            except InputError as error:
                raise InputError(": ".join(part for part in (one.where, str(error)) if part)) from None

    def logarithms(self, places: _Vector, touching: int | None = None) -> _Vector:
        """Return the logarithm of each prediction, or of those alone that parameter *touching* changes."""
        steps: dict[int, Steps] = {}

        def of(number: int, one: Observation) -> float:
            own = tuple(float(places[k]) for k in self.has[number])
            key = (number, one.quantity, one.message, own)
            if key not in self._made:
                if number not in steps:
                    steps[number] = self._steps(number, own)
                self._made[key] = math.log(_value(steps[number], one))
            return self._made[key]

        rows = self.touched(touching)
        values = (
            sum((1 if first else -1) * of(number, self.observations[row]) for first, number in _signed(self.uses[row]))
            for row in rows
        )
        return np.fromiter(values, dtype=float, count=len(rows))

    def touched(self, parameter: int | None) -> list[int]:
        """Return the observations that *parameter* may change; all, if it is none."""
        every = range(len(self.observations))
        if parameter is None:
            return list(every)
        return [row for row in every if any(parameter in self.has[number] for number in self.uses[row])]

    def derivatives(self, places: _Vector, free: Sequence[int]) -> _Vector:
        """Return the change of each logarithm with each of the *free* parameters."""
        here = self.logarithms(places)
        jacobian = np.zeros((len(self.observations), len(free)))
        for column, parameter in enumerate(free):
            moved = places.copy()
            moved[parameter] += _STEP
            rows = self.touched(parameter)
            jacobian[rows, column] = (self.logarithms(moved, parameter) - here[rows]) / _STEP
        return jacobian

    def _steps(self, number: int, places: tuple[float, ...]) -> Steps:
        """Return the steps of a scenario with its parameters at *places*; what a GPU computes in is kept."""
        own = zip(self.has[number], places, strict=True)
        key = (number, *(place for k, place in own if not self.parameters[k].path.startswith(_NO_COMPUTE)))
        scenario = self._moved(number, places)
        if key not in self._rated:
            self._rated[key] = compute_times(scenario)
        return Steps(scenario, self._rated[key])

    def _moved(self, number: int, places: Sequence[float]) -> Scenario:
        """Return a scenario with its parameters at *places*; one that is where the profile has it is left alone."""
        changes = {}
        for k, place in zip(self.has[number], places, strict=True):
            if not math.isnan(place):
                changes[self.parameters[k].path] = on(place, self.parameters[k].prior.line)
        return override(self.scenarios[number], changes)


def fit(observations: Sequence[Observation], paths: Sequence[str], name: str = "calibration") -> Calibration:
    """Return the values at *paths*, of each profile that the observations' scenarios have there.

    ``cluster.inter_node.latency`` is one value for all scenarios over ``ib-edr`` and another for those over
    ``ethernet-10g-tcp``. InputError if there are fewer observations than values that they speak of.
    """
    parameters = _parameters(observations, paths)
    problem = _Problem(observations, parameters)
    problem.check()
    values = np.array([one.value for one in observations])
    target = np.log(values)
    stated = np.maximum([one.relative_uncertainty for one in observations], _LEAST_UNCERTAINTY)
    free = _reached(problem)
    rest = np.full(len(parameters), math.nan)  # where the profile has it
    before = problem.logarithms(rest) - target
    noise = _PRIOR_NOISE
    state = _State(rest, np.zeros((0, 0)), before)
    while free:
        state, noise = _settled(problem, free, target, stated, noise)
        told = _told(state.covariance, [parameters[k].prior.width for k in free])
        if len(told) == len(free):
            break
        free = [free[index] for index in told]
        state = _State(rest, np.zeros((0, 0)), before)
    return _calibration(name, problem, free, state, before, noise, stated)


@dataclass(frozen=True)
class _State:
    """Where a fit came to."""

    places: _Vector
    """Not a number for a parameter that is left alone."""
    covariance: _Vector
    """Of the free ones."""
    residuals: _Vector
    """Logarithm of predicted over observed."""


def _settled(
    problem: _Problem, free: Sequence[int], target: _Vector, stated: _Vector, noise: float
) -> tuple[_State, float]:
    """Fit, learn from what is left how much noise there is, and fit again until that changes little."""
    places = np.full(len(problem.parameters), math.nan)
    places[list(free)] = [problem.parameters[k].start for k in free]
    for _ in range(4):
        state = _fitted(problem, free, places, target, np.hypot(stated, noise))
        found = _noise(state.residuals, stated, len(free))
        places, close = state.places, abs(found - noise) < 0.1 * noise
        noise = found
        if close:
            break
    return state, noise


def _fitted(problem: _Problem, free: Sequence[int], start: _Vector, target: _Vector, sigma: _Vector) -> _State:
    from scipy.optimize import least_squares  # noqa: PLC0415 - late, for start-up time alone

    own = [problem.parameters[k] for k in free]
    middle, widths = np.array([one.start for one in own]), np.array([one.prior.width for one in own])
    count = len(target)
    places = start.copy()

    def at(x: _Vector) -> _Vector:
        places[list(free)] = x
        return places

    def residuals(x: _Vector) -> _Vector:
        return np.concatenate([(problem.logarithms(at(x)) - target) / sigma, (x - middle) / widths])

    def jacobian(x: _Vector) -> _Vector:
        return np.vstack([problem.derivatives(at(x), free) / sigma[:, None], np.diag(1 / widths)])

    result = least_squares(
        residuals,
        start[list(free)],
        jac=jacobian,
        bounds=(middle - _REACH * widths, np.array([one.highest for one in own])),
        loss=_loss(count),  # type: ignore[arg-type]
        x_scale=widths,
        ftol=1e-4,
        xtol=1e-3,
        gtol=1e-4,
        max_nfev=_MOST_EVALUATIONS,
    )
    final = np.array(at(result.x))
    left = problem.logarithms(final) - target
    weights = 1 / np.sqrt(1 + (left / sigma) ** 2)
    slopes = problem.derivatives(final, free) / sigma[:, None]
    information = slopes.T @ (slopes * weights[:, None]) + np.diag(widths**-2.0)
    return _State(final, _inverse(information), left)


def _loss(count: int) -> Callable[[_Vector], _Vector]:
    """Return the loss of squared residuals, with its derivatives: linear in the end for the first *count*."""

    def loss(squares: _Vector) -> _Vector:
        out = np.vstack([squares, np.ones_like(squares), np.zeros_like(squares)])
        root = np.sqrt(1 + squares[:count])
        out[0, :count], out[1, :count], out[2, :count] = 2 * (root - 1), 1 / root, -0.5 / root**3
        return out

    return loss


def _noise(residuals: _Vector, stated: _Vector, parameters: int) -> float:
    """Return the standard deviation of *residuals* that their sources do not state, from their median."""
    freedom = max(0, len(residuals) - parameters)
    share = len(residuals) / freedom if freedom else 0.0
    found = (1.4826 * float(np.median(np.abs(residuals)))) ** 2 * share - float(np.median(stated)) ** 2
    known = _PRIOR_COUNT * _PRIOR_NOISE**2
    return math.sqrt((freedom * max(0.0, found) + known) / (freedom + _PRIOR_COUNT))


def _inverse(matrix: _Vector) -> _Vector:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _told(covariance: _Vector, widths: Sequence[float]) -> list[int]:
    """Return which values the measurements tell, leaving out the one they tell least until all are told."""
    left = list(range(len(widths)))
    information = _inverse(covariance)
    while left:
        spread = np.sqrt(np.diag(_inverse(information[np.ix_(left, left)])))
        shares = [float(spread[index]) / widths[one] for index, one in enumerate(left)]
        worst = int(np.argmax(shares))
        if shares[worst] <= UNTOLD:
            break
        left.pop(worst)
    return left


def _parameters(observations: Sequence[Observation], paths: Sequence[str]) -> list[_Parameter]:
    if not observations:
        raise InputError("nothing was measured that can be fitted to; name traces or cases")
    found: dict[tuple[str, str], _Parameter] = {}
    faults: dict[str, InputError] = {}
    seen: set[int] = set()
    for scenario in (scenario for one in observations for scenario in one.scenarios):
        if id(scenario) in seen:
            continue
        seen.add(id(scenario))
        for path in dict.fromkeys(paths):
            try:
                of, before = owner(scenario, path), value_at(scenario, path)
            except InputError as error:
                faults.setdefault(path, error)
                continue
            prior = _PRIORS.get(path.rpartition(".")[2], _ANY_OTHER)
            if prior.line == "logit" and before > _SURE:
                prior = _UNKNOWN[1]
            if before or prior.from_zero:
                found.setdefault((path, of), _Parameter(path, of, before, prior))
    for path in paths:
        if path in faults and not any(path == one.path for one in found.values()):
            raise faults[path]
    return list(found.values())


def _stands_in(scenario: Scenario, parameter: _Parameter) -> bool:
    try:
        same = owner(scenario, parameter.path) == parameter.of
        return same and math.isclose(value_at(scenario, parameter.path), parameter.before, rel_tol=1e-9)
    except InputError:
        return False


def _reached(problem: _Problem) -> list[int]:
    """Return the parameters that change any prediction; InputError if they are more than the observations."""
    start = np.array([one.start for one in problem.parameters])
    slopes = problem.derivatives(start, range(len(start)))
    reached = [k for k in range(len(start)) if np.any(np.abs(slopes[:, k]) > 1e-9)]
    if len(reached) > len(problem.observations):
        raise InputError(
            f"{len(problem.observations)} observations are too few for {len(reached)} quantities: "
            "add traces, or name fewer quantities, e.g. --vary cluster.inter_node.latency"
        )
    return reached


def _value(steps: Steps, one: Observation) -> float:
    if one.quantity not in ALONE:
        value = steps.value(one.quantity)
    elif one.message is None:
        raise InputError(f"{one.quantity}: of which message? an observation of it has one")
    else:
        value = ALONE[one.quantity](steps.scenario, one.message)
    if not value > 0:
        raise InputError(f"{one.quantity}: predicted to be {value:g} here, so that nothing can be learnt from it")
    return value


def _signed(uses: Sequence[int]) -> list[tuple[bool, int]]:
    """Return the scenarios of an observation, the first of a ratio above the line."""
    return [(place == 0, number) for place, number in enumerate(uses)]


def _calibration(  # noqa: PLR0917
    name: str, problem: _Problem, free: Sequence[int], state: _State, before: _Vector, noise: float, stated: _Vector
) -> Calibration:
    fitted = [_result(problem, k, state, place) for place, k in enumerate(free)]
    errors, first = np.abs(np.expm1(state.residuals)), np.abs(np.expm1(before))
    clusters = sorted({one.scenario.cluster.name for one in problem.observations})
    return Calibration(
        name=name,
        source=f"lbsim calibrate, {len(problem.observations)} observations",
        fitted=tuple(fitted),
        covariance=tuple(tuple(float(f"{cell:.6g}") for cell in row) for row in state.covariance.tolist()),
        untold=tuple(f"{one.path} of {one.of}" for k, one in enumerate(problem.parameters) if k not in free),
        observations=len(problem.observations),
        outliers=int(np.sum(np.abs(state.residuals) > _OUTLIER * np.hypot(stated, noise))),
        mean_error=float(np.mean(errors)),
        max_error=float(np.max(errors)),
        mean_error_before=float(np.mean(first)),
        noise=noise,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        lbsim=__version__,
        clusters=tuple(clusters),
        accelerators=tuple(sorted({one.scenario.cluster.accelerator.name for one in problem.observations})),
    )


def _result(problem: _Problem, k: int, state: _State, place: int) -> Fitted:
    parameter = problem.parameters[k]
    scenario = next(problem.scenarios[number] for number, own in enumerate(problem.has) if k in own)
    value = float(f"{on(float(state.places[k]), parameter.prior.line):.6g}")
    return Fitted(
        path=parameter.path,
        of=parameter.of,
        value=_text(override(scenario, {parameter.path: value}), parameter.path),
        before=_text(scenario, parameter.path),
        line=parameter.prior.line,
        uncertainty=math.sqrt(float(state.covariance[place, place])),
        prior=parameter.prior.width,
    )


def _text(scenario: Scenario, path: str) -> str | float:
    """Return what stands at *path*, with its unit if it has one."""
    above, _, leaf = path.rpartition(".")
    found: str | float = reduce(getattr, above.split("."), scenario).model_dump(mode="json")[leaf]
    return found
