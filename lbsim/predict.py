"""The whole of lbsim on one page: hardware, model, software and plan go in, a prediction comes out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lbsim.catalog import module
from lbsim.collective import Fabric
from lbsim.compute import ComputeTimes, compute_times, memory_rate
from lbsim.errors import InputError
from lbsim.fusion import FusionBuffer, fuse
from lbsim.hardware import Cluster
from lbsim.interval import interval
from lbsim.memory import check_fits
from lbsim.metrics import Prediction, breakdown, training_time
from lbsim.scenario import Anchor, Scenario
from lbsim.simulate import Step, Transfer, simulate
from lbsim.stragglers import slowest_compute, with_slowest_links, without_slow_parts
from lbsim.timeline import Timeline
from lbsim.units import SAMPLE_RATE

_SMALLEST_SCALE = 1e-6
_PRECISION = 1e-12
_MOST_ITERATIONS = 100


def predict(scenario: Scenario, level: float = 0.9) -> Prediction:
    """Return how fast *scenario* trains, why, and within what bounds with probability *level*.

    InputError if it cannot run: the batch does not fit the memory, the all-reduce does not suit the GPUs.

    >>> from lbsim import Scenario
    >>> prediction = predict(Scenario.of(gpus=1024, cluster="mn-1", software="chainer-2017", batch_per_gpu=32))
    >>> 0.6 < prediction.scaling_efficiency < 0.8  # Akiba et al. measured 0.70
    True
    """
    needed = check_fits(scenario)
    scale = anchored(scenario)
    times = compute_times(scenario).scaled(scale)
    run, node, alone = (_run(scenario, times, gpus) for gpus in _scales(scenario))
    plan, update = scenario.plan, times.update
    step_time = run.timeline.step_time
    values = {
        "throughput": plan.batch / step_time,
        "throughput_per_gpu": plan.batch_per_gpu / step_time,
        "step_time": step_time,
        "scaling_efficiency": alone.timeline.step_time / step_time,
        "scaling_efficiency_vs_node": node.timeline.step_time / step_time,
        "time_to_train": training_time(plan, scenario.workload, step_time, times.forward),
    }
    return Prediction(
        scenario=scenario,
        **values,
        breakdown=breakdown(times, run.timeline, run.stretch, update),
        communication_time=run.timeline.busy("communication"),
        interval=interval(scenario, values, level),
        memory=needed,
        buffers=run.transfers,
        timeline=run.timeline,
        compute_scale=scale,
    )


@dataclass(frozen=True)
class _Run:
    """One step on so many GPUs."""

    timeline: Timeline
    transfers: tuple[Transfer, ...]
    stretch: float


def _scales(scenario: Scenario) -> tuple[int, int, int]:
    """Return the GPUs asked for, those of a node among them, and one."""
    gpus = scenario.plan.gpus
    return gpus, min(gpus, scenario.cluster.gpus_per_node), 1


def _run(scenario: Scenario, times: ComputeTimes, gpus: int) -> _Run:
    """Play a step of *scenario* on *gpus* GPUs that compute for *times*."""
    # what a scale is compared with is a healthy machine
    cluster = scenario.cluster if gpus == scenario.plan.gpus else without_slow_parts(scenario.cluster)
    stretch = slowest_compute(cluster, gpus, scenario.software.straggler_spread)
    fabric = fabric_of(scenario, with_slowest_links(cluster, gpus), gpus)
    step = step_of(scenario, times.scaled(1 + stretch), fabric)
    return _Run(simulate(step, fabric), step.transfers, stretch)


def fabric_of(scenario: Scenario, cluster: Cluster, gpus: int) -> Fabric:
    """Return what collectives on *gpus* GPUs of *cluster* run over; groups are the plan's where it has so many GPUs."""
    plan = scenario.plan
    return Fabric.of(cluster, scenario.software.library, gpus, plan.group_size if gpus == plan.gpus else None)


