r"""Fits corrections to some published observations and predicts others that the fit has not seen.

A correction :math:`x_k` moves one number of the scenarios: an efficiency or a spread by the factor :math:`e^{x_k}`, a
constant of each step by so many seconds. The logarithms of the predictions are taken for linear in them, around what
the profiles say, and :math:`x` minimises

.. math:: \sum_i w_i \left( \frac{r_i + J_i x}{σ} \right)^2 + \sum_k \left( \frac{x_k}{s_k} \right)^2

with Huber's weights :math:`w_i`, so that outliers pull little; what is left out is then predicted exactly. Observations
whose role is ``validate`` are predicted, never fitted to. Where a profile itself was fitted to a file's rows, the file
says from where to start in its place (`lbsim.case.CaseFile.unfitted`).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lbsim.calibration import owner, value_at
from lbsim.case import CaseFile, Observed, case_files, read_case_file
from lbsim.catalog import PUBLISHED_CASES, Folders
from lbsim.errors import InputError
from lbsim.question import ask
from lbsim.scenario import Scenario, override
from lbsim.steps import Steps
from lbsim.timing import time_all_reduce

Kind = Literal["system", "scale", "model"]
KINDS: tuple[Kind, ...] = ("system", "scale", "model")
_NOISE = 0.03
"""What a prediction of the scaling of several GPUs leaves, in the logarithm, beside the spread of the figure itself."""
_HUBER = 2.0
_ROUNDS = 4
_CONSTANT = "software.step_overhead"
_STEPS = {
    "cluster.intra_node.efficiency": 0.4,
    "cluster.inter_node.efficiency": 0.4,
    "software.straggler_spread": 0.7,
    _CONSTANT: 0.01,
}
_ALL_REDUCE = {
    "cluster.intra_node.efficiency": 0.4,
    "cluster.inter_node.efficiency": 0.4,
    "software.library.per_step": 0.7,
    "software.library.per_step_inside": 0.7,
    "software.library.per_collective": 0.7,
}
"""What is fitted, and the standard deviation of what it is off by: of a logarithm, in seconds for a constant."""
_FAMILIES = {
    "scaling, fp32": _STEPS,
    "scaling, mixed": _STEPS,
    "fusion policies": {**_STEPS, "software.overlap_slowdown": 0.7},
    "all-reduce": _ALL_REDUCE,
}
"""Classes, by how their names begin, whose observations speak of the same numbers."""

_NOISES = {"all-reduce": 0.08}
"""What a prediction leaves where it is more: of all-reduces, what links and protocols differ by from size to size."""
_LINEARISED = {"all-reduce": 3}
"""How often the logarithms are taken for linear anew, where the fit then is: of all-reduces, quick to time."""

_Key = tuple[str, str]


@dataclass(frozen=True)
class Case:
    """One observation that can be left out."""

    file: CaseFile
    observed: Observed
    scenario: Scenario
    """With what the profiles would say without its file's system, where the file knows."""
    family: str
    shipped: Scenario
    """With what the profiles say."""

    def logarithm(self, corrections: dict[_Key, float]) -> float:
        """Return ln(predicted / observed) with these corrections."""
        changes = {}
        for (path, of), by in corrections.items():
            if of in {"", owner(self.scenario, path)}:
                before = value_at(self.scenario, path)
                after = max(0.0, before + by) if path == _CONSTANT else before * math.exp(by)
                changes[path] = min(after, 1.0) if path.endswith("efficiency") else after
        scenario = override(self.scenario, changes)
        if self.observed.message is None:
            return math.log(Steps(scenario).value(self.observed.quantity) / self.observed.si)
        timing = time_all_reduce(scenario, self.observed.message)
        value = timing.time if self.observed.quantity == "all_reduce_time" else timing.bus_bandwidth
        return math.log(value / self.observed.si)


