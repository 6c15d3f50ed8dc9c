"""Predictions: throughput, efficiency, time to train, their intervals and breakdown."""

from dataclasses import dataclass

from lbsim.compute.memory import MemoryUse
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import Breakdown
from lbsim.simulation.step_schedule import Transfer
from lbsim.simulation.timeline import Timeline

__all__ = ["Interval", "Prediction", "Range"]


@dataclass(frozen=True)
class Range:
    """Bounds of an interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """Prediction intervals of the metrics."""

    level: float
    """Probability with which the true value of a metric lies in its interval."""
    ranges: dict[str, Range]
    """Bounds by metric, in the metric's unit."""
    reason: str
    """Explanation of the width."""


@dataclass(frozen=True)
class Prediction:
    """Prediction for a scenario."""

    scenario: Scenario
    """Scenario of the prediction, with the values of the calibration."""
    throughput: float
    """Samples per second over all GPUs."""
    throughput_per_gpu: float
    """Samples per second per GPU."""
    step_time: float
    """Seconds per step."""
    scaling_efficiency: float
    """Throughput per GPU relative to a run on one GPU."""
    scaling_efficiency_vs_node: float
    """Throughput per GPU relative to a run on one node."""
    time_to_train: float
    """Seconds for all epochs of the plan."""
    breakdown: Breakdown
    """Parts of the step time."""
    communication_time: float
    """Seconds of communication per step, overlapped or exposed."""
    interval: Interval
    """Prediction intervals of the metrics."""
    memory: MemoryUse
    """Bytes of memory on each GPU."""
    buffers: tuple[Transfer, ...]
    """Messages of a step in the order in which they are sent."""
    timeline: Timeline
    """Spans of a step in steady state."""
    compute_scale: float
    """Factor of the anchor on compute times; 1 without an anchor."""
    calibration: str | None = None
    """Name of the calibration; None without one."""
