"""Per-rank times against the closed form, plain loops over ranks and chunks, and laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.communication.all_reduce import double_binary_tree, hierarchical, ring, two_level
from lbsim.communication.collective import Collective, Pattern, Phase
from lbsim.communication.fabric import Fabric, closed_form
from lbsim.communication.rank_clocks import LinkSlowdown, advance, ring_steps
from lbsim.communication.trees import chain, double_binary
from lbsim.profiles.module_catalog import find_module
from tests.communication.test_all_reduce import ANYWHERE, BETWEEN, FREE, INSIDE, algorithms, fabric, shapes, sizes
from tests.communication.test_oracles import INSIDE as ORACLE_INSIDE
from tests.communication.test_oracles import LINK, flat, rows

FULL_NODES = st.tuples(st.integers(1, 24), st.sampled_from([1, 2, 3, 8]), st.sampled_from([1, 2, 8]))


def together(gpus, columns=1):
    return np.zeros((gpus, columns))


def late(gpus, seed=0, columns=1, by=1e-2):
    return np.random.default_rng(seed).uniform(0, by, (gpus, columns))


@pytest.mark.parametrize("all_reduce", algorithms())
@given(shape=shapes, message=sizes)
def test_equal_ranks_take_the_time_of_the_closed_form(all_reduce, shape, message):
    over = fabric(shape[0] * shape[1], shape[1], shape[2])
    collective = all_reduce(message, over)
    slowest = advance(collective, over, together(over.gpus)).max()
    assert slowest == pytest.approx(closed_form(collective, over), rel=1e-3)


@pytest.mark.parametrize("all_reduce", algorithms())
@given(shape=shapes, seed=st.integers(0, 99))
def test_no_rank_finishes_before_the_last_has_entered(all_reduce, shape, seed):
    over = fabric(shape[0] * shape[1], shape[1], shape[2])
    ready = late(over.gpus, seed)
    done = advance(all_reduce(1e6, over), over, ready)
    assert done.min() >= ready.max() * (1 - 1e-12)


@pytest.mark.parametrize("all_reduce", algorithms())
@given(shape=FULL_NODES, seed=st.integers(0, 99))
def test_late_ranks_add_at_most_their_delay(all_reduce, shape, seed):
    over = fabric(shape[0] * shape[1], shape[1], shape[2])
    collective, ready = all_reduce(1e6, over), late(over.gpus, seed)
    assert advance(collective, over, ready).max() <= closed_form(collective, over) + ready.max() + 1e-12


@pytest.mark.parametrize("all_reduce", algorithms())
@given(shape=FULL_NODES, seed=st.integers(0, 99), which=st.integers(0, 10**6), factor=st.floats(1, 10))
def test_a_slow_part_never_reduces_the_time(all_reduce, shape, seed, which, factor):
    over = fabric(shape[0] * shape[1], shape[1], shape[2])
    collective, ready = all_reduce(1e6, over), late(over.gpus, seed)
    slow = np.ones(over.gpus)
    slow[which % over.gpus] = factor
    healthy = advance(collective, over, ready)
    for pace in (LinkSlowdown(slow, np.ones_like(slow)), LinkSlowdown(np.ones_like(slow), slow)):
        assert (advance(collective, over, ready, pace) >= healthy * (1 - 1e-12)).all()


@pytest.mark.parametrize("name", ANYWHERE)
def test_links_that_are_all_twice_as_slow_take_twice_as_long(name):
    over = fabric(32, 8)
    collective = find_module("all_reduce", name).all_reduce(1e7, over)
    twice = LinkSlowdown(np.full(32, 2.0), np.full(32, 2.0))
    assert advance(collective, over, together(32), twice).max() == pytest.approx(2 * closed_form(collective, over))


def test_columns_are_independent():
    over = fabric(24, 8)
    for name in ANYWHERE:
        collective = find_module("all_reduce", name).all_reduce(1e6, over)
        ready = late(24, columns=3)
        alone = [advance(collective, over, ready[:, [column]]) for column in range(3)]
        assert np.array_equal(advance(collective, over, ready), np.concatenate(alone, axis=1))


@given(st.integers(2, 40), st.integers(0, 99))
def test_the_closed_form_of_a_ring_equals_explicit_steps(gpus, seed):
    over = fabric(gpus)
    ready, (phase, _) = late(gpus, seed), ring.all_reduce(1e6, over).phases
    plain = ring_steps(ready[:, None], np.array(over.step_time(phase)), phase.steps)[:, 0]
    np.testing.assert_allclose(advance(Collective("half", 1e6, (phase,)), over, ready), plain, rtol=1e-12)


@given(st.integers(2, 12), st.integers(0, 99))
def test_rings_with_a_slow_link_follow_the_recurrence_step_by_step(gpus, seed):
    """A loop in plain Python over ranks and steps; a hop takes as long as the slower of its two ends."""
    over, slow = fabric(gpus), np.random.default_rng(seed).uniform(1, 3, gpus)
    collective, clocks = ring.all_reduce(1e6, over), late(gpus, seed)[:, 0].tolist()
    step = BETWEEN.time(1e6 / gpus)
    for _ in range(2 * (gpus - 1)):
        clocks = [max(clocks[rank], clocks[rank - 1]) + step * max(slow[rank], slow[rank - 1]) for rank in range(gpus)]
    done = advance(collective, over, late(gpus, seed), LinkSlowdown(np.ones(gpus), slow))
    np.testing.assert_allclose(done[:, 0], clocks, rtol=1e-12)


@given(st.integers(2, 10), st.integers(1, 9), st.integers(0, 99))
def test_a_chain_equals_a_loop_over_every_chunk(members, chunks, seed):
    """A loop over every chunk: it leaves a rank after the chunk before, and after it has come from below."""
    over, random = fabric(members, members), np.random.default_rng(seed)
    ready, slow = random.uniform(0, 1e-4, members), random.uniform(1, 3, members)
    phase = Phase("reduce", chunks + members - 2, 1e4, ("intra_node",), pattern=Pattern("chain up", members))
    left = [0.0] * chunks
    done = ready.copy()
    for rank in range(members - 1, 0, -1):
        step, before = INSIDE.time(1e4) * max(slow[rank], slow[rank - 1]), ready[rank]
        for chunk in range(chunks):
            before = left[chunk] = max(before, left[chunk]) + step
        done[rank] = before
    done[0] = max(ready[0], left[-1])
    pace = LinkSlowdown(slow, np.ones(members))
    clocks = advance(Collective("chain", 1e4, (phase,)), over, ready[:, None], pace)
    np.testing.assert_allclose(clocks[:, 0], done, rtol=1e-12)


@pytest.mark.parametrize("members", range(2, 70))
def test_trees_have_logarithmic_depth_and_each_member_is_a_leaf_of_one(members):
    """NCCL 2.4's double binary tree: of an even number, each is inside at most one of the two."""
    trees = double_binary(members)
    assert {tree.depth for tree in trees} == {int(np.ceil(np.log2(members)))}
    inside = [set(tree.parent.tolist()) for tree in trees]
    if members % 2 == 0:
        assert not inside[0] & inside[1]
    for tree in trees:
        assert max(np.bincount(tree.parent, minlength=members)) <= 2 + 1  # two children, and a root is its own parent