@dataclass(frozen=True)
class LeftOut:
    """One observation, and how far off its prediction was when it was left out."""

    case: Case
    residual: float
    """ln(predicted / observed)."""
    as_shipped: float
    """The same with what the profiles say, which is what `lbsim predict` uses."""
    fitted_to: int
    """Observations in the fit."""

    @property
    def outlier(self) -> bool:
        """Whether the case says that something else than lbsim models decides it."""
        return (
            self.case.family != "fusion policies"
            and self.case.observed.role == "validate"
            and bool(self.case.observed.note)
        )


@dataclass
class _Slopes:
    """Predictions and their derivatives; those where the profiles are, which every fold needs, are made once."""

    made: dict[tuple[str, _Key | None], float] = field(default_factory=dict)

    def residual(self, case: Case, place: dict[_Key, float]) -> float:
        return self._made(case, None, place, lambda: case.logarithm(place))

    def as_shipped(self, case: Case) -> float:
        if case.scenario == case.shipped:
            return self.residual(case, {})
        return replace(case, scenario=case.shipped).logarithm({})

    def slope(self, case: Case, key: _Key, deviation: float, place: dict[_Key, float]) -> float:
        step = deviation / 4

        def difference() -> float:
            moved = place | {key: place.get(key, 0.0) + step}
            return (case.logarithm(moved) - self.residual(case, place)) / step

        return self._made(case, key, place, difference)

    def _made(self, case: Case, key: _Key | None, place: dict[_Key, float], make: Callable[[], float]) -> float:
        if place:
            return make()
        at = (case.observed.id, key)
        if at not in self.made:
            self.made[at] = make()
        return self.made[at]


def cases(place: Path = PUBLISHED_CASES) -> list[Case]:
    """Return the observations in *place* of several GPUs that a fit may be asked about."""
    found = []
    for file in case_files(place):
        content = read_case_file(file)
        for observed in content.observed:
            family = next((name for name in _FAMILIES if observed.class_.startswith(name)), None)
            if family is not None and observed.relative_to is None:
                scenario = ask(content.scenario, observed.set, Folders(beside=file.parent.absolute()))
                folders = Folders(beside=file.parent.absolute())
                unfitted = ask(content.scenario, observed.set | content.unfitted | observed.unfitted, folders)
                found.append(Case(content, observed, unfitted, family, scenario))
    return found


def leave_out(kind: Kind, place: Path = PUBLISHED_CASES) -> list[LeftOut]:
    """Return each observation in *place* that can be predicted from others than its own system, scale or model.

    ``system``: from the other systems, with corrections that all share; of scaling alone, because the profiles were
    fitted to the systems with fusion policies and all-reduces. ``scale``: the largest scale of a system from its
    smaller ones; of all-reduces each number of GPUs from the others. ``model``: from the system's other models, and
    for an all-reduce from its other sizes.
    """
    known, slopes, found = cases(place), _Slopes(), []
    for rest, unseen in _folds(kind, known):
        training = [case for case in rest if case.observed.role == "calibrate"]
        if training:
            corrections = _fit(training, slopes, shared=kind == "system")
            found += [
                LeftOut(case, case.logarithm(corrections), slopes.as_shipped(case), len(training)) for case in unseen
            ]
    if not found:
        raise InputError(f"--leave-out {kind}: no case in '{place}' can be predicted from the others there")
    return found


def _folds(kind: Kind, known: Sequence[Case]) -> Iterable[tuple[list[Case], list[Case]]]:
    """Return what is fitted to and what is predicted from it, fold by fold."""
    if kind == "system":
        for family, group in _groups(known, lambda case: case.family):
            if family.startswith("scaling"):
                for system, unseen in _groups(group, lambda case: case.file.system):
                    yield [case for case in group if case.file.system != system], unseen
        return
    for _, group in _groups(known, lambda case: f"{case.file.system}, {case.family}"):
        if kind == "scale" and group[0].family == "all-reduce":
            for gpus, unseen in _groups(group, lambda case: str(case.scenario.plan.gpus)):
                yield [case for case in group if str(case.scenario.plan.gpus) != gpus], unseen
        elif kind == "scale":
            largest = max(case.scenario.plan.gpus for case in group)
            smaller = [case for case in group if case.scenario.plan.gpus < largest]
            yield from _per_model(smaller, [case for case in group if case.scenario.plan.gpus == largest])
        else:
            for name, unseen in _groups(group, _what):
                yield [case for case in group if _what(case) != name], unseen