def step_of(scenario: Scenario, times: ComputeTimes, fabric: Fabric) -> Step:
    """Return what happens in a step of *scenario* on *fabric*, whose GPUs compute for *times*."""
    plan, software, several = scenario.plan, scenario.software, fabric.gpus > 1
    return Step(
        times=times,
        transfers=_transfers(scenario, fuse(times.gradients, plan), fabric) if several else (),
        overlap=plan.overlap,
        overlap_slowdown=software.overlap_slowdown,
        overhead=software.step_overhead if several else 0.0,
        input_time=_input_time(scenario, fabric.gpus_per_node),
    )


def _transfers(scenario: Scenario, buffers: tuple[FusionBuffer, ...], fabric: Fabric) -> tuple[Transfer, ...]:
    """Give each buffer the collective that the plan names, and the time to copy gradients in and out."""
    all_reduce = module("all_reduce", scenario.plan.all_reduce).all_reduce
    copied = 2 * scenario.software.fusion_copies  # each copy reads and writes
    rate = memory_rate(scenario.cluster.accelerator, scenario.software)
    return tuple(
        Transfer(buffer, all_reduce(buffer.message, fabric), copied * buffer.message / rate) for buffer in buffers
    )


def _input_time(scenario: Scenario, gpus_in_node: int) -> float:
    """Return the seconds in which a node decodes a step's samples and its hosts copy them to the GPUs."""
    cluster, batch = scenario.cluster, scenario.plan.batch_per_gpu
    decode = batch * gpus_in_node / cluster.decode_rate if cluster.decode_rate else 0.0
    copy = cluster.host.time(batch * scenario.workload.input_bytes) if cluster.host else 0.0
    return max(decode, copy)


def anchored(scenario: Scenario) -> float:
    """Return the factor on compute with which the scenario's anchor comes out as it was measured; 1 without one.

    InputError if no compute is quick enough for it.
    """
    anchor = scenario.anchor
    if anchor is None:
        return 1.0
    there = _at_anchor(scenario, anchor)
    times = compute_times(there)
    measured = there.plan.batch / anchor.throughput

    def excess(scale: float) -> float:
        return _run(there, times.scaled(scale), anchor.gpus).timeline.step_time - measured

    return _root(excess, anchor)


def _at_anchor(scenario: Scenario, anchor: Anchor) -> Scenario:
    """Return *scenario* as it was when the anchor was measured."""
    changes: dict[str, Any] = {
        "gpus": anchor.gpus,
        "group_size": scenario.plan.group_size if _grouped(scenario, anchor) else None,
    }
    changes |= {"batch_per_gpu": anchor.batch_per_gpu} if anchor.batch_per_gpu else {}
    changes |= {"precision": anchor.precision} if anchor.precision else {}
    plan = scenario.plan.model_copy(update=changes)
    cluster = without_slow_parts(scenario.cluster)
    return scenario.model_copy(update={"plan": plan, "cluster": cluster, "anchor": None})


def _grouped(scenario: Scenario, anchor: Anchor) -> bool:
    return scenario.plan.group_size is not None and anchor.gpus % scenario.plan.group_size == 0


def _root(excess: Callable[[float], float], anchor: Anchor) -> float:
    """Return where *excess*, which rises, is zero: by the secant through its ends, halved where that is slow."""
    low, high = _SMALLEST_SCALE, 1.0
    if excess(low) > 0:
        raise InputError(
            f"anchor.throughput: {SAMPLE_RATE.short(anchor.throughput)} on {anchor.gpus} GPU is more than "
            "communication and update alone allow; was it measured on more GPUs, or another batch? set anchor.gpus"
        )
    while excess(high) < 0:
        low, high = high, 2 * high
    below, above = excess(low), excess(high)
    for _ in range(_MOST_ITERATIONS):
        middle = low - below * (high - low) / (above - below)
        value = excess(middle)
        if abs(value) < _PRECISION or high - low < _PRECISION:
            return middle
        if value < 0:
            low, below, above = middle, value, above / 2
        else:
            high, above, below = middle, value, below / 2
    return middle
