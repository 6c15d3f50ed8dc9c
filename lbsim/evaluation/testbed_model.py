"""Fits a testbed's links on 2 and 4 hosts, and predicts more hosts, another rate, and plans that were not fitted.

Of what `reports/testbed/measure.py` measured, all-reduces by Gloo's ring and steps by two plans are fitted, at two of
the three rates: the share of the links' rate, the latency of a ring's step, what a collective costs and what a step
costs. Predictions are lbsim's own: its collectives, fusion and simulation, on the testbed as a cluster.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np

from lbsim.calibration import robust_least_squares
from lbsim.calibration.priors import Prior
from lbsim.calibration.robust_least_squares import Vector
from lbsim.communication.all_reduce import hierarchical, ring, two_level
from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric, closed_form
from lbsim.communication.fusion import fuse
from lbsim.compute.gradients import ComputeTimes, GradientTensor
from lbsim.errors import InputError
from lbsim.measurements.trace import Observation, RankTimeline, Setting, Trace, read_trace
from lbsim.measurements.trace_timeline import timelines_of
from lbsim.profiles.hardware import Link
from lbsim.profiles.software import Library
from lbsim.scenario.plan import Plan
from lbsim.simulation.step_schedule import StepSchedule, Transfer
from lbsim.simulation.step_simulator import simulate_schedule
from lbsim.testbed.network import FRAME, PAYLOAD

FITTED_HOSTS, LEFT_OUT_RATE = (2, 4), 10e6
"""Bytes a second: 80 Mb/s."""
FITTED_PLANS = (("one-buffer", False), ("threshold", True))
SMALL = 256 * 1024.0
"""Bytes; smaller messages are a class of their own, as their time is the processors', not the links'."""
PRIORS = {"efficiency": 0.99, "latency": 5e-4, "collective": 5e-4, "step": 2e-3}
"""Where the fit starts, and what it is drawn to, weakly; seconds but the first."""
_COMPUTE = "compute.json"
_WARM_UP = 2
_WIDTH, _REACH, _STEP = math.log(10), 2.0, 1e-3
"""Of a prior in the logarithm, how many of them it is looked for within, and the step of a derivative."""
_NOISE = 0.02
"""Spread of the logarithm of a median, about."""
_SOURCE = "lbsim testbed"
_OF_ALL_REDUCES = {"all_reduce", "message"}
_OF_STEPS = {"all_reduce", "fusion", "overlap", "fusion_threshold", "hybrid_threshold"}
"""Settings that an observation has."""


@dataclass(frozen=True)
class Measured:
    """One thing measured: an all-reduce, or the steps by one plan."""

    quantity: str
    hosts: int
    rate: float
    settings: tuple[tuple[str, Setting], ...]
    seconds: float
    """Median; of steps, of the slowest rank's."""
    low: float
    high: float

    @property
    def said(self) -> dict[str, Setting]:
        """What was chosen."""
        return dict(self.settings)

    @property
    def label(self) -> str:
        """In a word or two."""
        said = self.said
        if self.quantity == "all_reduce":
            return f"{said['all_reduce']} {float(said['message'] or 0) / 1024:.0f} KiB"
        return f"{said['fusion']}{'' if said['overlap'] else ', no overlap'}, {said['all_reduce']}"

    @property
    def group(self) -> str:
        """The class that its error is counted in."""
        if self.quantity == "all_reduce":
            return "all-reduce, 256 KiB and more" if float(self.said["message"] or 0) >= SMALL else "all-reduce, less"
        return "steps without fusion" if self.said["fusion"] == "none" else "steps"

    @property
    def fitted(self) -> bool:
        """Whether the fit sees it."""
        seen = self.hosts in FITTED_HOSTS and self.rate != LEFT_OUT_RATE and self.said["all_reduce"] == "backend"
        return seen and (self.quantity == "all_reduce" or (self.said["fusion"], self.said["overlap"]) in FITTED_PLANS)


def read(folder: Path) -> list[Measured]:
    """Return what the traces in *folder* say was measured."""
    found: list[Measured] = []
    for file in sorted(folder.glob("*x*.json")):
        trace = read_trace(file)
        _check(trace, file)
        found += _of_all_reduces(trace) if trace.measured == "all-reduce" else _of_steps(trace)
    return found


def _check(trace: Trace, file: Path) -> None:
    """Raise InputError for a trace of something else than a testbed."""
    if not isinstance(trace.settings.get("bandwidth"), float | int):
        raise InputError(f"{file}: settings.bandwidth: no rate in bytes a second; was it measured on a testbed?")
    needed = _OF_ALL_REDUCES if trace.measured == "all-reduce" else _OF_STEPS
    for number, observation in enumerate(trace.observations):
        missing = needed - set(observation.settings)
        if missing:
            raise InputError(f"{file}: observations.{number}.settings: no '{min(missing)}'; measure it anew")


def _of_all_reduces(trace: Trace) -> Iterable[Measured]:
    return (_measured(trace, observation, observation.samples) for observation in trace.observations)


def _of_steps(trace: Trace) -> Iterable[Measured]:
    plans: dict[tuple[tuple[str, Setting], ...], list[Observation]] = {}
    for observation in trace.observations:
        plans.setdefault(tuple(observation.settings.items()), []).append(observation)
    for ranks in plans.values():
        slowest = [max(samples) for samples in zip(*(rank.samples for rank in ranks), strict=True)]
        yield _measured(trace, ranks[0], slowest)


