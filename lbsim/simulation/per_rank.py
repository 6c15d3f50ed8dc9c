"""Each rank's clock through steps of training: who varies, by how much, and what that makes of a step's time.

A rank computes its own time; each fusion buffer's collective starts where a rank has its gradients and the one before
is done. Every step starts when the last rank is done with the one before, so steps are columns that are played at once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lbsim.communication.fabric import fastest_protocol, scenario_fabric
from lbsim.communication.rank_clocks import Clocks, LinkSlowdown, advance
from lbsim.compute.memory import check_fits
from lbsim.compute.roofline import compute_times
from lbsim.errors import InputError
from lbsim.profiles.module_catalog import find_module
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.anchor import anchor_factor
from lbsim.simulation.rank_variation import RankVariation, link_slowdown
from lbsim.simulation.step_schedule import StepSchedule, Transfer, build_schedule

_MOST_CLOCKS = 2**20
"""Ranks times steps that are played at once: 8 MiB an array."""


@dataclass(frozen=True)
class RankRuns:
    """Steps of training simulated rank by rank."""

    ranks: int
    seed: int
    step_times: tuple[float, ...]
    """Seconds of each step."""
    slowest: tuple[int, ...]
    """The rank that ended backward last, step by step; empty if all compute alike."""

    @property
    def mean(self) -> float:
        """Seconds of a step on average."""
        return float(np.mean(self.step_times))

    @property
    def spread(self) -> float:
        """Standard deviation of a step in seconds."""
        return float(np.std(self.step_times))

    def quantile(self, share: float) -> float:
        """Return the seconds that *share* of the steps stay within."""
        return float(np.quantile(self.step_times, share))

    def most_often_slowest(self, most: int = 5) -> tuple[tuple[int, int], ...]:
        """Return the ranks that were the slowest most often, each with in how many steps."""
        return tuple(sorted(Counter(self.slowest).items(), key=lambda item: (-item[1], item[0]))[:most])


def simulate_ranks(scenario: Scenario, steps: int = 100) -> RankRuns:
    """Play *steps* steps of *scenario*, each rank by itself; the plan's seed makes the same run again.

    InputError if it cannot run, or if the library runs several collectives at once.

    >>> runs = simulate_ranks(Scenario.of(gpus=16, cluster="mn-1", software="chainer-2017"), steps=20)
    >>> runs.quantile(0.1) < runs.mean < runs.quantile(0.95)
    True
    """
    plan, cluster, library = scenario.plan, scenario.cluster, scenario.software.library
    if library.streams > 1:
        raise InputError(
            f"software.library.streams: {library.streams}; rank by rank, collectives run one after another: set it to 1"
        )
    if steps < 1:
        raise InputError(f"--ranks: {steps} is no number of steps; write e.g. --ranks 100")
    check_fits(scenario)
    fabric = scenario_fabric(scenario, cluster, plan.gpus)
    times_alone = compute_times(scenario)
    schedule = build_schedule(scenario, times_alone.scaled(anchor_factor(scenario, times_alone)), fabric)
    variation = RankVariation(scenario)
    times: list[float] = []
    slowest: list[int] = []
    at_once = max(1, _MOST_CLOCKS // plan.gpus)
    for first in range(0, steps, at_once):
        compute = variation.draw(min(at_once, steps - first))
        computed, done = simulate_schedule_per_rank(schedule, compute, variation.links)
        times += np.maximum(done.max(axis=0), schedule.input_time).tolist()
        slowest += computed.argmax(axis=0).tolist()
    return RankRuns(plan.gpus, plan.seed, tuple(times), tuple(slowest) if variation.any else ())


def all_reduce_finish_times(scenario: Scenario, message: float) -> tuple[float, ...]:
    """Return when each rank is done with the plan's all-reduce of *message* bytes, which all enter at once."""
    gpus = scenario.plan.gpus
    fabric = scenario_fabric(scenario, scenario.cluster, gpus)
    collective, fabric = fastest_protocol(
        message, find_module("all_reduce", scenario.plan.all_reduce).all_reduce, fabric
    )
    done = advance(collective, fabric, np.zeros((gpus, 1)), link_slowdown(scenario.cluster, gpus))
    return tuple(done[:, 0].tolist())


def simulate_schedule_per_rank(
    schedule: StepSchedule, compute: Clocks, links: LinkSlowdown | None = None
) -> tuple[Clocks, Clocks]:
    """Return when each rank has ended backward, and the step.

    *compute* holds times as long as ``schedule.times`` that each rank, a row, computes in each step, a column.
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
        pending = [*(one for one in pending if (one.end > clock).any()), _Busy(start, sent)]
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
    """Return the clocks after *work*, which takes longer by *slowdown* while a *pending* collective runs.

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
    """Return when each rank has copied in, reduced and copied out a buffer."""
    copy = transfer.copy_time / 2
    return advance(transfer.collective, transfer.fabric, ready + copy, links) + copy
