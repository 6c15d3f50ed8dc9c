"""Anchor: the factor on compute time that reproduces a measured throughput."""

from collections.abc import Callable
from typing import Any

from lbsim.compute.gradients import ComputeTimes
from lbsim.compute.roofline import compute_times
from lbsim.errors import InputError
from lbsim.profiles.slow_parts import without_slow_parts
from lbsim.scenario.scenario import Anchor, Scenario
from lbsim.simulation.step_result import simulate_step
from lbsim.units import SAMPLE_RATE

__all__ = ["anchor_factor", "factor_as_measured", "factor_at_other_batch"]

_CONSTANT_SHARE = 0.5
"""Fraction of the excess of a measured step time over the model that does not depend on the batch.

On 58 pairs of published single-GPU rates that differ only in the batch, each predicted from the other, the mean error
is 6.7 % if all of the excess grows with the batch, 7.3 % if none does and 3.7 % with half; none of them is a system
that lbsim is to reproduce. ``reports/single_gpu_fit/anchors.py`` prints the errors.
"""
_SMALLEST_SCALE = 1e-6
_TOLERANCE = 1e-9
"""Absolute tolerance of the root: seconds of step time, or width of the bracket of the factor."""
_MOST_ITERATIONS = 100


def anchor_factor(scenario: Scenario, times: ComputeTimes) -> float:
    """Return the factor on the compute *times* of *scenario* from its anchor; 1 without an anchor.

    At the anchor's batch, the factor reproduces the measured throughput. At another batch, half of the anchor's excess
    over the model is assumed constant per step. An anchor faster than the model scales all compute by the same factor.

    InputError if the measured throughput is impossible even without compute.
    """
    if scenario.anchor is None:
        return 1.0
    measured = _at_anchor(scenario, scenario.anchor)
    measured_times = compute_times(measured)
    factor = factor_as_measured(measured, measured_times, scenario.anchor)
    return factor_at_other_batch(factor, _compute(measured_times), _compute(times))


def factor_as_measured(scenario: Scenario, times: ComputeTimes, anchor: Anchor) -> float:
    """Return the factor on compute *times* that reproduces the throughput of *anchor*.

    *scenario* is the scenario of the measurement, *times* are its compute times.

    InputError if the measured throughput is impossible even without compute.
    """
    measured = scenario.plan.batch / anchor.throughput

    def excess(scale: float) -> float:
        return simulate_step(scenario, times.scaled(scale), anchor.gpus).timeline.step_time - measured

    return _illinois(excess, anchor)


def factor_at_other_batch(factor: float, measured: float, predicted: float) -> float:
    """Return the factor on *predicted* seconds of compute, given the *factor* on *measured* seconds of compute."""
    constant = max(0.0, factor - 1) * _CONSTANT_SHARE
    return factor - constant + constant * measured / predicted


def _compute(times: ComputeTimes) -> float:
    return times.input_overhead + times.forward + times.backward


def _at_anchor(scenario: Scenario, anchor: Anchor) -> Scenario:
    """Return the scenario of the anchor's measurement: its plan, without slow parts."""
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
    """Return the root of the increasing function *excess* by the Illinois variant of regula falsi.

    The secant through the ends of the bracket gives the next point. The function value at the retained end is halved,
    so that the bracket shrinks from both ends; here in every iteration, in the original only if the same end is
    retained twice. The bracket starts at [1e-6, 1]; its upper end doubles until the bracket contains the root.

    M. Dowell, P. Jarratt, "A modified regula falsi method for computing the root of an equation," BIT 11, 1971.

    InputError if *excess* is positive at 1e-6.
    """
    low, high = _SMALLEST_SCALE, 1.0
    below, above = excess(low), excess(high)
    if below > 0:
        raise InputError(
            f"anchor.throughput: {SAMPLE_RATE.short(anchor.throughput)} on {anchor.gpus} GPU is more than "
            "communication and update allow without any compute; if it was measured on more GPUs or another batch, "
            "set anchor.gpus or anchor.batch_per_gpu"
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
