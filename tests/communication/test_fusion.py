from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim import InputError
from lbsim.communication.fusion import fuse
from lbsim.compute.gradients import GradientTensor
from lbsim.scenario.plan import FusionPolicy, Plan


def gradients(sizes):
    """Gradients of the last layer first, one a second."""
    return [GradientTensor(f"t{i}", len(sizes) - i, size, ready=i + 1.0) for i, size in enumerate(sizes)]


def plan(**fields):
    return Plan(gpus=2, precision="fp32", **fields)


def messages(sizes, **fields):
    return [buffer.message for buffer in fuse(gradients(sizes), plan(**fields))]


def test_without_fusion_each_gradient_is_a_message():
    assert messages([1, 2, 3], fusion="none") == [4, 8, 12]  # four bytes an fp32 number


def test_one_buffer_holds_all_gradients_and_waits_for_the_last():
    (buffer,) = fuse(gradients([1, 2, 3]), plan(fusion="one-buffer"))
    assert (buffer.message, buffer.ready, buffer.tensors) == (24, 3.0, ("t0", "t1", "t2"))


def test_a_buffer_closes_as_soon_as_it_holds_the_threshold():
    assert messages([5, 5, 1, 20, 1], fusion="threshold", fusion_threshold=40.0) == [40, 84, 4]


def test_a_split_ends_a_buffer_after_each_given_tensor():
    """Jia et al. cut ResNet-50 in two: what lies nearer the output travels first."""
    assert messages([1, 2, 3, 4], fusion="split", fusion_split=(1,)) == [24, 16]
    assert messages([1, 2, 3, 4], fusion="split", fusion_split=(1, 3)) == [4, 20, 16]


def test_half_precision_halves_the_message():
    half = Plan(gpus=2, precision="fp32", communication_precision="fp16", fusion="one-buffer")
    (buffer,) = fuse(gradients([1, 2, 3]), half)
    assert buffer.message == 12


@given(
    st.lists(st.integers(min_value=1, max_value=10**7), min_size=1, max_size=60),
    st.sampled_from(get_args(FusionPolicy)),
    st.floats(min_value=1, max_value=1e8),
    st.integers(min_value=1, max_value=70),
)
def test_every_gradient_is_sent_once_and_in_order(sizes, fusion, threshold, cut):
    given_gradients = gradients(sizes)
    chosen = plan(fusion=fusion, fusion_threshold=threshold, fusion_split=(cut,))
    buffers = fuse(given_gradients, chosen, cost=lambda message: 1e-3 + message / 1e9)
    assert [name for buffer in buffers for name in buffer.tensors] == [g.name for g in given_gradients]
    assert sum(buffer.message for buffer in buffers) == 4 * sum(sizes)
    assert [buffer.ready for buffer in buffers] == sorted(buffer.ready for buffer in buffers)


def test_a_model_without_gradients_sends_nothing():
    assert fuse([], plan(fusion="one-buffer")) == ()
    with pytest.raises(ValueError, match="fusion_split"):
        plan(fusion="split")


def test_ddp_sends_its_first_buffer_early():
    """PyTorch closes the first bucket at 1 MiB and the others at bucket_cap_mb."""
    assert messages([2**18, 2**18, 2**20, 2**20], fusion="ddp", fusion_threshold=8 * 2.0**20) == [2**20, 9 * 2**20]


def test_horovod_sends_the_gradients_of_a_cycle_at_its_end():
    """Gradients are ready at 1, 2, 3 and 4 s; every 2 s the coordinator looks, and hears four ranks for 0.1 s each."""
    cycles = Plan(gpus=4, precision="fp32", fusion="horovod", fusion_cycle=2.0, fusion_negotiation=0.1)
    buffers = fuse(gradients([1, 1, 1, 1]), cycles)
    assert [buffer.tensors for buffer in buffers] == [("t0", "t1"), ("t2", "t3")]
    assert [buffer.ready + buffer.delay for buffer in buffers] == pytest.approx([2.4, 4.4])


def test_horovod_never_fills_a_buffer_beyond_its_threshold():
    cycles = Plan(gpus=4, precision="fp32", fusion="horovod", fusion_cycle=10.0, fusion_threshold=8.0)
    assert [buffer.message for buffer in fuse(gradients([1, 1, 1, 5]), cycles)] == [8, 4, 20]


def test_a_policy_that_needs_costs_is_refused_without_them():
    with pytest.raises(InputError, match="optimal needs the cost of a message"):
        fuse(gradients([1]), plan(fusion="optimal"))
