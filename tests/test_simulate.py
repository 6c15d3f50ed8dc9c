import pytest

from lbsim.all_reduce import hierarchical, ring
from lbsim.collective import Fabric, closed_form
from lbsim.compute import ComputeTimes
from lbsim.fusion import FusionBuffer
from lbsim.hardware import Link
from lbsim.simulate import Step, Transfer, simulate
from lbsim.software import Library

INSIDE = Link(name="inside", source="made up", latency=0.0, bandwidth=1e9)
BETWEEN = Link(name="between", source="made up", latency=0.0, bandwidth=1e9)


def fabric(streams=1, gpus_per_node=1, gpus=2):
    library = Library(name="free", source="made up", per_collective=0.0, per_step=0.0, streams=streams)
    return Fabric(gpus, gpus_per_node, INSIDE, BETWEEN, 1, library, gpus_per_node)


def times(forward=1.0, backward=2.0, update=0.25):
    return ComputeTimes(forward, backward, update, input_overhead=0.0, gradients=())


def transfer(seconds, ready, over):
    """A ring over two GPUs sends the message once: its seconds are its gigabytes."""
    return Transfer(FusionBuffer(("t",), seconds * 1e9, ready), ring.all_reduce(seconds * 1e9, over))


def test_communication_hides_behind_the_rest_of_backward():
    over = fabric()
    step = Step(times(), (transfer(0.5, 1.0, over),))
    assert simulate(step, over).step_time == pytest.approx(1 + 2 + 0.25)


def test_what_backward_does_not_hide_is_exposed():
    over = fabric()
    step = Step(times(), (transfer(0.5, 2.0, over),))
    assert simulate(step, over).step_time == pytest.approx(1 + 2 + 0.5 + 0.25)


def test_without_overlap_communication_starts_after_backward():
    over = fabric()
    step = Step(times(), (transfer(0.5, 1.0, over), transfer(0.25, 2.0, over)), overlap=False)
    assert simulate(step, over).step_time == pytest.approx(1 + 2 + 0.75 + 0.25)


def test_buffers_queue_for_the_one_stream():
    over = fabric()
    step = Step(times(), (transfer(2.0, 0.5, over), transfer(1.0, 1.0, over)))
    assert simulate(step, over).step_time == pytest.approx(1 + 0.5 + 3 + 0.25)


def test_phases_on_different_links_pipeline_when_there_are_streams():
    """Two hierarchical all-reduces, each 2 s inside, 2 s between, 2 s inside: the second's first phase overlaps."""
    one, two = fabric(streams=1, gpus_per_node=2, gpus=4), fabric(streams=2, gpus_per_node=2, gpus=4)
    collective = hierarchical.all_reduce(2e9, one)
    assert [one.phase_time(phase) for phase in collective.phases] == pytest.approx([2, 2, 2])
    buffers = tuple(Transfer(FusionBuffer(("t",), 2e9, 2.0), collective) for _ in range(2))
    queued = simulate(Step(times(), buffers), one).step_time
    pipelined = simulate(Step(times(), buffers), two).step_time
    assert queued == pytest.approx(3 + 2 * 6 + 0.25)
    assert pipelined == pytest.approx(3 + 8 + 0.25)  # inside: 2, 2 while the first is between, 2, 2


def test_compute_is_slower_while_a_collective_runs():
    """A collective of 1.1 s from 1 s into backward: the second left takes 10 % longer, all of it under way."""
    over = fabric()
    step = Step(times(), (transfer(1.1, 1.0, over),), overlap_slowdown=0.1)
    assert simulate(step, over).step_time == pytest.approx(1 + 1 + 1.1 + 0.25)


def test_compute_is_slower_only_as_long_as_a_collective_runs():
    over = fabric()
    step = Step(times(), (transfer(0.55, 0.5, over),), overlap_slowdown=0.1)
    assert simulate(step, over).step_time == pytest.approx(1 + 2 + 0.05 + 0.25)


def test_input_that_is_slower_than_the_step_sets_the_pace():
    assert simulate(Step(times(), input_time=5.0), fabric()).step_time == pytest.approx(5.0)


def test_input_that_is_quicker_than_the_step_costs_nothing_once_it_runs():
    assert simulate(Step(times(), input_time=3.0), fabric()).step_time == pytest.approx(3.25)


def test_the_timeline_holds_one_step_and_its_communication():
    over = fabric()
    timeline = simulate(Step(times(), (transfer(0.5, 1.0, over), transfer(0.25, 2.0, over))), over)
    assert timeline.busy("communication") == pytest.approx(0.75)
    assert timeline.busy("compute") == pytest.approx(3.25)
    assert min(span.start for span in timeline.spans) == pytest.approx(0)
    assert max(span.end for span in timeline.spans) == pytest.approx(timeline.step_time)


def test_a_copy_in_and_out_of_the_buffer_is_part_of_the_communication():
    over = fabric()
    copied = Transfer(FusionBuffer(("t",), 1e9, 2.0), ring.all_reduce(1e9, over), copy_time=0.5)
    assert simulate(Step(times(), (copied,)), over).step_time == pytest.approx(
        1 + 2 + closed_form(copied.collective, over) + 0.5 + 0.25
    )
