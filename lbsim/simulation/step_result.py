"""Simulated step of a scenario on a given number of GPUs: schedule, simulation and result."""

from dataclasses import dataclass

from lbsim.communication.fabric import scenario_fabric
from lbsim.compute.gradients import ComputeTimes
from lbsim.profiles.slow_parts import with_slowest_links, without_slow_parts
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.step_schedule import Transfer, build_schedule
from lbsim.simulation.step_simulator import simulate_schedule
from lbsim.simulation.stragglers import compute_slowdown
from lbsim.simulation.timeline import Timeline

__all__ = ["StepResult", "simulate_step"]


@dataclass(frozen=True)
class StepResult:
    """Result of a simulated step."""

    timeline: Timeline
    """Spans of the step in steady state."""
    transfers: tuple[Transfer, ...]
    """Messages of the step in the order in which they are sent."""
    stretch: float
    """Fraction by which waiting for the slowest rank lengthens compute."""


def simulate_step(scenario: Scenario, times: ComputeTimes, gpus: int) -> StepResult:
    """Return the step of *scenario* on *gpus* GPUs, with compute *times* of a GPU without stragglers.

    If *gpus* are not the plan's GPUs, the step is the reference of an efficiency and runs without slow parts.

    InputError if the all-reduce does not fit the number of GPUs, or a slow part is beyond the last GPU.
    """
    cluster = scenario.cluster if gpus == scenario.plan.gpus else without_slow_parts(scenario.cluster)
    stretch = compute_slowdown(cluster, gpus, scenario.software.straggler_spread)
    fabric = scenario_fabric(scenario, with_slowest_links(cluster, gpus), gpus)
    schedule = build_schedule(scenario, times.scaled(1 + stretch), fabric)
    return StepResult(simulate_schedule(schedule, scenario.software.library.streams), schedule.transfers, stretch)