def _measured(trace: Trace, observation: Observation, samples: Iterable[float]) -> Measured:
    times = sorted(samples)
    rate = float(trace.settings["bandwidth"] or 0)
    settings = tuple(observation.settings.items())
    return Measured(observation.quantity, trace.gpus, rate, settings, median(times), times[0], times[-1])


def compute(folder: Path) -> tuple[ComputeTimes, ...]:
    """Return the steps that the hosts replayed after the warm-up."""
    recorded = timelines_of(read_trace(folder / _COMPUTE), 0)
    return tuple(_times(timeline) for timeline in recorded[_WARM_UP:])


def _times(timeline: RankTimeline) -> ComputeTimes:
    forward, latest, gradients = timeline.marks["forward"], 0.0, []
    for number, gradient in zip(range(len(timeline.gradients), 0, -1), timeline.gradients, strict=True):
        latest = max(latest, (gradient.ready or 0.0) - forward)
        gradients.append(GradientTensor(gradient.name, number, gradient.elements, latest))
    update = timeline.marks["step"] - timeline.marks["all_reduce"]
    return ComputeTimes(forward, latest, update, 0.0, tuple(gradients))


@dataclass(frozen=True)
class Model:
    """lbsim's own collectives, fusion and simulation, on the testbed as a cluster."""

    computed: tuple[ComputeTimes, ...]
    """The steps that the hosts replay."""
    efficiency: float
    """Beside the share that frames leave to their payload."""
    latency: float
    collective: float
    step: float

    @classmethod
    def of(cls, computed: tuple[ComputeTimes, ...], values: Sequence[float]) -> Self:
        """Return the model at *values*, logarithms relative to the priors."""
        scaled = {name: prior * math.exp(value) for (name, prior), value in zip(PRIORS.items(), values, strict=True)}
        return cls(computed, **scaled | {"efficiency": min(1.0, scaled["efficiency"])})

    def seconds(self, row: Measured) -> float:
        """Return the predicted seconds of *row*."""
        if row.quantity == "all_reduce":
            return closed_form(*self.carried(float(row.said["message"] or 0), row))
        return median(self._step(times, row) for times in self.computed)

    def _step(self, times: ComputeTimes, row: Measured) -> float:
        said = row.said
        plan = Plan(
            gpus=row.hosts,
            communication_precision="fp32",
            fusion=str(said["fusion"]),
            fusion_threshold=float(said["fusion_threshold"] or 0),
        )
        gradients = times.gradients
        if not said["overlap"]:
            gradients = tuple(replace(gradient, ready=times.backward) for gradient in gradients)
        transfers = tuple(Transfer(b, *self.carried(b.message, row)) for b in fuse(gradients, plan))
        return simulate_schedule(StepSchedule(times, transfers, bool(said["overlap"]), overhead=self.step)).step_time

    def carried(self, message: float, row: Measured) -> tuple[Collective, Fabric]:
        """Return what carries *message* under the plan of *row*, and over what."""
        name = str(row.said["all_reduce"])
        if name == "hybrid":
            name = "backend" if message >= float(row.said["hybrid_threshold"] or 0) else "hierarchical"
        fabric = self.fabric(row, 2 if name == "two-level" else 1)
        if name == "backend":
            return ring.all_reduce(message, fabric), fabric
        if name == "two-level":  # the harness's groups as nodes of two hosts, each with a link of its own
            return two_level.all_reduce(message, fabric), fabric
        return hierarchical.all_reduce(message, fabric), fabric

    def fabric(self, row: Measured, hosts_per_node: int) -> Fabric:
        """Return the testbed of *row* as the fabric of a cluster."""
        share = self.efficiency * PAYLOAD / FRAME
        link = Link(name="veth", source=_SOURCE, latency=self.latency, bandwidth=row.rate, efficiency=share)
        library = self.library().model_copy(update={"per_collective": self.collective, "per_step": 0.0})
        return Fabric(row.hosts, hosts_per_node, link, link, hosts_per_node, library, 2)

    def library(self) -> Library:
        """Return what the hosts communicate with, but for its costs, which are fitted."""
        return Library.load("gloo")


@dataclass(frozen=True)
class _Problem:
    """The logarithms of what a kind of model predicts for *rows*, as a function of its values."""

    rows: Sequence[Measured]
    computed: tuple[ComputeTimes, ...]
    kind: type[Model]

    def logarithms(self, places: Vector) -> Vector:
        model = self.kind.of(self.computed, places.tolist())
        return np.array([math.log(model.seconds(row)) for row in self.rows])

    def derivatives(self, places: Vector) -> Vector:
        here = self.logarithms(places)
        moved = (places - _STEP * unit for unit in np.eye(len(places)))  # down, for an efficiency may be at its highest
        return np.column_stack([(here - self.logarithms(there)) / _STEP for there in moved])


def fit(rows: Sequence[Measured], computed: tuple[ComputeTimes, ...], kind: type[Model] = Model) -> Model:
    """Return the model that fits *rows*, robustly and in log space, its values drawn to their priors."""
    wide = _REACH * _WIDTH
    priors = [
        Prior("log", 0.0, _WIDTH, -wide, -math.log(start) if name == "efficiency" else wide)
        for name, start in PRIORS.items()
    ]
    observed = np.log([row.seconds for row in rows])
    found = robust_least_squares.fit(_Problem(rows, computed, kind), observed, np.full(len(rows), _NOISE), priors)
    return kind.of(computed, found.places.tolist())
