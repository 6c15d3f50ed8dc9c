"""Fabric: costs of a library, its protocols and switches in addition to the links."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim import InputError, Scenario, override, predict
from lbsim.communication.all_reduce import auto, double_binary_tree, halving_doubling, ring
from lbsim.communication.fabric import Fabric, closed_form
from lbsim.communication.selection import fastest_protocol
from lbsim.profiles.hardware import Link, Switch
from lbsim.profiles.module_catalog import find_module
from lbsim.profiles.software import Library, Protocol
from tests.communication.test_all_reduce import ANYWHERE

LINK = Link(name="nvlink, say", source="made up", latency=1e-6, bandwidth=1e10)
EAGER = Protocol(per_collective=1e-6, per_step=0.0, efficiency=0.5)


def fabric(gpus=8, gpus_per_node=1, **fields):
    library = Library(name="made up", source="made up", per_collective=2e-5, per_step=4e-6, **fields)
    return Fabric(gpus, gpus_per_node, LINK, LINK, 1, library, gpus_per_node)


def seconds(message, over):
    return closed_form(*fastest_protocol(message, ring.all_reduce, over))


def test_a_small_message_uses_the_protocol_with_the_lower_start_up_cost():
    over = fabric(protocols=(EAGER,))
    assert seconds(8.0, over) == pytest.approx(1e-6 + 14 * (1e-6 + 1 / 0.5e10))


def test_a_large_message_uses_the_protocol_with_the_higher_bandwidth():
    over = fabric(protocols=(EAGER,))
    assert seconds(8e9, over) == pytest.approx(2e-5 + 14 * (5e-6 + 1e9 / 1e10))


def test_a_protocol_is_used_only_over_its_links():
    elsewhere = EAGER.model_copy(update={"only_over": "pcie"})
    assert seconds(8.0, fabric(protocols=(elsewhere,))) == seconds(8.0, fabric())


def test_steps_inside_a_node_have_their_own_library_cost():
    inside, across = fabric(8, 8, per_step_inside=1e-6), fabric(16, 8, per_step_inside=1e-6)
    assert seconds(0.0, inside) == pytest.approx(2e-5 + 14 * (1e-6 + 1e-6))
    assert seconds(0.0, across) == pytest.approx(2e-5 + 30 * (4e-6 + 1e-6))


@given(st.floats(1, 1e9), st.floats(1, 100))
def test_with_protocols_a_larger_message_still_takes_no_less_time(message, factor):
    over = fabric(protocols=(EAGER,))
    assert seconds(message * factor, over) >= seconds(message, over) * (1 - 1e-12)


@given(st.floats(0, 1e9))
def test_another_protocol_never_increases_the_time(message):
    assert seconds(message, fabric(protocols=(EAGER,))) <= seconds(message, fabric())


@given(st.floats(1e3, 1e9), st.integers(2, 5))
def test_a_message_in_stages_takes_the_time_of_optimal_fragments(message, stages):
    """N fragments through k stages take N + k - 1 slots of α + S/(NB): the minimum over every power of 1.01."""
    over = fabric(2, stages=stages)
    (step, _) = ring.all_reduce(2 * message, over).phases
    start, wire = 5e-6, message / 1e10
    tried = [(count + stages - 1) * (start + wire / count) for count in (1.01**power for power in range(2000))]
    if (stages - 1) * wire > start:  # one fragment or more
        assert over.step_time(step) == pytest.approx(min(tried), rel=1e-4)
    assert over.step_time(step) <= min(tried) * (1 + 1e-12)


@given(st.floats(1, 1e10), st.floats(1, 100))
def test_the_slowdown_by_stages_falls_with_the_message(message, factor):
    one, two = fabric(8), fabric(8, stages=2)
    assert seconds(message, two) >= seconds(message, one) * (1 - 1e-12)
    larger, smaller = (seconds(size, two) / size for size in (message * factor, message))
    assert larger <= smaller * (1 + 1e-12)


def test_without_latency_and_library_stages_cost_nothing():
    free = Library(name="free", source="made up", per_collective=0.0, per_step=0.0, stages=3)
    link = LINK.model_copy(update={"latency": 0.0})
    over = Fabric(8, 1, link, link, 1, free, 1)
    assert seconds(8e6, over) == pytest.approx(14 * 1e6 / 1e10)


@given(st.floats(1, 1e9), st.integers(2, 4))
def test_a_message_in_segments_leaves_no_idle_link_if_a_segment_takes_longer_than_the_latency(message, segments):
    over = fabric(2, segments=segments)
    (step, _) = ring.all_reduce(2 * message, over).phases
    start, wire = 5e-6, message / 1e10
    ends, sent = [], 0.0
    for number in range(segments):  # each is sent when the link is free, and that of the step before has come
        sent = max(sent, number * wire / segments) + wire / segments
        ends.append(sent + start)
    first_of_the_next = max(ends[0], sent)  # which waits for its own latency, or for the link
    assert over.step_time(step) == pytest.approx(first_of_the_next, rel=1e-9)


def test_the_tree_efficiency_of_the_library_applies_to_trees_only():
    full, half = fabric(64), fabric(64, tree_efficiency=(1.0, 0.5))
    assert seconds(1e9, half) == seconds(1e9, full)
    quick, slow = (closed_form(double_binary_tree.all_reduce(1e10, over), over) for over in (full, half))
    assert slow == pytest.approx(2 * quick, rel=0.01)  # all but the latency


@given(st.floats(1, 1e10), st.floats(1, 100))
def test_with_the_tree_efficiencies_of_nccl_a_larger_message_takes_no_less_time(message, factor):
    over = replace(fabric(64, 8), library=Library.load("nccl-2"))
    first, second = (
        closed_form(*fastest_protocol(size, auto.all_reduce, over)) for size in (message, message * factor)
    )
    assert second >= first * (1 - 1e-12)


def tapered(nodes, taper, jobs=1, ring_of=64):
    library = Library(name="free", source="made up", per_collective=0.0, per_step=0.0)
    switches = (Switch(nodes=nodes, taper=taper),)
    return Fabric(ring_of, 1, LINK, LINK, 1, library, 1, switches, jobs)


def test_partners_under_another_switch_share_its_uplinks():
    """Halving and doubling over 64 nodes, 16 to a switch: partners 16 and 32 apart cross, those nearer do not."""
    full, half = (halving_doubling.all_reduce(64e6, over) for over in (tapered(16, 1), tapered(16, 2)))
    times = {
        phase.message: (tapered(16, 1).phase_time(phase), tapered(16, 2).phase_time(phase)) for phase in half.phases
    }
    assert full == half
    for message, (wide, narrow) in times.items():
        crossing = message <= 64e6 / 32  # the fifth and sixth halving are between partners 16 and 32 apart
        assert narrow == pytest.approx(1e-6 + (2 if crossing else 1) * message / 1e10)
        assert wide == pytest.approx(1e-6 + message / 1e10)


def test_the_taper_does_not_slow_a_ring_in_node_order():
    message = 64e6
    assert seconds(message, tapered(16, 8)) == pytest.approx(seconds(message, tapered(16, 1)))


def test_a_job_below_a_single_switch_is_not_slowed():
    collective = halving_doubling.all_reduce(1e6, tapered(64, 8))
    assert closed_form(collective, tapered(64, 8)) == closed_form(collective, tapered(64, 1))


def test_another_job_adds_the_same_load_to_the_switches():
    collective = halving_doubling.all_reduce(1e8, tapered(16, 2))
    one, two, tapered_twice = (
        closed_form(collective, over) for over in (tapered(16, 2), tapered(16, 2, jobs=2), tapered(16, 4))
    )
    assert one < two == pytest.approx(tapered_twice)


def test_a_taper_below_one_is_refused():
    with pytest.raises(InputError, match="taper"):
        override(Scenario.of(gpus=8), {"cluster.switches": "[{nodes = 16, taper = 0.5}]"})


def test_switches_are_fields_of_the_cluster():
    wide = Scenario.of(gpus=1024, all_reduce="halving-doubling")
    narrow = override(wide, {"cluster.switches": "[{nodes = 16, taper = 4}]"})
    assert predict(narrow).step_time > predict(wide).step_time
    with pytest.raises(InputError, match=r"is not a list of switches; write e\.g\. \[\{nodes = 16, taper = 2\}\]"):
        override(wide, {"cluster.switches": "16 nodes"})


def test_a_reduction_counts_where_memory_is_slower_than_the_links():
    """To add what comes in, memory is read twice and written once; to keep it, read and written."""
    slow = replace(tapered(1, 1, ring_of=4), memory=1e9)
    reduce_scatter, all_gather = ring.all_reduce(4e6, slow).phases
    assert slow.step_time(reduce_scatter) == pytest.approx(3 * 1e6 / 1e9)
    assert slow.step_time(all_gather) == pytest.approx(2 * 1e6 / 1e9)
    quick = replace(slow, memory=1e12)
    assert quick.step_time(reduce_scatter) == quick.step_time(all_gather) == pytest.approx(1e-6 + 1e6 / 1e10)


@pytest.mark.parametrize("name", ANYWHERE)
@given(st.integers(1, 32), st.sampled_from([1, 4, 8]), st.floats(1, 1e9), st.floats(1, 100))
def test_more_latency_makes_nothing_faster(name, nodes, inside, message, factor):
    algorithm = find_module("all_reduce", name).all_reduce
    over = fabric(nodes * inside, inside, protocols=(EAGER,))
    late = LINK.model_copy(update={"latency": LINK.latency * factor})
    later = replace(over, intra_node=late, inter_node=late)
    first, second = (closed_form(*fastest_protocol(message, algorithm, way)) for way in (over, later))
    assert second >= first * (1 - 1e-12)


@given(st.integers(2, 500), st.floats(1, 1e9))
def test_a_ring_of_more_ranks_is_no_faster(ranks, message):
    assert seconds(message, fabric(ranks + 1)) >= seconds(message, fabric(ranks)) * (1 - 1e-12)


def scaled(link, name, latency):
    return link.model_copy(update={"name": name, "latency": link.latency * latency})


@pytest.mark.parametrize("field", ["intra_node", "inter_node"])
@pytest.mark.parametrize("name", ANYWHERE)
@given(
    st.tuples(st.integers(1, 32), st.sampled_from([1, 4, 8]), st.floats(1e-3, 1e3)),
    st.floats(1, 1e9),
    st.floats(1, 100),
)
def test_more_latency_of_a_link_makes_no_segmented_message_faster(name, field, shape, message, factor):
    """The other link may have the larger latency: each link counts by itself."""
    algorithm, (nodes, inside, ratio) = find_module("all_reduce", name).all_reduce, shape
    over = replace(fabric(nodes * inside, inside, segments=2), inter_node=scaled(LINK, "between", ratio))
    later = replace(over, **{field: scaled(getattr(over, field), "late", factor)})
    first, second = (closed_form(algorithm(message, here), here) for here in (over, later))
    assert second >= first * (1 - 1e-12)


def test_the_link_with_the_smaller_bandwidth_is_not_relieved_by_the_latency_of_the_other():
    """Inside: 8 ms of bytes and no latency; between nodes: 1 ms of bytes after a latency of 5 ms."""
    inside = LINK.model_copy(update={"latency": 0.0, "bandwidth": 1e9})
    between = LINK.model_copy(update={"latency": 5e-3, "bandwidth": 8e9})
    library = Library(name="free", source="made up", per_collective=0.0, per_step=0.0, segments=2)
    over = Fabric(4, 2, inside, between, 1, library, 2)
    (step, _) = ring.all_reduce(4 * 8e6, over).phases
    assert over.step_time(step) == pytest.approx(8e-3)
