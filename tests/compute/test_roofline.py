from typing import Any

import pytest

from lbsim import InputError, Scenario, override
from lbsim.compute.roofline import arithmetic_class, compute_times


def alone(**plan):
    given: dict[str, Any] = {"precision": "fp32", "batch_per_gpu": 32} | plan
    return Scenario.of(gpus=1, cluster="mn-1", software="chainer-2017", **given)


def seconds(scenario):
    times = compute_times(scenario)
    return times.forward + times.backward


def test_no_step_is_faster_than_its_flop_at_the_peak_rate():
    """Winograd's algorithm does 2.25 times fewer products in a 3x3 convolution (Lavin and Gray 2016)."""
    scenario = alone()
    operations = 3 * scenario.workload.forward_flops * scenario.plan.batch_per_gpu
    assert seconds(scenario) > operations / 4 / scenario.cluster.accelerator.peak.fp32


def test_gradients_are_ready_in_backward_order_and_the_last_with_backward():
    times = compute_times(alone())
    ready = [gradient.ready for gradient in times.gradients]
    assert ready == sorted(ready)
    assert ready[-1] == pytest.approx(times.backward, rel=1e-12)
    assert [gradient.number for gradient in times.gradients] == list(range(161, 0, -1))
    assert times.gradients[0].name == "fc.bias"


def test_backward_takes_about_twice_as_long_as_forward():
    """jcjohnson/cnn-benchmarks: 1.9 to 2.25 for every network on Pascal cards; nine rows in ten fit to 15 %."""
    for model in ("resnet50", "vgg16", "resnet152"):
        times = compute_times(alone(model=model, batch_per_gpu=16))
        assert 1.9 * 0.85 < times.backward / times.forward < 2.25 * 1.15


def test_a_larger_batch_is_more_efficient_and_never_faster():
    small, large = seconds(alone(batch_per_gpu=8)), seconds(alone(batch_per_gpu=16))
    assert small < large < 2 * small


def test_a_card_without_fast_half_precision_gains_from_it_by_moving_fewer_bytes():
    """A P40 has no fast fp16, and mixed precision made it 1.27 times as fast (Jia et al., table 9)."""
    p40 = override(alone(batch_per_gpu=64), {"cluster.accelerator": "p40"})
    mixed = override(p40, {"plan.precision": "mixed"})
    assert arithmetic_class(mixed.cluster.accelerator, mixed.plan) == "vector"
    assert seconds(p40) / seconds(mixed) == pytest.approx(1.27, rel=0.08)  # the accuracy that this version aims at


def test_tensor_cores_are_used_when_there_are_any():
    v100 = override(alone(), {"cluster.accelerator": "v100-sxm2-16gb", "plan.precision": "mixed"})
    assert arithmetic_class(v100.cluster.accelerator, v100.plan) == "tensor"


@pytest.mark.parametrize(("precision", "instead"), [("tf32", "fp32"), ("bf16", "mixed")])
def test_a_precision_that_the_card_lacks_is_refused_with_another(precision, instead):
    with pytest.raises(InputError, match=f"p100-pcie has no {precision}; use --precision {instead}"):
        compute_times(alone(precision=precision))


def test_a_framework_that_fuses_element_wise_operations_skips_them():
    unfused = alone()
    assert seconds(override(unfused, {"software.fused": True})) < seconds(unfused)


def test_lars_moves_more_than_plain_momentum():
    """It reads weights and gradients once more, for two norms a tensor (You et al. 2017)."""
    updates = {name: compute_times(alone(optimizer=name)).update for name in ("sgd", "lars", "adam", "lamb")}
    assert updates["sgd"] < updates["lars"]
    assert updates["adam"] < updates["lamb"]
    parameters, memory = 25_557_032, 732e9
    assert updates["sgd"] > 5 * 4 * parameters / memory


def test_the_speed_of_a_card_and_of_its_software_divide_the_time():
    scenario = alone()
    faster = override(scenario, {"cluster.accelerator.speed.vector": 2 * scenario.cluster.accelerator.speed.vector})
    assert seconds(faster) == pytest.approx(seconds(scenario) / 2)