def _per_model(smaller: list[Case], largest: list[Case]) -> Iterable[tuple[list[Case], list[Case]]]:
    """Return one fold for each model, which may have a constant a step of its own; all-reduces have none."""
    if any(case.observed.message is not None for case in largest):
        yield smaller, largest
        return
    for model, unseen in _groups(largest, lambda case: case.scenario.model):
        yield [case for case in smaller if case.scenario.model == model], unseen


def _what(case: Case) -> str:
    return case.scenario.model if case.observed.message is None else f"{case.observed.message:.0f} B"


def _groups(known: Iterable[Case], key: Callable[[Case], str]) -> Iterable[tuple[str, list[Case]]]:
    grouped: dict[str, list[Case]] = {}
    for case in known:
        grouped.setdefault(key(case), []).append(case)
    return grouped.items()


def _fit(training: Sequence[Case], slopes: _Slopes, *, shared: bool) -> dict[_Key, float]:
    """Return the corrections that explain *training*: one for each profile, or one that all profiles share."""
    import numpy as np  # noqa: PLC0415  late, because validate alone needs none of it

    family = training[0].family
    deviations = _FAMILIES[family]
    own = [
        {path: (path, "" if shared else owner(case.scenario, path)) for path in deviations if _has(case.scenario, path)}
        for case in training
    ]
    keys = sorted({key for each in own for key in each.values()})
    noise = _NOISES.get(family, _NOISE)
    sigma = np.array([math.hypot(noise, case.observed.relative_uncertainty) for case in training])
    prior = np.diag([1 / deviations[path] ** 2 for path, _ in keys])
    bounds = np.array([2 * deviations[path] for path, _ in keys])
    moved = np.zeros(len(keys))
    for around in range(_LINEARISED.get(family, 1)):
        place = dict(zip(keys, moved.tolist(), strict=True)) if around else {}
        jacobian = np.zeros((len(training), len(keys)))
        for row, (case, each) in enumerate(zip(training, own, strict=True)):
            for path, key in each.items():
                jacobian[row, keys.index(key)] = slopes.slope(case, key, deviations[path], place)
        residual = np.array([slopes.residual(case, place) for case in training]) - jacobian @ moved
        for _ in range(_ROUNDS):
            off = np.abs(residual + jacobian @ moved) / sigma
            weighted = jacobian.T * (np.minimum(1.0, _HUBER / np.maximum(off, 1e-9)) / sigma**2)
            moved = np.clip(np.linalg.solve(weighted @ jacobian + prior, -weighted @ residual), -bounds, bounds)
    return dict(zip(keys, moved.tolist(), strict=True))


def _has(scenario: Scenario, path: str) -> bool:
    """Return whether *scenario* has a number of its own at *path*; a library may say nothing of steps inside a node."""
    return not (path.endswith("per_step_inside") and scenario.software.library.per_step_inside is None)


def half_width(residuals: Iterable[float], level: float = 0.9) -> float:
    r"""Return the half-width that holds the next one with probability *level*, from the absolute *residuals* so far.

    The :math:`\lceil (n + 1) \, level \rceil`-th smallest of n, or the largest if there are too few.

    J. Lei et al., "Distribution-free predictive inference for regression," J. Amer. Stat. Assoc. 113(523), 2018.

    >>> half_width([0.1, -0.3, 0.2], 0.5)
    0.2
    """
    ordered = sorted(map(abs, residuals))
    return ordered[min(len(ordered), math.ceil((len(ordered) + 1) * level)) - 1]


