"""Testbed model: links fitted on 2 and 4 hosts, then more hosts, another rate and other plans predicted.

The parameters are the efficiency of the links, the latency of a ring's step, the time per collective and the time per
step. Predictions use lbsim's collectives, fusion and simulation, with the testbed as a cluster.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from lbsim.compute.gradients import ComputeTimes
from lbsim.evaluation.testbed_measurements import TestbedMeasurements, TestbedSetup
from lbsim.profiles.hardware import Link
from lbsim.profiles.software import Library
from lbsim.scenario.plan import Plan
from lbsim.simulation.step_schedule import StepSchedule, Transfer
from lbsim.simulation.step_simulator import simulate_schedule
from lbsim.testbed.network import FRAME, PAYLOAD

PRIORS = {"efficiency": 0.99, "latency": 5e-4, "collective": 5e-4, "step": 2e-3}
"""Means of the weak priors, where the fit starts; seconds, but the efficiency a fraction."""
_WIDTH, _REACH, _STEP = math.log(10), 2.0, 1e-3
"""Standard deviation of a prior in the logarithm, its multiples to the bounds, and the step of derivatives."""
_NOISE = 0.02
"""Approximate standard deviation of the logarithm of a median."""
_SOURCE = "lbsim testbed"


@dataclass(frozen=True)
class Model:
    """lbsim's own collectives, fusion and simulation, on the testbed as a cluster."""

    computed: tuple[ComputeTimes, ...]
    """Compute times of the steps that the hosts replay."""
    efficiency: float
    """Fraction of the rate, beyond the share that frames leave to their payload."""
    latency: float
    collective: float
    step: float

    @classmethod
    def of(cls, computed: tuple[ComputeTimes, ...], values: Sequence[float]) -> Self:
        """Return the model at *values*, logarithms relative to the priors."""
        scaled = {name: prior * math.exp(value) for (name, prior), value in zip(PRIORS.items(), values, strict=True)}
        return cls(computed, **scaled | {"efficiency": min(1.0, scaled["efficiency"])})

    def seconds(self, setup: TestbedSetup) -> float:
        """Return the predicted seconds of *setup*."""
        if setup.quantity == "all_reduce":
            return closed_form(*self.carried(float(setup.options["message"] or 0), setup))
        return median(self._step(times, setup) for times in self.computed)

    def _step(self, times: ComputeTimes, setup: TestbedSetup) -> float:
        options = setup.options
        plan = Plan(
            gpus=setup.hosts,
            communication_precision="fp32",
            fusion=str(options["fusion"]),
            fusion_threshold=float(options["fusion_threshold"] or 0),
        )
        gradients = times.gradients
        if not options["overlap"]:
            gradients = tuple(replace(gradient, ready=times.backward) for gradient in gradients)
        transfers = tuple(Transfer(b, *self.carried(b.message, setup)) for b in fuse(gradients, plan))
        return simulate_schedule(StepSchedule(times, transfers, bool(options["overlap"]), overhead=self.step)).step_time

    def carried(self, message: float, setup: TestbedSetup) -> tuple[Collective, Fabric]:
        """Return the collective that carries *message* under the plan of *setup*, and its fabric."""
        name = str(setup.options["all_reduce"])
        if name == "hybrid":
            name = "backend" if message >= float(setup.options["hybrid_threshold"] or 0) else "hierarchical"
        fabric = self.fabric(setup, 2 if name == "two-level" else 1)
        if name == "backend":
            return ring.all_reduce(message, fabric), fabric
        if name == "two-level":  # the harness's groups as nodes of two hosts, each with a link of its own
            return two_level.all_reduce(message, fabric), fabric
        return hierarchical.all_reduce(message, fabric), fabric

    def fabric(self, setup: TestbedSetup, hosts_per_node: int) -> Fabric:
        """Return the testbed of *setup* as the fabric of a cluster."""
        share = self.efficiency * PAYLOAD / FRAME
        link = Link(name="veth", source=_SOURCE, latency=self.latency, bandwidth=setup.rate, efficiency=share)
        library = self.library().model_copy(update={"per_collective": self.collective, "per_step": 0.0})
        return Fabric(setup.hosts, hosts_per_node, link, link, hosts_per_node, library, 2)

    def library(self) -> Library:
        """Return the communication library of the hosts; its costs are fitted."""
        return Library.load("gloo")


@dataclass(frozen=True)
class _Problem:
    """ln(predicted seconds) of *setups* by a class of models, as a function of its values."""

    setups: Sequence[TestbedSetup]
    computed: tuple[ComputeTimes, ...]
    kind: type[Model]

    def logarithms(self, values: Vector) -> Vector:
        model = self.kind.of(self.computed, values.tolist())
        return np.array([math.log(model.seconds(setup)) for setup in self.setups])

    def derivatives(self, values: Vector) -> Vector:
        here = self.logarithms(values)
        moved = (values - _STEP * unit for unit in np.eye(len(values)))  # down, for an efficiency may be at its highest
        return np.column_stack([(here - self.logarithms(there)) / _STEP for there in moved])


def fit(measured: TestbedMeasurements, computed: tuple[ComputeTimes, ...], kind: type[Model] = Model) -> Model:
    """Return the model that fits *measured*, robustly and in log space, its values drawn to their priors."""
    wide = _REACH * _WIDTH
    priors = [
        Prior("log", 0.0, _WIDTH, -wide, -math.log(start) if name == "efficiency" else wide)
        for name, start in PRIORS.items()
    ]
    observed = np.log([one.value for one in measured.values()])
    problem = _Problem(list(measured), computed, kind)
    found = robust_least_squares.fit(problem, observed, np.full(len(measured), _NOISE), priors)
    return kind.of(computed, found.values.tolist())
