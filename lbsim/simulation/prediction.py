"""What a prediction says, and what throughput and efficiency are made of."""

import math
from dataclasses import dataclass

from lbsim.compute.gradients import ComputeTimes
from lbsim.compute.memory import Memory
from lbsim.scenario.plan import Plan
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.step_simulator import Transfer
from lbsim.simulation.timeline import Timeline
from lbsim.workload.layers import Workload


@dataclass(frozen=True)
class Breakdown:
    """Where the seconds of a step go; the parts add up to the step."""

    input: float
    """Waiting for input, and what preparing it costs the GPU."""
    forward: float
    backward: float
    exposed_communication: float
    """Communication that compute does not hide, compute that it slowed, and the constant of a multi-GPU step."""
    stragglers: float
    """Waiting for the slowest rank."""
    update: float


@dataclass(frozen=True)
class Range:
    """An interval's ends."""

    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """Within which the truth lies with probability *level*, quantity by quantity, and why it is as wide as it is."""

    level: float
    ranges: dict[str, Range]
    reason: str


@dataclass(frozen=True)
class Prediction:
    """The answer for one scenario: seconds, samples a second, bytes and shares."""

    scenario: Scenario
    throughput: float
    """Samples a second over all GPUs."""
    throughput_per_gpu: float
    step_time: float
    scaling_efficiency: float
    """Throughput a GPU compared with one GPU alone."""
    scaling_efficiency_vs_node: float
    """Throughput a GPU compared with one node alone."""
    time_to_train: float
    """Seconds for the plan's epochs."""
    breakdown: Breakdown
    communication_time: float
    """Seconds of communication in a step, hidden or not."""
    interval: Interval
    memory: Memory
    buffers: tuple[Transfer, ...]
    """What travels in a step, in order."""
    timeline: Timeline
    compute_scale: float
    """By which an anchor lengthened compute; 1 without one."""
    calibration: str | None = None
    """Name of the one whose values *scenario* has."""


def breakdown(times: ComputeTimes, timeline: Timeline, stretch: float, update: float) -> Breakdown:
    """Return where the step of *timeline* goes, for compute *times* that stragglers lengthened by *stretch*."""
    compute = times.forward + times.backward
    spans = [span for span in timeline.spans if span.stream == "compute" and span.name == "forward"]
    waited = min((span.start for span in spans), default=times.input_overhead * (1 + stretch))
    stragglers = stretch * (compute + times.input_overhead)
    waiting = max(0.0, waited - stretch * times.input_overhead)
    exposed = timeline.step_time - waiting - compute - stragglers - update
    return Breakdown(waiting, times.forward, times.backward, exposed, stragglers, update)


def training_time(plan: Plan, workload: Workload, step_time: float, forward: float) -> float:
    """Return the seconds of the plan's epochs, with a forward pass over the validation set after each if it says so."""
    steps = math.ceil(plan.epochs * workload.samples / plan.batch)
    passes = math.floor(plan.epochs) if plan.validate_each_epoch else 0
    validation = passes * math.ceil(workload.validation_samples / plan.batch) * forward
    return plan.startup + steps * step_time + validation
