import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.compute import GradientTensor
from lbsim.fusion import fuse
from lbsim.plan import Plan


def gradients(sizes):
    """Gradients of the last layer first, one a second."""
    return [GradientTensor(f"t{i}", len(sizes) - i, size, ready=i + 1.0) for i, size in enumerate(sizes)]


def plan(**fields):
    return Plan(gpus=2, precision="fp32", **fields)


def messages(sizes, **fields):
    return [buffer.message for buffer in fuse(gradients(sizes), plan(**fields))]


def test_without_fusion_each_gradient_travels_alone():
    assert messages([1, 2, 3], fusion="none") == [4, 8, 12]  # four bytes an fp32 number


def test_one_buffer_holds_all_and_waits_for_the_last():
    (buffer,) = fuse(gradients([1, 2, 3]), plan(fusion="one-buffer"))
    assert (buffer.message, buffer.ready, buffer.tensors) == (24, 3.0, ("t0", "t1", "t2"))


def test_a_buffer_closes_as_soon_as_it_holds_the_threshold():
    assert messages([5, 5, 1, 20, 1], fusion="threshold", fusion_threshold=40.0) == [40, 84, 4]


def test_a_split_cuts_after_the_tensors_named():
    """Jia et al. cut ResNet-50 in two: what lies nearer the output travels first."""
    assert messages([1, 2, 3, 4], fusion="split", fusion_split=(1,)) == [24, 16]
    assert messages([1, 2, 3, 4], fusion="split", fusion_split=(1, 3)) == [4, 20, 16]


def test_half_precision_halves_the_message():
    half = Plan(gpus=2, precision="fp32", communication_precision="fp16", fusion="one-buffer")
    (buffer,) = fuse(gradients([1, 2, 3]), half)
    assert buffer.message == 12


@given(
    st.lists(st.integers(min_value=1, max_value=10**7), min_size=1, max_size=60),
    st.sampled_from(["none", "one-buffer", "threshold", "split"]),
    st.floats(min_value=1, max_value=1e8),
    st.integers(min_value=1, max_value=70),
)
def test_every_gradient_travels_once_and_in_order(sizes, fusion, threshold, cut):
    given_gradients = gradients(sizes)
    buffers = fuse(given_gradients, plan(fusion=fusion, fusion_threshold=threshold, fusion_split=(cut,)))
    assert [name for buffer in buffers for name in buffer.tensors] == [g.name for g in given_gradients]
    assert sum(buffer.message for buffer in buffers) == 4 * sum(sizes)
    assert [buffer.ready for buffer in buffers] == sorted(buffer.ready for buffer in buffers)


def test_a_model_without_gradients_sends_nothing():
    assert fuse([], plan(fusion="one-buffer")) == ()
    with pytest.raises(ValueError, match="fusion_split"):
        plan(fusion="split")
