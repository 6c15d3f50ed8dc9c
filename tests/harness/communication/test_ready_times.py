import time
from pathlib import Path

import pytest
import torch

from lbsim.communication.optimal_fusion import mg_wfbp, optimal
from lbsim.errors import InputError
from lbsim.harness.communication.fusion_buffers import plan_buffers
from lbsim.harness.communication.fusion_engine import FusionEngine
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.ready_times import FusionTimes, ReadyTimeRecorder, read_ready_times, ring_cost
from lbsim.harness.communication.step_recorder import HostClock
from lbsim.measurements.trace import Evidence, Gradient, RankTimeline, Trace, write_trace
from tests.harness import steps
from tests.harness.communication.test_engines import said
from tests.harness.ranks import run

STEPS = Path(steps.__file__)
TIMED = ("horovod", "mg-wfbp", "optimal")
READY = {"third.bias": 1e-3, "third.weight": 2e-3, "second.bias": 3e-3, "second.weight": 10e-3, "first.bias": 11e-3}
"""The last, first.weight, takes no part."""


def trace(file, ready, sizes=None):
    elements = {name: parameter.numel() for name, parameter in steps.model().named_parameters()} | (sizes or {})
    gradients = tuple(
        Gradient(name=name, elements=count, ready=ready.get(name)) for name, count in reversed(elements.items())
    )
    evidence = Evidence(
        command="-", date="-", commit="-", host="-", cpu="-", cpus=1, threads=1, python="-", torch="-", backend="none"
    )
    timeline = RankTimeline(rank=0, step=0, began=0.0, gradients=gradients)
    write_trace(Trace(measured="step", evidence=evidence, gpus=1, timelines=(timeline,)), file)
    return file


def planned(fusion, pace, **more):
    named = list(steps.model().named_parameters())
    options = CommunicationOptions.of(fusion=fusion, **more)
    return [buffer.tensors for buffer in plan_buffers(named, options, 2, pace)]


def backwards(*sizes):
    """The net's tensors in the order of backward, in buffers of so many."""
    names, cuts = list(reversed([name for name, _ in steps.model().named_parameters()])), []
    for size in sizes:
        cuts.append(tuple(names[:size]))
        names = names[size:]
    return cuts


@pytest.mark.parametrize("fusion", TIMED)
def test_ranks_agree_on_what_the_measured_times_of_rank_0_plan(fusion):
    case = {"fusion": fusion, "fusion_warm_up": 2, "fusion_cycle": "0.1 ms"}
    everyones = [answer for (answer,) in said(run(3, STEPS, {"cases": [case]}))]
    assert all(each["buffers"] == everyones[0]["buffers"] for each in everyones)
    assert all(each["pace"] == everyones[0]["pace"] for each in everyones)
    pace = FusionTimes(**everyones[0]["pace"])
    assert min(pace.ready) > 0
    assert pace.startup > 0
    options = {key: value for key, value in case.items() if key != "fusion"}
    assert [tuple(each) for each in everyones[0]["buffers"]] == planned(fusion, pace, **options)


def test_a_start_up_as_long_as_backward_merges_all_and_none_merges_nothing():
    ready = [float(n) for n in reversed(range(6))]
    for fusion in ("mg-wfbp", "optimal"):
        assert planned(fusion, FusionTimes(tuple(ready), 100.0, 0.0)) == backwards(6), fusion
        assert planned(fusion, FusionTimes(tuple(ready), 0.0, 1e-9)) == backwards(1, 1, 1, 1, 1, 1), fusion


def test_horovod_packs_what_one_cycle_hears():
    ready = tuple(reversed([1e-3, 2e-3, 3e-3, 10e-3, 11e-3, 11e-3]))
    assert planned("horovod", FusionTimes(ready, 0.0, 0.0), fusion_cycle="5 ms") == backwards(3, 1, 2)


