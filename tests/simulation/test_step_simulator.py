import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.communication.all_reduce import hierarchical, ring
from lbsim.communication.fabric import Fabric, closed_form
from lbsim.communication.fusion import FusionBuffer
from lbsim.compute.gradients import ComputeTimes
from lbsim.profiles.hardware import Link
from lbsim.profiles.software import Library
from lbsim.simulation.step_schedule import StepSchedule, Transfer
from lbsim.simulation.step_simulator import simulate_schedule

INSIDE = Link(name="inside", source="made up", latency=0.0, bandwidth=1e9)
BETWEEN = Link(name="between", source="made up", latency=0.0, bandwidth=1e9)


def fabric(gpus_per_node=1, gpus=2):
    library = Library(name="free", source="made up", per_collective=0.0, per_step=0.0)
    return Fabric(gpus, gpus_per_node, INSIDE, BETWEEN, 1, library, gpus_per_node)


def times(forward=1.0, backward=2.0, update=0.25):
    return ComputeTimes(forward, backward, update, input_overhead=0.0, gradients=())


def transfer(seconds, ready, over):
    """A ring over two GPUs sends the message once: its seconds are its gigabytes."""
    return Transfer(FusionBuffer(("t",), seconds * 1e9, ready), ring.all_reduce(seconds * 1e9, over), over)


def test_communication_overlaps_with_the_rest_of_backward():
    over = fabric()
    step = StepSchedule(times(), (transfer(0.5, 1.0, over),))
    assert simulate_schedule(step).step_time == pytest.approx(1 + 2 + 0.25)


def test_what_backward_does_not_hide_is_exposed():
    over = fabric()
    step = StepSchedule(times(), (transfer(0.5, 2.0, over),))
    assert simulate_schedule(step).step_time == pytest.approx(1 + 2 + 0.5 + 0.25)


def test_without_overlap_communication_starts_after_backward():
    over = fabric()
    step = StepSchedule(times(), (transfer(0.5, 1.0, over), transfer(0.25, 2.0, over)), overlap=False)
    assert simulate_schedule(step).step_time == pytest.approx(1 + 2 + 0.75 + 0.25)


def test_buffers_queue_for_a_single_stream():
    over = fabric()
    step = StepSchedule(times(), (transfer(2.0, 0.5, over), transfer(1.0, 1.0, over)))
    assert simulate_schedule(step).step_time == pytest.approx(1 + 0.5 + 3 + 0.25)


def two_hierarchical(streams, first, second):
    """Return the step of two hierarchical all-reduces, each 2 s inside, between and inside, ready then."""
    over = fabric(gpus_per_node=2, gpus=4)
    collective = hierarchical.all_reduce(2e9, over)
    assert [over.phase_time(phase) for phase in collective.phases] == pytest.approx([2, 2, 2])
    buffers = tuple(Transfer(FusionBuffer(("t",), 2e9, ready), collective, over) for ready in (first, second))
    return simulate_schedule(StepSchedule(times(), buffers), streams).step_time


def test_phases_on_different_links_pipeline_when_there_are_streams():
    """The second is inside while the first is between, and between while the first is inside again."""
    assert two_hierarchical(1, 0.0, 2.0) == pytest.approx(1 + 2 * 6 + 0.25)
    assert two_hierarchical(2, 0.0, 2.0) == pytest.approx(1 + 8 + 0.25)


def test_phases_on_the_same_link_share_it_equally():
    """Both at once take twice as long each, so that two streams gain nothing."""
    assert two_hierarchical(2, 2.0, 2.0) == pytest.approx(1 + 2 + 2 * 6 + 0.25)


def test_a_phase_is_slowed_only_while_it_shares():
    over = fabric(gpus_per_node=1, gpus=2)
    alone = [transfer(seconds, 0.0, over) for seconds in (1.0, 3.0)]
    shared = simulate_schedule(StepSchedule(times(), tuple(alone)), 2)
    spans = sorted(span.end - 1 for span in shared.spans if span.stream == "communication")
    assert spans == pytest.approx([2, 4])  # 1 s each of the first 2 s, then the other 2 s of the longer one alone


def test_compute_is_slower_while_a_collective_runs():
    """A collective of 1.1 s from 1 s into backward: the second left takes 10 % longer, all of it under way."""
    over = fabric()
    step = StepSchedule(times(), (transfer(1.1, 1.0, over),), overlap_slowdown=0.1)
    assert simulate_schedule(step).step_time == pytest.approx(1 + 1 + 1.1 + 0.25)


def test_compute_is_slower_only_as_long_as_a_collective_runs():
    over = fabric()
    step = StepSchedule(times(), (transfer(0.55, 0.5, over),), overlap_slowdown=0.1)
    assert simulate_schedule(step).step_time == pytest.approx(1 + 2 + 0.05 + 0.25)


def test_input_slower_than_the_step_determines_the_step_time():
    assert simulate_schedule(StepSchedule(times(), input_time=5.0)).step_time == pytest.approx(5.0)


def test_input_faster_than_the_step_costs_nothing_in_steady_state():
    assert simulate_schedule(StepSchedule(times(), input_time=3.0)).step_time == pytest.approx(3.25)


def test_the_timeline_holds_one_step_and_its_communication():
    over = fabric()
    timeline = simulate_schedule(StepSchedule(times(), (transfer(0.5, 1.0, over), transfer(0.25, 2.0, over))))
    assert timeline.busy("communication") == pytest.approx(0.75)
    assert timeline.busy("compute") == pytest.approx(3.25)
    assert min(span.start for span in timeline.spans) == pytest.approx(0)
    assert max(span.end for span in timeline.spans) == pytest.approx(timeline.step_time)


def test_a_copy_in_and_out_of_the_buffer_is_part_of_the_communication():
    over = fabric()
    copied = Transfer(FusionBuffer(("t",), 1e9, 2.0), ring.all_reduce(1e9, over), over, copy_time=0.5)
    assert simulate_schedule(StepSchedule(times(), (copied,))).step_time == pytest.approx(
        1 + 2 + closed_form(copied.collective, over) + 0.5 + 0.25
    )


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=6), st.integers(2, 6))
def test_sharing_conserves_bytes(lengths, streams):
    """A link that always has something to carry is done when it has carried everything, however it was shared."""
    over = fabric()
    transfers = tuple(transfer(seconds, 0.0, over) for seconds in lengths)
    timeline = simulate_schedule(StepSchedule(times(backward=0.001), transfers), streams)
    assert timeline.step_time == pytest.approx(1 + sum(lengths) + 0.25)