@dataclass(frozen=True)
class Target:
    """What is to be reached, both relative."""

    mean: float
    worst: float


TARGETS: dict[tuple[Kind, str], Target] = {
    ("system", "scaling, fp32 in a node"): Target(0.04, 0.15),
    ("system", "scaling, fp32 across nodes"): Target(0.04, 0.15),
    ("system", "scaling, mixed in a node"): Target(0.08, 0.25),
    ("system", "scaling, mixed across nodes"): Target(0.15, 0.40),
    ("scale", "fusion policies"): Target(0.025, 0.10),
    ("scale", "all-reduce"): Target(0.08, 0.20),
    ("model", "all-reduce"): Target(0.08, 0.20),
}
"""By what is left out and class."""
COVERAGE = (0.85, 0.95)
"""Share of the left-out observations that 90 % intervals are to hold."""


@dataclass(frozen=True)
class Summary:
    """How well the observations of one class were predicted when they were left out."""

    class_: str
    count: int
    outliers: int
    """Of the count, that the errors leave out; the interval does not."""
    mean: float
    """Absolute relative error."""
    worst: float
    worst_id: str
    coverage: float
    """Share inside 90 % intervals as wide as the residuals of the other systems, or of the other models of one, ask."""
    half_width: float
    """Median of these intervals' half-widths, in the logarithm."""
    coverage_as_shipped: float
    """The same of predictions with what the profiles say."""
    half_width_as_shipped: float
    """What ``hardware_profiles/residuals`` takes."""
    target: Target | None

    @property
    def factor(self) -> float:
        """By how much the upper end of the median interval is above the prediction."""
        return math.expm1(self.half_width)

    @property
    def reached(self) -> bool | None:
        """Whether both errors are; none if nothing is asked."""
        if self.target is None:
            return None
        return self.mean <= self.target.mean and self.worst <= self.target.worst


def summaries(kind: Kind, results: Iterable[LeftOut]) -> list[Summary]:
    """Return one summary for each class."""
    classes: dict[str, list[LeftOut]] = {}
    for result in results:
        classes.setdefault(result.case.observed.class_, []).append(result)
    return [_summary(kind, class_, group) for class_, group in sorted(classes.items())]


def _summary(kind: Kind, class_: str, results: Sequence[LeftOut]) -> Summary:
    inliers = [result for result in results if not result.outlier] or list(results)
    errors = [abs(math.exp(result.residual) - 1) for result in inliers]
    widths, coverage = _intervals(results, [result.residual for result in results])
    shipped, shipped_coverage = _intervals(results, [result.as_shipped for result in results])
    return Summary(
        class_=class_,
        count=len(results),
        outliers=len(results) - len(inliers),
        mean=sum(errors) / len(errors),
        worst=max(errors),
        worst_id=max(inliers, key=lambda one: abs(math.exp(one.residual) - 1)).case.observed.id,
        coverage=coverage,
        half_width=widths,
        coverage_as_shipped=shipped_coverage,
        half_width_as_shipped=shipped,
        target=TARGETS.get((kind, class_)),
    )


def _intervals(results: Sequence[LeftOut], residuals: Sequence[float]) -> tuple[float, float]:
    """Return the median half-width of the results' intervals, each from the others' residuals, and the share inside."""
    several = len({result.case.file.system for result in results}) > 1
    widths = []
    for result in results:
        others = [
            residual
            for one, residual in zip(results, residuals, strict=True)
            if _strangers(one.case, result.case, several=several)
        ]
        widths.append(half_width(others or residuals))
    inside = [abs(residual) <= width for residual, width in zip(residuals, widths, strict=True)]
    return sorted(widths)[len(widths) // 2], sum(inside) / len(inside)


def _strangers(one: Case, other: Case, *, several: bool) -> bool:
    return one.file.system != other.file.system if several else _what(one) != _what(other)
