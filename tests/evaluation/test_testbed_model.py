import json
import math
import shutil
import statistics
from pathlib import Path

import pytest

from lbsim.compute.gradients import ComputeTimes, GradientTensor
from lbsim.errors import InputError
from lbsim.evaluation.testbed_measurements import FITTED_HOSTS, HELD_OUT_RATE, TestbedSetup, read_measurements
from lbsim.evaluation.testbed_model import PRIORS, Model, fit
from lbsim.measurements.measurement import Measurement
from lbsim.measurements.trace import Setting
from lbsim.testbed.network import FRAME, PAYLOAD

CHECKOUT = Path(__file__).parents[2]
TRACES = CHECKOUT / "traces" / "testbed"
TENSORS = tuple(GradientTensor(f"t{n}", n, 40_000, 0.002 * (11 - n)) for n in range(10, 0, -1))
COMPUTED = (ComputeTimes(0.01, 0.021, 0.001, 0.0, TENSORS),)
TRUTH = Model(COMPUTED, efficiency=0.97, latency=8e-4, collective=3e-4, step=3e-3)
STEPS: dict[str, Setting] = {"fusion_threshold": 262144.0, "hybrid_threshold": 393216.0, "all_reduce": "backend"}


def rows():
    """Return what a testbed of TRUTH would take."""
    plans = (("one-buffer", False), ("threshold", True), ("none", True))
    messages = (1024.0, 262144.0, 2.0**21)
    asked: list[tuple[str, dict[str, Setting]]] = []
    asked += [("all_reduce", {"all_reduce": "backend", "message": message}) for message in messages]
    asked += [("step_time", STEPS | {"fusion": fusion, "overlap": overlap}) for fusion, overlap in plans]
    made = [
        TestbedSetup(quantity, hosts, rate, tuple(settings.items()))
        for hosts in (2, 4, 8)
        for rate in (5e6, HELD_OUT_RATE, 15e6)
        for quantity, settings in asked
    ]
    return {setup: Measurement(setup.quantity, TRUTH.seconds(setup)) for setup in made}


@pytest.mark.parametrize("message", [1e3, 1e6])
def test_a_ring_takes_what_its_bytes_do_or_half_of_them_behind_a_latency(message):
    """Gloo's ring cuts a step's message in two; gloo/allreduce.cc."""
    hosts, rate = 4, 5e6
    setup = TestbedSetup("all_reduce", hosts, rate, (("all_reduce", "backend"), ("message", message)))
    crossing = message / hosts / (rate * TRUTH.efficiency * PAYLOAD / FRAME)
    step = max(crossing, TRUTH.latency + crossing / 2)
    assert TRUTH.seconds(setup) == pytest.approx(TRUTH.collective + 2 * (hosts - 1) * step, rel=1e-6)


def test_steps_that_do_not_overlap_are_the_sum_of_their_parts():
    (setup,) = (one for one in rows() if one.hosts == 2 and one.rate == 5e6 and one.options.get("overlap") is False)
    bytes_all = sum(tensor.elements for tensor in TENSORS) * 4.0
    alone = TestbedSetup("all_reduce", 2, 5e6, (("all_reduce", "backend"), ("message", bytes_all)))
    computed = COMPUTED[0].forward + COMPUTED[0].backward + COMPUTED[0].update
    assert TRUTH.seconds(setup) == pytest.approx(computed + TRUTH.step + TRUTH.seconds(alone), rel=1e-6)


def test_what_the_links_are_is_found_from_few_hosts_and_right_for_more():
    known = rows()
    seen = {setup: one for setup, one in known.items() if setup.fitted}
    assert {setup.hosts for setup in seen} == set(FITTED_HOSTS)
    assert HELD_OUT_RATE not in {setup.rate for setup in seen}
    assert not any(setup.options.get("fusion") == "none" for setup in seen)
    found = fit(seen, COMPUTED)
    for name in PRIORS:
        assert getattr(found, name) == pytest.approx(getattr(TRUTH, name), rel=0.05), name
    for setup, one in known.items():
        assert abs(math.log(found.seconds(setup) / one.value)) < 0.01, setup


def test_a_trace_of_something_else_is_refused_by_file_and_field(tmp_path):
    shutil.copy(CHECKOUT / "traces" / "harness" / "all-reduce-gloo-loopback-2.json", tmp_path / "2x40.json")
    with pytest.raises(InputError, match=r"2x40.json: settings.bandwidth: no rate"):
        read_measurements(tmp_path)


def test_what_was_measured_is_the_slowest_rank_s_median():
    known = read_measurements(TRACES)
    found = {setup: one for setup, one in known.items() if (setup.hosts, setup.rate) == (4, 5e6)}
    content = json.loads((TRACES / "scaling-4x40.json").read_text())
    for setup, one in found.items():
        if setup.quantity != "all_reduce":
            ranks = [row["samples"] for row in content["observations"] if row["settings"] == setup.options]
            assert len(ranks) == 4
            assert one.value == statistics.median(max(step) for step in zip(*ranks, strict=True))
    assert len(found) > 10


def test_small_messages_and_unfused_steps_are_classes_of_their_own():
    groups = {setup.group for setup in rows()}
    assert groups == {"all-reduce, 256 KiB and more", "all-reduce, less", "steps", "steps without fusion"}
