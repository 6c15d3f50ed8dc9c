"""Per-rank simulation of training steps, with differences between ranks and their effect on the step time.

Each rank has its own compute time. A rank enters the collective of a fusion buffer when its gradients are ready and
the previous collective is done. A step starts when the last rank has finished the previous step; steps are therefore
independent, and are simulated together as the columns of an array.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lbsim.communication.collective_time import plan_algorithm
from lbsim.communication.fabric import scenario_fabric
from lbsim.communication.operations import Operation
from lbsim.communication.rank_clocks import Clocks, LinkSlowdown, advance
from lbsim.communication.selection import fastest_protocol
from lbsim.compute.memory import check_fits
from lbsim.compute.roofline import compute_times
from lbsim.errors import InputError
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.anchor import anchor_factor
from lbsim.simulation.rank_variation import RankVariation, link_slowdown
from lbsim.simulation.step_schedule import StepSchedule, Transfer, build_schedule

__all__ = ["RankRuns", "collective_finish_times", "simulate_ranks", "simulate_schedule_per_rank"]

_MOST_CLOCKS = 2**20
"""Maximum of ranks times steps that are simulated together: 8 MiB per array."""


@dataclass(frozen=True)
class RankRuns:
    """Result of a per-rank simulation."""

    ranks: int
    """Number of ranks."""
    seed: int
    """Seed of the random numbers."""
    step_times: tuple[float, ...]
    """Seconds of each step."""
    slowest: tuple[int, ...]
    """Rank that finished backward last, for each step; empty if all ranks have equal compute times."""

    @property
    def mean(self) -> float:
        """Mean step time in seconds."""
        return float(np.mean(self.step_times))

    @property
    def spread(self) -> float:
        """Standard deviation of the step time in seconds."""
        return float(np.std(self.step_times))

    def quantile(self, share: float) -> float:
        """Return the *share* quantile, 0 to 1, of the step time in seconds."""
        return float(np.quantile(self.step_times, share))

    def most_often_slowest(self, most: int = 5) -> tuple[tuple[int, int], ...]:
        """Return the *most* ranks that were slowest most often, each with the number of steps."""
        return tuple(sorted(Counter(self.slowest).items(), key=lambda item: (-item[1], item[0]))[:most])


def simulate_ranks(scenario: Scenario, steps: int = 100) -> RankRuns:
    """Simulate *steps* training steps of *scenario* rank by rank; equal seeds in the plan give equal results.

    InputError if the scenario cannot run, or if the library runs several collectives concurrently.

    >>> runs = simulate_ranks(Scenario.of(gpus=16, cluster="mn-1", software="chainer-2017"), steps=20)
    >>> runs.quantile(0.1) < runs.mean < runs.quantile(0.95)
    True
    """
    plan, cluster, library = scenario.plan, scenario.cluster, scenario.software.library
    if library.streams > 1:
        raise InputError(
            f"software.library.streams: {library.streams}; per rank, collectives run in sequence; set it to 1"
        )
    if steps < 1:
        raise InputError(f"--ranks: {steps} is not a number of steps; write e.g. --ranks 100")
    check_fits(scenario)
    fabric = scenario_fabric(scenario, cluster, plan.gpus)
    rated = compute_times(scenario)
    schedule = build_schedule(scenario, rated.scaled(anchor_factor(scenario, rated)), fabric)
    variation = RankVariation(scenario)
    times: list[float] = []
    slowest: list[int] = []
    columns = max(1, _MOST_CLOCKS // plan.gpus)
    for first in range(0, steps, columns):
        compute = variation.draw(min(columns, steps - first))
        backward, done = simulate_schedule_per_rank(schedule, compute, variation.links)
        times += np.maximum(done.max(axis=0), schedule.input_time).tolist()
        slowest += backward.argmax(axis=0).tolist()
    return RankRuns(plan.gpus, plan.seed, tuple(times), tuple(slowest) if variation.any else ())


def collective_finish_times(
    scenario: Scenario, message: float, operation: Operation, algorithm: str | None = None
) -> tuple[float, ...]:
    """Return the seconds in which each rank finishes *operation* on *message* bytes, entered by all at 0.

    An *algorithm* of None takes the plan's for an all-reduce, and the operation's default otherwise.
    """
    gpus = scenario.plan.gpus
    fabric = scenario_fabric(scenario, scenario.cluster, gpus)
    collective, fabric = fastest_protocol(message, plan_algorithm(scenario, operation, algorithm), fabric)
    done = advance(collective, fabric, np.zeros((gpus, 1)), link_slowdown(scenario.cluster, gpus))
    return tuple(done[:, 0].tolist())


def simulate_schedule_per_rank(
    schedule: StepSchedule, compute: Clocks, links: LinkSlowdown | None = None
) -> tuple[Clocks, Clocks]:
    """Return the times at which each rank ends backward and ends the step, of shape (ranks, steps), in seconds.

    *compute*, of shape (ranks, steps), holds the factors on the compute times of *schedule*; *links* holds the factors
    on the times of each rank's links.
    """
    times, slowdown = schedule.times, schedule.overlap_slowdown
    clock = compute * (times.input_overhead + times.forward)
    sent, pending = np.zeros_like(compute), list[_Busy]()
    done = 0.0
    for transfer in schedule.transfers if schedule.overlap else ():
        clock = _after_compute(clock, compute * (transfer.buffer.ready - done), pending, slowdown)
        done = transfer.buffer.ready
        start = np.maximum(clock + transfer.buffer.delay, sent)
        sent = _after_transfer(transfer, start, links)
        pending = [*(busy for busy in pending if (busy.end > clock).any()), _Busy(start, sent)]
    clock = _after_compute(clock, compute * (times.backward - done), pending, slowdown)
    for transfer in () if schedule.overlap else schedule.transfers:
        sent = _after_transfer(transfer, np.maximum(clock + transfer.buffer.delay, sent), links)
    return clock, np.maximum(clock, sent) + times.update + schedule.overhead


@dataclass(frozen=True)
class _Busy:
    """Start and end of one collective on each rank, in seconds."""

    start: Clocks
    end: Clocks


def _after_compute(clock: Clocks, work: Clocks, pending: Sequence[_Busy], slowdown: float) -> Clocks:
    """Return the clocks after *work* seconds of compute, slowed by the fraction *slowdown* while a collective runs.

    A rank computes at its full rate until a collective starts (a buffer may wait for Horovod's cycle first), and at
    the lower rate until it ends; collectives follow one another in the order of *pending*.
    """
    for busy in pending if slowdown else ():
        free = np.clip(busy.start - clock, 0.0, work)
        clock, work = clock + free, work - free
        beside = np.clip((busy.end - clock) / (1 + slowdown), 0.0, work)
        clock, work = clock + (1 + slowdown) * beside, work - beside
    return clock + work


def _after_transfer(transfer: Transfer, ready: Clocks, links: LinkSlowdown | None) -> Clocks:
    """Return the times at which each rank has copied in, reduced and copied out a buffer."""
    copy = transfer.copy_time / 2
    return advance(transfer.collective, transfer.fabric, ready + copy, links) + copy
