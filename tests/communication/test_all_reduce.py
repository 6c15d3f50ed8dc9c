"""Contract tests over every file of `communication/all_reduce`, and each algorithm's closed form from its paper."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lbsim import InputError
from lbsim.communication.all_reduce import (
    auto,
    double_binary_tree,
    halving_doubling,
    hierarchical,
    hybrid,
    ring,
    two_level,
)
from lbsim.communication.fabric import Fabric, closed_form
from lbsim.profiles.hardware import Link
from lbsim.profiles.module_catalog import find_module, module_names
from lbsim.profiles.software import Library

FREE = Library(name="free", source="charges nothing", per_collective=0.0, per_step=0.0)
INSIDE = Link(name="inside", source="made up", latency=3e-6, bandwidth=10e9)
BETWEEN = Link(name="between", source="made up", latency=1e-5, bandwidth=5e9)


def fabric(gpus, gpus_per_node=1, nics=1, group_size=None, library=FREE):
    inside = min(gpus, gpus_per_node)
    return Fabric(gpus, inside, INSIDE, BETWEEN, nics, library, group_size or inside)


ANYWHERE = [name for name in module_names("all_reduce") if name not in {"nvls", "nvls_tree"}]
"""Algorithms for any hardware; tests/communication/test_switches.py has the same laws for those of NVSwitches."""


def algorithms():
    return [pytest.param(find_module("all_reduce", name).all_reduce, id=name) for name in ANYWHERE]


shapes = st.tuples(st.integers(1, 64), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 8]))
sizes = st.floats(min_value=1, max_value=1e9)


@pytest.mark.parametrize("all_reduce", algorithms())
@given(shape=shapes, message=sizes)
def test_each_gpu_sends_at_least_twice_its_share_of_what_the_others_hold(all_reduce, shape, message):
    nodes, gpus_per_node, nics = shape
    gpus = nodes * gpus_per_node
    over = fabric(gpus, gpus_per_node, nics)
    sent = sum(phase.sent for phase in all_reduce(message, over).phases)
    assert sent >= 2 * (gpus - 1) / gpus * message * (1 - 1e-12)


@pytest.mark.parametrize("all_reduce", algorithms())
@given(shape=shapes, message=sizes, factor=st.floats(1, 100))
def test_a_larger_message_takes_no_less_time(all_reduce, shape, message, factor):
    over = fabric(shape[0] * shape[1], shape[1], shape[2])
    first, second = (closed_form(all_reduce(size, over), over) for size in (message, message * factor))
    assert second >= first * (1 - 1e-12)


@pytest.mark.parametrize("all_reduce", algorithms())
def test_one_gpu_runs_no_phases(all_reduce):
    over = fabric(1)
    assert all_reduce(1e6, over).phases == ()
    assert closed_form(all_reduce(1e6, over), over) == 0


@given(st.integers(2, 4096), sizes)
def test_a_ring_costs_its_closed_form(gpus, message):
    """Patarasuk and Yuan 2009: 2(n-1)(α + S/(nB))."""
    over = fabric(gpus)
    expected = 2 * (gpus - 1) * (BETWEEN.latency + message / gpus / BETWEEN.bandwidth)
    assert closed_form(ring.all_reduce(message, over), over) == pytest.approx(expected, rel=1e-12)


def test_the_slowest_link_determines_the_time_of_a_ring():
    inside_a_node, across = fabric(8, 8), fabric(16, 8)
    assert {phase.links for phase in ring.all_reduce(1e8, inside_a_node).phases} == {("intra_node",)}
    assert closed_form(ring.all_reduce(1e8, across), across) == pytest.approx(2 * 15 * (1e-5 + 1e8 / 16 / 5e9))


def test_several_nics_run_as_many_rings_until_the_node_itself_limits():
    one, two, eight = (closed_form(ring.all_reduce(1e8, over), over) for over in (fabric(16, 8, n) for n in (1, 2, 8)))
    assert one == pytest.approx(2 * 15 * (1e-5 + 1e8 / 16 / 5e9))
    assert two == pytest.approx(2 * 15 * (1e-5 + 1e8 / 16 / 10e9))
    assert eight == pytest.approx(2 * 15 * (3e-6 + 1e8 / 16 / 10e9))  # eight NICs pass the link inside


def test_hierarchical_takes_the_steps_that_its_paper_counts():
    """Jia et al. 2018: 4(k-1) + 2(n/k-1) steps where the ring takes 2(n-1); their example is 16 GPUs in 4 groups."""
    phases = hierarchical.all_reduce(1e6, fabric(16, 4, group_size=4)).phases
    assert sum(phase.steps for phase in phases) == 4 * 3 + 2 * 3
    assert [phase.message for phase in phases] == [1e6 / 4, 1e6 / 4, 1e6 / 4]
    assert [phase.links for phase in phases] == [("intra_node",), ("inter_node",), ("intra_node",)]


def test_leaders_of_small_groups_pass_through_the_node():
    phases = hierarchical.all_reduce(1e6, fabric(32, 8, group_size=4)).phases
    assert phases[1].links == ("intra_node", "inter_node")


def test_a_group_size_that_does_not_divide_is_refused_with_those_that_do():
    with pytest.raises(InputError, match=r"plan.group_size: 3 does not divide 16 GPUs; use one of 1, 2, 4, 8, 16"):
        hierarchical.all_reduce(1e6, fabric(16, 8, group_size=3))


def test_two_level_needs_full_nodes():
    with pytest.raises(InputError, match="12 is not a multiple of 8; use ring"):
        two_level.all_reduce(1e6, fabric(12, 8))


def test_the_gpus_of_a_node_share_its_nics_in_a_two_level_all_reduce():
    one, eight = (closed_form(two_level.all_reduce(1e9, over), over) for over in (fabric(64, 8, 1), fabric(64, 8, 8)))
    inside = 2 * 7 * (3e-6 + 1e9 / 8 / 10e9)
    assert eight - inside == pytest.approx(2 * 7 * (1e-5 + 1e9 / 64 / 5e9))
    assert one - inside == pytest.approx(2 * 7 * (1e-5 + 8 * 1e9 / 64 / 5e9))


def test_halving_and_doubling_takes_the_steps_that_its_paper_counts():
    """Thakur et al. 2005: 2 log2(p) steps that send 2(p-1)/p of the message."""
    phases = halving_doubling.all_reduce(1e6, fabric(32)).phases
    assert sum(phase.steps for phase in phases) == 2 * 5
    assert sum(phase.sent for phase in phases) == pytest.approx(2 * 31 / 32 * 1e6)


def test_nodes_off_a_power_of_two_hand_their_sums_to_the_next_larger_block():
    """Goyal et al. 2017 run 44 servers: blocks of 4, 8 and 32."""
    phases = halving_doubling.all_reduce(1e6, fabric(44)).phases
    assert [phase.message for phase in phases if phase.name.startswith("hand")] == [250000, 125000, 125000, 250000]
    assert sum(phase.steps for phase in phases) == 2 * (5 + 2)


def test_trees_wait_for_the_logarithm_of_the_nodes():
    """Sanders et al. 2009: an empty message passes log2(p) nodes up and as many down."""
    tree = double_binary_tree.all_reduce(1.0, fabric(1024))
    assert closed_form(tree, fabric(1024)) == pytest.approx(2 * 10 * BETWEEN.latency, rel=1e-3)


def test_trees_reach_the_bandwidth_of_a_ring_with_a_large_message():
    over, message = fabric(64), 10e9
    tree = closed_form(double_binary_tree.all_reduce(message, over), over)
    assert tree == pytest.approx(2 * message / BETWEEN.bandwidth, rel=0.03)  # what filling the tree still costs


def test_auto_takes_trees_for_small_messages_on_many_nodes_and_rings_for_large_ones():
    assert auto.all_reduce(1e4, fabric(1024)).algorithm == "double-binary-tree"
    assert auto.all_reduce(1e9, fabric(8)).algorithm == "ring"


@given(shapes, sizes)
def test_hybrid_is_the_faster_of_the_two(shape, message):
    over = fabric(shape[0] * shape[1], shape[1], shape[2])
    both = [closed_form(algorithm.all_reduce(message, over), over) for algorithm in (ring, hierarchical)]
    assert closed_form(hybrid.all_reduce(message, over), over) == min(both)


def test_hybrid_chooses_as_jia_et_al_do():
    """A ring for the large tensors of fully connected layers, hierarchical for the small ones."""
    over = fabric(1024, 8)
    assert hybrid.all_reduce(1e5, over).algorithm == "hierarchical"
    assert hybrid.all_reduce(1e9, over).algorithm == "ring"


@given(st.integers(1, 100))
def test_gpus_that_do_not_fill_whole_nodes_run_a_ring(gpus):
    over = fabric(gpus, 8)
    assume(gpus > 1)
    assert closed_form(ring.all_reduce(1e6, over), over) > 0


def test_the_library_costs_once_per_collective_and_once_per_step():
    library = Library(name="made up", source="made up", per_collective=1e-4, per_step=1e-5)
    free, paid = fabric(4), fabric(4, library=library)
    collective = ring.all_reduce(1e6, free)
    assert closed_form(collective, paid) - closed_form(collective, free) == pytest.approx(1e-4 + 6 * 1e-5)
