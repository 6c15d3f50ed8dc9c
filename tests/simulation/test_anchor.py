import pytest

from lbsim import Anchor, InputError, Scenario, predict
from lbsim.simulation.anchor import factor_at_other_batch


def scenario(anchor=None, **plan):
    return Scenario.of(gpus=plan.pop("gpus", 1), cluster="mn-1", software="chainer-2017", anchor=anchor, **plan)


def throughput(**fields):
    return predict(scenario(**fields)).throughput


@pytest.mark.parametrize("rate", ["100 samples/s", "250 samples/s"])
def test_the_measured_throughput_is_reproduced_at_its_own_batch(rate):
    assert throughput(anchor=rate, batch_per_gpu=32) == pytest.approx(float(rate.split()[0]), rel=1e-6)


def test_a_throughput_of_eight_gpus_is_reproduced_on_eight():
    anchor = Anchor(throughput=1000, gpus=8, batch_per_gpu=32)
    assert throughput(anchor=anchor, gpus=8, batch_per_gpu=32) == pytest.approx(1000, rel=1e-6)


def test_half_of_the_excess_of_an_anchor_is_a_constant_per_step():
    """Twice the model's 1 s: half a second more per second of compute, and half a second more per step."""
    assert factor_at_other_batch(2.0, measured=1.0, predicted=1.0) * 1.0 == 2.0
    assert factor_at_other_batch(2.0, measured=1.0, predicted=4.0) * 4.0 == 4.0 * 1.5 + 0.5
    assert factor_at_other_batch(2.0, measured=1.0, predicted=0.5) * 0.5 == 0.5 * 1.5 + 0.5


def test_an_anchor_faster_than_the_model_scales_every_batch_equally():
    assert factor_at_other_batch(0.8, measured=1.0, predicted=4.0) == 0.8


def test_a_slow_anchor_at_a_small_batch_leaves_a_large_batch_more_efficient():
    anchor = Anchor(throughput=60, batch_per_gpu=8)
    small, large = (throughput(anchor=anchor, batch_per_gpu=batch) for batch in (8, 64))
    assert small == pytest.approx(60, rel=1e-6)
    assert large > throughput(batch_per_gpu=64) / throughput(batch_per_gpu=8) * small


def test_an_unreachable_anchor_is_refused_with_the_reason():
    with pytest.raises(
        InputError,
        match=r"anchor\.throughput: .* more than .* allow .*; if .* set anchor\.gpus or anchor\.batch_per_gpu",
    ):
        predict(scenario(anchor="1000000 samples/s"))
