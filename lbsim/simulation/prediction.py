"""What a prediction says, and what throughput and efficiency are made of."""

from dataclasses import dataclass

from lbsim.compute.memory import MemoryUse
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import Breakdown
from lbsim.simulation.step_schedule import Transfer
from lbsim.simulation.timeline import Timeline


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
    memory: MemoryUse
    buffers: tuple[Transfer, ...]
    """What travels in a step, in order."""
    timeline: Timeline
    compute_scale: float
    """By which an anchor lengthened compute; 1 without one."""
    calibration: str | None = None
    """Name of the one whose values *scenario* has."""