@pytest.mark.parametrize("fusion", TIMED)
def test_a_trace_and_a_link_plan_before_the_first_step(fusion, tmp_path):
    file = trace(tmp_path / "step.json", READY)
    link = {"fusion_latency": "1 ms", "fusion_bandwidth": "1 MB/s", "fusion_cycle": "5 ms"}
    case = {"fusion": fusion, "fusion_trace": str(file), **link}
    everyones = [answer for (answer,) in said(run(2, STEPS, {"cases": [case]}))]
    messages = [4.0 * count for count in (5, 5 * 17, 17, 17 * 33, 33, 33 * 20)]
    ready = [1e-3, 2e-3, 3e-3, 10e-3, 11e-3, 11e-3]

    def cost(message):
        return 2 * (1e-3 + message / 2 / 1e6)

    cuts = {"mg-wfbp": mg_wfbp(messages, ready, cost), "optimal": optimal(messages, ready, cost)}
    cuts["horovod"] = [0, 3, 4, 6]
    wanted = [end - start for start, end in zip(cuts[fusion], cuts[fusion][1:], strict=False)]
    for each in everyones:
        assert each["error"] < 1e-5
        assert [tuple(buffer) for buffer in each["buffers"]] == backwards(*wanted)


def test_before_its_times_are_known_a_policy_fills_by_threshold():
    assert planned("optimal", None, fusion_threshold="2 kB") == planned("threshold", None, fusion_threshold="2 kB")


def test_times_are_medians_that_leave_out_the_first_of_several_steps():
    warm_up = ReadyTimeRecorder(3, HostClock(), 2)
    for wait in (0.05, 0.0, 0.0):
        warm_up.begin()
        time.sleep(wait)
        warm_up.record(1)
        ready = warm_up.end()
    assert ready is not None
    assert ready[0] == ready[1]  # the first parameter's never came, so it counts with the last
    assert ready[1] < 0.04


def alone(warm_up):
    net = steps.model()
    options = CommunicationOptions.of(fusion="optimal", fusion_warm_up=warm_up)
    engine = FusionEngine(list(net.named_parameters()), options)

    def step():
        engine.begin_step()
        steps.loss(net, torch.ones(2, 20)).backward()
        return engine.finish_step()

    return net, engine, step


def test_what_a_checkpoint_keeps_plans_the_same_buffers_and_ends_the_warm_up_at_the_same_step():
    _, first, step = alone(4)
    assert [step(), step()] == [False, False]
    early = first.state()
    assert [step(), step(), step()] == [False, True, False]
    _, second, go_on = alone(4)
    second.restore(early)
    assert second.state() == early
    assert [go_on(), go_on()] == [False, True]
    assert second.times is not None
    _, third, go_on = alone(4)
    third.restore(first.state())
    assert third.times == first.times
    assert third.buffers == first.buffers
    assert [go_on() for _ in range(5)] == [False] * 5
    for engine in (first, second, third):
        engine.close()


def test_a_process_alone_plans_too():
    net, engine, step = alone(2)
    for _ in range(3):
        step()
    assert engine.times is not None
    assert sorted(name for buffer in engine.buffers for name in buffer.tensors) == sorted(
        name for name, _ in net.named_parameters()
    )
    engine.close()


def test_a_trace_of_another_model_or_without_timelines_is_refused(tmp_path):
    named = list(steps.model().named_parameters())
    other = trace(tmp_path / "other.json", READY, {"first.weight": 7})
    with pytest.raises(InputError, match=r"no gradient 'first.weight' of 660 elements"):
        read_ready_times(other, named)
    with pytest.raises(InputError, match="No such file"):
        read_ready_times(tmp_path / "none.json", named)
    with pytest.raises(InputError, match="belong together; give both"):
        CommunicationOptions.of(fusion_latency="1 us")


def test_a_trace_that_one_rank_lacks_ends_all_with_one_line(tmp_path):
    case = {"fusion": "optimal", "fusion_trace": str(tmp_path / "none.json")}
    for ended in run(2, STEPS, {"cases": [case]}):
        assert ended.code == 2
        assert ended.err.count("\n") == 1
        assert "No such file" in ended.err


def test_a_ring_costs_its_closed_form():
    startup, per_byte = ring_cost(8, 5e-6, 12.5e9)
    assert startup + 1e8 * per_byte == pytest.approx(14 * (5e-6 + 1e8 / 8 / 12.5e9))
