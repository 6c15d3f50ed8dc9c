"""Schedules against the numbers in their papers."""

import pytest

from lbsim.harness.training.schedules import gradual_warm_up, linear_scaling, polynomial_decay, slow_start


def test_akibas_base_rate_is_12_8_at_1024_workers_of_32():
    assert linear_scaling(1024 * 32) == pytest.approx(12.8)  # appendix A.2


@pytest.mark.parametrize(("epochs", "share"), [(range(40), 0.5), (range(40, 70), 0.075), (range(70, 85), 0.01)])
def test_slow_start_holds_akibas_shares(epochs, share):
    assert {slow_start(epoch, 12.8, epochs=90) for epoch in epochs} == {12.8 * share}
    assert {slow_start(epoch, 12.8, epochs=90) for epoch in range(85, 90)} == {0.0128}


def test_goyals_rate_of_batch_8192_ramps_from_0_1_to_3_2():
    # section 2.2: from η to kη in 5 epochs, here from 0.1 to 0.1 x 32
    ramp = [gradual_warm_up(epoch, 3.2, epochs=90, batch=8192) for epoch in (0, 1, 2, 3, 4, 5)]
    assert ramp == pytest.approx([0.1, 0.72, 1.34, 1.96, 2.58, 3.2])
    steps = [gradual_warm_up(epoch, 3.2, epochs=90, batch=8192) for epoch in (29, 30, 59, 60, 79, 80, 89)]
    assert steps == pytest.approx([3.2, 0.32, 0.32, 0.032, 0.032, 0.0032, 0.0032])


def test_a_small_batch_needs_no_ramp():
    assert gradual_warm_up(0, 0.05, epochs=90, batch=128) == 0.05


def test_polynomial_decay_is_a_parabola_that_ends_at_zero():
    rates = [polynomial_decay(epoch, 1.0, epochs=100, warm_up=2) for epoch in (2, 25, 50, 75, 100)]
    assert rates == pytest.approx([0.98**2, 0.5625, 0.25, 0.0625, 0.0])


def test_without_warm_up_a_schedule_starts_at_its_peak():
    assert gradual_warm_up(0, 3.2, epochs=90, batch=8192, warm_up=0) == 3.2
    assert polynomial_decay(0, 1.0, epochs=10, warm_up=0) == 1.0
