import pytest

from lbsim import Scenario, override, predict

KEYS = {
    "throughput",
    "throughput_per_gpu",
    "step_time",
    "scaling_efficiency",
    "scaling_efficiency_vs_node",
    "time_to_train",
}


def ranges(scenario, level=0.9):
    return predict(scenario, level).interval.ranges


def scenario(gpus=8, **plan):
    return Scenario.of(gpus=gpus, cluster="mn-1", software="chainer-2017", batch_per_gpu=32, **plan)


def width(bounds):
    return bounds.high / bounds.low


def test_every_interval_holds_its_prediction():
    for gpus in (1, 8, 1024):
        prediction = predict(scenario(gpus))
        assert set(prediction.interval.ranges) == KEYS
        for name, bounds in prediction.interval.ranges.items():
            assert bounds.low <= getattr(prediction, name) <= bounds.high


def test_a_higher_level_is_wider():
    narrow, wide = ranges(scenario(), 0.5), ranges(scenario(), 0.95)
    assert all(width(wide[name]) > width(narrow[name]) for name in ("throughput", "step_time", "time_to_train"))


def test_an_anchor_narrows_it():
    anchored = override(scenario(), {"anchor.throughput": "180 samples/s"})
    assert width(ranges(anchored)["throughput"]) < width(ranges(scenario())["throughput"])


def test_an_anchor_at_another_batch_narrows_it_less():
    anchored = override(scenario(), {"anchor.throughput": "180 samples/s"})
    elsewhere = override(anchored, {"anchor.batch_per_gpu": 16})
    assert width(ranges(anchored)["throughput"]) < width(ranges(elsewhere)["throughput"])


def test_one_gpu_scales_perfectly_and_surely():
    bounds = ranges(scenario(1))["scaling_efficiency"]
    assert (bounds.low, bounds.high) == (pytest.approx(1), pytest.approx(1))


def test_many_gpus_are_less_sure_because_nobody_said_how_their_ranks_vary():
    assert width(ranges(scenario(1024))["step_time"]) > width(ranges(scenario(16))["step_time"])


def test_throughput_and_step_time_say_the_same():
    prediction = predict(scenario(1024))
    rate, time = prediction.interval.ranges["throughput"], prediction.interval.ranges["step_time"]
    assert rate.low == pytest.approx(prediction.scenario.plan.batch / time.high)
    assert rate.high == pytest.approx(prediction.scenario.plan.batch / time.low)


def test_it_says_why_it_is_so_wide():
    assert "--anchor" in predict(scenario()).interval.reason
