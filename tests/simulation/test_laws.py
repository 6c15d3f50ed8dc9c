"""Laws that hold for any cluster, model and plan."""

from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim import override, predict
from lbsim.communication.fabric import closed_form
from tests.scenarios import scenarios

ROUNDING = 1e-9
"""Relative: sums of floats in another order."""


@given(scenarios())
def test_the_parts_of_the_breakdown_add_up_to_the_step(scenario):
    prediction = predict(scenario)
    assert sum(astuple(prediction.breakdown)) == pytest.approx(prediction.step_time, rel=ROUNDING)
    assert min(astuple(prediction.breakdown)) >= -ROUNDING * prediction.step_time


@given(scenarios())
def test_one_gpu_sends_nothing_and_scales_perfectly(scenario):
    prediction = predict(override(scenario, {"plan.gpus": 1}))
    assert prediction.buffers == ()
    assert prediction.communication_time == 0
    assert prediction.breakdown.exposed_communication == pytest.approx(0, abs=ROUNDING * prediction.step_time)
    assert prediction.scaling_efficiency == pytest.approx(1, rel=ROUNDING)


@given(scenarios())
def test_no_step_is_faster_than_its_compute(scenario):
    prediction = predict(scenario)
    parts = prediction.breakdown
    assert prediction.step_time >= (parts.forward + parts.backward + parts.update) * (1 - ROUNDING)
    assert prediction.scaling_efficiency <= 1 + ROUNDING


@given(scenarios())
def test_no_communication_is_faster_than_the_bandwidth_bound(scenario):
    """Each of n GPUs sends at least 2(n-1)/n of the message, over no more than all links it can reach."""
    prediction, gpus, cluster = predict(scenario), scenario.plan.gpus, scenario.cluster
    between = cluster.nics * cluster.inter_node.efficiency * cluster.inter_node.bandwidth
    inside = cluster.intra_node.efficiency * cluster.intra_node.bandwidth
    for transfer in prediction.buffers:
        seconds = closed_form(transfer.collective, transfer.fabric)
        sent = 2 * (gpus - 1) / gpus * transfer.message
        assert seconds * (1 + ROUNDING) >= sent / max(between, inside)
        if cluster.gpus_per_node == 1:
            assert seconds * (1 + ROUNDING) >= sent / between


@given(scenarios(), st.floats(min_value=1, max_value=100), st.sampled_from(["intra_node", "inter_node"]))
def test_a_faster_link_makes_nothing_slower(scenario, factor, link):
    path = f"cluster.{link}.bandwidth"
    rate = getattr(scenario.cluster, link).bandwidth * factor
    assert predict(override(scenario, {path: rate})).step_time <= predict(scenario).step_time * (1 + ROUNDING)


@given(scenarios(), st.floats(min_value=1, max_value=100), st.sampled_from(["peak.fp32", "memory_bandwidth"]))
def test_a_faster_gpu_makes_nothing_slower(scenario, factor, figure):
    accelerator = scenario.cluster.accelerator
    rated = {"peak.fp32": accelerator.peak.fp32, "memory_bandwidth": accelerator.memory_bandwidth}[figure]
    faster = override(scenario, {f"cluster.accelerator.{figure}": rated * factor})
    assert predict(faster).step_time <= predict(scenario).step_time * (1 + ROUNDING)


@given(scenarios())
def test_the_simulated_step_equals_its_closed_form_when_nothing_contends(scenario):
    """On one stream, and with compute undisturbed, a buffer starts when it is ready and the one before is done."""
    scenario = override(
        scenario,
        {
            "software.library.streams": 1,
            "software.overlap_slowdown": 0.0,
            "software.straggler_spread": 0.0,
            "software.step_overhead": 0.0,
            "software.input_overhead": 0.0,
            "cluster.host": None,
        },
    )
    prediction, parts = predict(scenario), predict(scenario).breakdown
    end = 0.0
    for transfer in prediction.buffers:
        start = max(end, transfer.buffer.ready + transfer.buffer.delay)
        end = start + closed_form(transfer.collective, transfer.fabric) + transfer.copy_time
    step = parts.forward + max(parts.backward, end) + parts.update
    assert prediction.step_time == pytest.approx(step, rel=ROUNDING)


@settings(max_examples=20)
@given(scenarios(), st.floats(min_value=1.05, max_value=3))
def test_the_throughput_of_an_anchor_is_reproduced(scenario, factor):
    alone = predict(override(scenario, {"plan.gpus": 1}))
    measured = alone.throughput / factor
    anchored = predict(override(scenario, {"plan.gpus": 1, "anchor.throughput": measured}))
    assert anchored.throughput == pytest.approx(measured, rel=1e-6)  # the step time is matched to 1e-9 s
