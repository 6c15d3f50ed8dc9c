from typing import Any

import pytest

from lbsim import InputError, Scenario, override, predict
from lbsim.compute.memory import check_fits, memory_use

GB = 1e9


def scenario(**plan):
    given: dict[str, Any] = {"precision": "fp32", "batch_per_gpu": 64} | plan
    return Scenario.of(gpus=8, cluster="mn-1", software="chainer-2017", **given)


def test_resnet50_uses_its_published_memory():
    """Weights, gradients and momentum are 4 bytes each of 25,557,032; activations of about 22 million numbers a sample
    (twice the 11.1 million that convolutions write, which batch norm keeps too)."""
    needed = memory_use(scenario())
    assert needed.weights == needed.optimizer == 4 * 25_557_032
    assert needed.activations == pytest.approx(64 * 22e6 * 4, rel=0.1)  # 22 million is to two digits


def test_half_precision_halves_activations_and_adds_masters():
    single, mixed = memory_use(scenario()), memory_use(scenario(precision="mixed"))
    assert mixed.activations == single.activations / 2
    assert (single.masters, mixed.masters) == (0, 4 * 25_557_032)


def test_adam_has_two_moments_per_parameter():
    assert memory_use(scenario(optimizer="adam")).optimizer == 2 * memory_use(scenario()).optimizer


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does():
    with pytest.raises(
        InputError, match=r"batch_per_gpu: 4096 needs .* GB and p100-pcie has 16\.00 GB; write"
    ) as error:
        predict(scenario(batch_per_gpu=4096))
    fitting = int(str(error.value).split("batch_per_gpu = ")[1].split(" ")[0])
    assert check_fits(scenario(batch_per_gpu=fitting)).total <= 16 * GB
    with pytest.raises(InputError):
        check_fits(scenario(batch_per_gpu=fitting + 1))


def test_a_model_that_fits_with_no_batch_is_refused():
    tiny = override(scenario(model="vgg16"), {"cluster.accelerator.memory": "1 GB"})
    with pytest.raises(InputError, match="no batch fits"):
        check_fits(tiny)
