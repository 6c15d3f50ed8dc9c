"""The quantities of a scenario, each made of the steps that it needs, each of which is played once."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from lbsim.compute.gradients import ComputeTimes
from lbsim.compute.roofline import compute_times
from lbsim.scenario.plan import Plan
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.anchor import anchor_factor
from lbsim.simulation.step_result import StepResult, simulate_step
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


class ScenarioMetrics:
    """A step of *scenario* on all its GPUs, on those of a node among them, and on one, as far as they are asked for."""

    def __init__(self, scenario: Scenario, shared: "ScenarioMetrics | None" = None) -> None:
        """*shared* are those of a scenario in which a step on one GPU is the same, where there are such."""
        self.scenario = scenario
        self.shared = shared

    @cached_property
    def rated(self) -> ComputeTimes:
        """What one GPU computes in, without an anchor."""
        return self.shared.rated if self.shared else compute_times(self.scenario)

    @cached_property
    def compute_scale(self) -> float:
        """By which an anchor lengthened compute; 1 without one."""
        anchor = self.scenario.anchor
        if self.shared and (anchor is None or anchor.gpus == 1):
            return self.shared.compute_scale
        return anchor_factor(self.scenario, self.rated)

    @cached_property
    def times(self) -> ComputeTimes:
        """What one GPU computes."""
        return self.rated.scaled(self.compute_scale)

    @cached_property
    def all_gpus(self) -> StepResult:
        """The step on all GPUs."""
        return simulate_step(self.scenario, self.times, self.scenario.plan.gpus)

    @cached_property
    def one_node(self) -> StepResult:
        """The step on one node's GPUs."""
        gpus, node = self.scenario.plan.gpus, self.scenario.cluster.gpus_per_node
        return self.all_gpus if gpus <= node else simulate_step(self.scenario, self.times, node)

    @cached_property
    def one_gpu(self) -> StepResult:
        """The step on one GPU."""
        if self.scenario.plan.gpus == 1:
            return self.all_gpus
        if self.shared and self.shared.scenario.plan.gpus > 1:  # or it may have slow parts, and this is of healthy ones
            return self.shared.one_gpu
        return simulate_step(self.scenario, self.times, 1)

    @property
    def breakdown(self) -> Breakdown:
        """Where the seconds of the step go."""
        return breakdown(self.times, self.all_gpus.timeline, self.all_gpus.stretch, self.times.update)

    def value(self, quantity: str) -> float:
        """Return *quantity*, a key of `METRICS`, ``communication_time`` or a part of the breakdown, in SI."""
        if quantity in METRICS:
            return METRICS[quantity](self)
        if quantity == "communication_time":
            return self.all_gpus.timeline.busy("communication")
        part: float = getattr(self.breakdown, quantity.removeprefix("breakdown."))
        return part


def _step_time(metrics: ScenarioMetrics) -> float:
    return metrics.all_gpus.timeline.step_time


METRICS: dict[str, Callable[[ScenarioMetrics], float]] = {
    "throughput": lambda metrics: metrics.scenario.plan.batch / _step_time(metrics),
    "throughput_per_gpu": lambda metrics: metrics.scenario.plan.batch_per_gpu / _step_time(metrics),
    "step_time": _step_time,
    "scaling_efficiency": lambda metrics: metrics.one_gpu.timeline.step_time / _step_time(metrics),
    "scaling_efficiency_vs_node": lambda metrics: metrics.one_node.timeline.step_time / _step_time(metrics),
    "time_to_train": lambda metrics: training_time(
        metrics.scenario.plan, metrics.scenario.workload, _step_time(metrics), metrics.times.forward
    ),
}
"""What has an interval."""


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
