"""Masters and the loss scale, on numbers that can be checked by hand."""

import pytest
import torch

from lbsim.harness.training.precision import LossScale, MasterWeights

EXACT_IN_FP32 = 1 + 2**-13
"""Which fp16 rounds to 1."""


def test_a_change_too_small_for_fp16_adds_up_in_the_masters():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    masters = MasterWeights(model, "mixed", loss_scale=4.0)
    optimizer = torch.optim.SGD([master for _, master in masters.named], lr=2**-13)
    for step in range(1, 9):
        model.weight.grad = torch.full((1, 1), -4.0, dtype=torch.float16)  # -1, scaled
        assert masters.unscale_gradients()
        optimizer.step()
        masters.copy_to_model()
        assert masters.named[0][1].item() == 1 + step * 2**-13
    assert model.weight.dtype == torch.float16
    assert model.weight.item() == 1 + 2**-10  # as one fp16 number away from 1


def test_masters_start_from_weights_that_were_never_rounded():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, EXACT_IN_FP32)
    assert MasterWeights(model, "bf16").named[0][1].item() == EXACT_IN_FP32


def test_batch_norm_stays_in_fp32_and_single_precision_copies_nothing():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    masters = MasterWeights(model, "mixed")
    assert [parameter.dtype for parameter in model.parameters()] == [torch.float16] * 2 + [torch.float32] * 2
    assert all(ours[1] is theirs[1] for ours, theirs in zip(masters.named[2:], masters.working[2:], strict=True))
    single = MasterWeights(torch.nn.Linear(1, 1), "fp32")
    assert all(ours[1] is theirs[1] for ours, theirs in zip(single.named, single.working, strict=True))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_one_bad_gradient_is_found_and_halves_the_scale(bad):
    model = torch.nn.Linear(3, 2)
    masters = MasterWeights(model, "mixed", loss_scale=8.0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    gradient = torch.zeros(2, 3, dtype=torch.float16)
    gradient[1, 2] = bad
    model.weight.grad = gradient
    assert not masters.unscale_gradients()
    assert masters.state()["scale"]["scale"] == 4.0


def test_the_scale_doubles_after_its_patience_and_never_falls_below_one():
    scale = LossScale(2.0, patience=3)
    for overflow in (False, False, True, False, False, False):
        scale.update(overflow=overflow)
    assert scale.scale == 2.0  # halved, then doubled
    for _ in range(5):
        scale.update(overflow=True)
    assert scale.scale == 1.0
