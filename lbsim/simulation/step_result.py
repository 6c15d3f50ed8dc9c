"""Plays one step of a scenario on some number of its GPUs: fuse, all-reduce, simulate."""

from dataclasses import dataclass

from lbsim.communication.fabric import scenario_fabric
from lbsim.compute.gradients import ComputeTimes
from lbsim.profiles.slow_parts import with_slowest_links, without_slow_parts
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.step_schedule import Transfer, build_schedule
from lbsim.simulation.step_simulator import simulate_schedule
from lbsim.simulation.stragglers import compute_slowdown
from lbsim.simulation.timeline import Timeline


@dataclass(frozen=True)
class StepResult:
    """One step as it went."""

    timeline: Timeline
    transfers: tuple[Transfer, ...]
    stretch: float
    """Share by which waiting for the slowest rank lengthens compute."""


def simulate_step(scenario: Scenario, times: ComputeTimes, gpus: int) -> StepResult:
    """Play a step of *scenario* on *gpus* GPUs, each of which computes for *times* when nothing disturbs it."""
    # what a scale is compared with is a healthy machine
    cluster = scenario.cluster if gpus == scenario.plan.gpus else without_slow_parts(scenario.cluster)
    stretch = compute_slowdown(cluster, gpus, scenario.software.straggler_spread)
    fabric = scenario_fabric(scenario, with_slowest_links(cluster, gpus), gpus)
    schedule = build_schedule(scenario, times.scaled(1 + stretch), fabric)
    return StepResult(simulate_schedule(schedule, scenario.software.library.streams), schedule.transfers, stretch)
