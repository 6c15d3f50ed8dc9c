"""Metrics of a scenario: throughput, step time, efficiencies, time to train and breakdown."""

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

__all__ = ["METRICS", "Breakdown", "ScenarioMetrics", "breakdown", "training_time"]


@dataclass(frozen=True)
class Breakdown:
    """Parts of the step time in seconds; their sum is the step time."""

    input: float
    """Waiting for input, and the cost of real input on the GPU."""
    forward: float
    backward: float
    exposed_communication: float
    """Communication not hidden by compute, the slowdown of overlapped compute, and the overhead of a multi-GPU step."""
    stragglers: float
    """Waiting for the slowest rank."""
    update: float
    """Optimizer update."""


class ScenarioMetrics:
    """Lazily simulated steps of a scenario on all its GPUs, on one node and on one GPU, and metrics of them."""

    def __init__(self, scenario: Scenario, shared: "ScenarioMetrics | None" = None) -> None:
        """Create the metrics of *scenario*; nothing is simulated yet.

        *shared* are metrics of a scenario with the same step on one GPU, whose results are reused.
        """
        self.scenario = scenario
        self.shared = shared

    @cached_property
    def rated(self) -> ComputeTimes:
        """Compute times of one GPU without an anchor."""
        return self.shared.rated if self.shared else compute_times(self.scenario)

    @cached_property
    def compute_scale(self) -> float:
        """Factor of the anchor on compute times; 1 without an anchor."""
        anchor = self.scenario.anchor
        if self.shared and (anchor is None or anchor.gpus == 1):
            return self.shared.compute_scale
        return anchor_factor(self.scenario, self.rated)

    @cached_property
    def times(self) -> ComputeTimes:
        """Compute times of one GPU, scaled by the anchor."""
        return self.rated.scaled(self.compute_scale)

    @cached_property
    def all_gpus(self) -> StepResult:
        """Step on all GPUs of the plan."""
        return simulate_step(self.scenario, self.times, self.scenario.plan.gpus)

    @cached_property
    def one_node(self) -> StepResult:
        """Step on the GPUs of one node, or on all GPUs if they are fewer."""
        gpus, node = self.scenario.plan.gpus, self.scenario.cluster.gpus_per_node
        return self.all_gpus if gpus <= node else simulate_step(self.scenario, self.times, node)

    @cached_property
    def one_gpu(self) -> StepResult:
        """Step on one GPU."""
        if self.scenario.plan.gpus == 1:
            return self.all_gpus
        if self.shared and self.shared.scenario.plan.gpus > 1:  # a plan of one GPU may have slow parts
            return self.shared.one_gpu
        return simulate_step(self.scenario, self.times, 1)

    @property
    def breakdown(self) -> Breakdown:
        """Parts of the step time on all GPUs."""
        return breakdown(self.times, self.all_gpus.timeline, self.all_gpus.stretch, self.times.update)

    def value(self, quantity: str) -> float:
        """Return *quantity* in SI: a key of `METRICS`, ``communication_time``, or a part of the breakdown.

        A part is named ``forward`` or ``breakdown.forward``. AttributeError if there is no such quantity.
        """
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
"""Functions of the metrics that have a prediction interval, by name."""


def breakdown(times: ComputeTimes, timeline: Timeline, stretch: float, update: float) -> Breakdown:
    """Return the parts of the step of *timeline*.

    *times* are the compute times without stragglers, *stretch* is the fraction by which stragglers lengthen compute,
    *update* is the time of the optimizer update in seconds.
    """
    compute = times.forward + times.backward
    spans = [span for span in timeline.spans if span.stream == "compute" and span.name == "forward"]
    waited = min((span.start for span in spans), default=times.input_overhead * (1 + stretch))
    stragglers = stretch * (compute + times.input_overhead)
    waiting = max(0.0, waited - stretch * times.input_overhead)
    exposed = timeline.step_time - waiting - compute - stragglers - update
    return Breakdown(waiting, times.forward, times.backward, exposed, stragglers, update)


def training_time(plan: Plan, workload: Workload, step_time: float, forward: float) -> float:
    """Return the seconds of startup and all epochs of *plan*, with validation after each epoch if the plan has it.

    *step_time* is the time of a training step and *forward* that of a forward pass, both in seconds.
    """
    steps = math.ceil(plan.epochs * workload.samples / plan.batch)
    passes = math.floor(plan.epochs) if plan.validate_each_epoch else 0
    validation = passes * math.ceil(workload.validation_samples / plan.batch) * forward
    return plan.startup + steps * step_time + validation
