"""What one measured throughput says about the compute of a scenario."""

from collections.abc import Callable
from typing import Any

from lbsim.compute.gradients import ComputeTimes
from lbsim.compute.roofline import compute_times
from lbsim.errors import InputError
from lbsim.profiles.slow_parts import without_slow_parts
from lbsim.scenario.scenario import Anchor, Scenario
from lbsim.simulation.step_result import simulate_step
from lbsim.units import SAMPLE_RATE

_CONSTANT_SHARE = 0.5
"""Of the time that a measured step takes longer than the law says, the part that does not change with the batch.

On 58 pairs of published rates of one GPU that differ in the batch alone, one predicted from the other, the mean error
is 6.7 % if all of it grows with the batch, 7.3 % if none does and 3.7 % with half; none of them is a system that lbsim
is to reproduce. ``reports/single_gpu_fit/anchors.py`` prints it.
"""
_SMALLEST_SCALE = 1e-6
_TOLERANCE = 1e-9
"""Seconds of a step, or of the factor."""
_MOST_ITERATIONS = 100


def anchor_factor(scenario: Scenario, times: ComputeTimes) -> float:
    """Return the factor by which the compute *times* of *scenario* are longer than the law says; 1 without an anchor.

    At the anchor's own batch it is the factor with which the anchor comes out as it was measured. At another, half of
    what the anchor took too long is taken for a constant a step. An anchor that is quicker than the law says scales
    all compute alike. InputError if no compute is quick enough for it.
    """
    if scenario.anchor is None:
        return 1.0
    there = _at_anchor(scenario, scenario.anchor)
    then = compute_times(there)
    factor = factor_as_measured(there, then, scenario.anchor)
    return factor_at_other_batch(factor, _compute(then), _compute(times))


def factor_as_measured(there: Scenario, times: ComputeTimes, anchor: Anchor) -> float:
    """Return the factor on compute *times* with which the scenario of *anchor* takes as long as was measured."""
    measured = there.plan.batch / anchor.throughput

    def excess(scale: float) -> float:
        return simulate_step(there, times.scaled(scale), anchor.gpus).timeline.step_time - measured

    return _illinois(excess, anchor)


def factor_at_other_batch(factor: float, then: float, now: float) -> float:
    """Return the factor on *now* seconds of compute where *factor* was measured on *then* seconds."""
    constant = max(0.0, factor - 1) * _CONSTANT_SHARE
    return factor - constant + constant * then / now


def _compute(times: ComputeTimes) -> float:
    return times.input_overhead + times.forward + times.backward


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


def _illinois(excess: Callable[[float], float], anchor: Anchor) -> float:
    """Return where *excess*, which rises, is zero: by the secant through its ends, halved where that is slow."""
    low, high = _SMALLEST_SCALE, 1.0
    below, above = excess(low), excess(high)
    if below > 0:
        raise InputError(
            f"anchor.throughput: {SAMPLE_RATE.short(anchor.throughput)} on {anchor.gpus} GPU is more than "
            "communication and update alone allow; was it measured on more GPUs, or another batch? set anchor.gpus"
        )
    while above < 0:
        low, below = high, above
        high *= 2
        above = excess(high)
    for _ in range(_MOST_ITERATIONS):
        middle = low - below * (high - low) / (above - below)
        value = excess(middle)
        if abs(value) < _TOLERANCE or high - low < _TOLERANCE:
            return middle
        if value < 0:
            low, below, above = middle, value, above / 2
        else:
            high, above, below = middle, value, below / 2
    return middle