def test_the_parent_in_a_chain_is_the_previous_member():
    assert chain(4).parent.tolist() == [0, 0, 1, 2]


def test_a_reduction_up_the_trees_takes_the_longest_path():
    over, slow = fabric(64), np.ones(64)
    slow[5] = 3.0
    collective = double_binary_tree.all_reduce(1e6, over)
    pace = LinkSlowdown(np.ones(64), slow)
    assert advance(collective, over, together(64), pace).max() > closed_form(collective, over)


def test_the_slow_link_of_a_gpu_does_not_slow_messages_of_others():
    """GPU 3 is no leader, so what is slow between nodes for it is never crossed."""
    over, slow = fabric(32, 8), np.ones(32)
    slow[3] = 5.0
    collective = hierarchical.all_reduce(1e6, over)
    pace = LinkSlowdown(np.ones(32), slow)
    assert advance(collective, over, together(32), pace).max() == pytest.approx(closed_form(collective, over))


def test_a_phase_without_a_pattern_waits_for_all_ranks():
    over, phase = fabric(4), Phase("serve", 3, 1e6, ("inter_node",))
    clocks = advance(Collective("star", 1e6, (phase,)), over, late(4))
    assert clocks.ravel().tolist() == [late(4).max() + 3 * BETWEEN.time(1e6)] * 4


@pytest.mark.parametrize(
    ("tool", "tolerance"),
    [("closed form 2(n-1)(alpha + S/(nB))", 0.001), ("LogGOPSim", 0.001), ("ASTRA-sim 2 analytical, 1 chunk", 0.02)],
)
def test_every_step_of_every_rank_takes_the_time_of_other_simulators(tool, tolerance):
    for row in rows("ring_all_reduce_100MiB.csv"):
        if row["tool"] == tool:
            over = flat(int(row["ranks"]))
            clocks = together(over.gpus)[:, None]
            for phase in ring.all_reduce(float(row["message_bytes"]), over).phases:
                clocks = ring_steps(clocks, np.array(over.step_time(phase)), phase.steps)
            assert clocks.max() * 1e3 == pytest.approx(float(row["all_reduce_ms"]), rel=tolerance)


def test_a_per_rank_two_level_all_reduce_takes_the_time_of_astra_sim():
    (row,) = [r for r in rows("ring_all_reduce_100MiB.csv") if r["tool"] == "ASTRA-sim 2 analytical, 2-D 8x128"]
    over = Fabric(1024, 8, ORACLE_INSIDE, LINK, nics=8, library=FREE, group_size=8)
    done = advance(two_level.all_reduce(float(row["message_bytes"]), over), over, together(1024))
    assert done.max() * 1e3 == pytest.approx(float(row["all_reduce_ms"]), rel=0.02)
