"""What a library and its protocols add to the links."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.all_reduce import ring
from lbsim.collective import Fabric, closed_form, quickest
from lbsim.hardware import Link
from lbsim.software import Library, Protocol

LINK = Link(name="nvlink, say", source="made up", latency=1e-6, bandwidth=1e10)
EAGER = Protocol(per_collective=1e-6, per_step=0.0, efficiency=0.5)


def fabric(gpus=8, gpus_per_node=1, **fields):
    library = Library(name="made up", source="made up", per_collective=2e-5, per_step=4e-6, **fields)
    return Fabric(gpus, gpus_per_node, LINK, LINK, 1, library, gpus_per_node)


def seconds(message, over):
    return closed_form(*quickest(message, ring.all_reduce, over))


def test_a_small_message_takes_the_protocol_that_starts_sooner():
    over = fabric(protocols=(EAGER,))
    assert seconds(8.0, over) == pytest.approx(1e-6 + 14 * (1e-6 + 1 / 0.5e10))


def test_a_large_message_takes_the_protocol_that_reaches_the_bandwidth():
    over = fabric(protocols=(EAGER,))
    assert seconds(8e9, over) == pytest.approx(2e-5 + 14 * (5e-6 + 1e9 / 1e10))


def test_a_protocol_is_used_only_over_its_links():
    elsewhere = EAGER.model_copy(update={"only_over": "pcie"})
    assert seconds(8.0, fabric(protocols=(elsewhere,))) == seconds(8.0, fabric())


def test_steps_that_stay_inside_a_node_cost_what_the_library_says_of_them():
    inside, across = fabric(8, 8, per_step_inside=1e-6), fabric(16, 8, per_step_inside=1e-6)
    assert seconds(0.0, inside) == pytest.approx(2e-5 + 14 * (1e-6 + 1e-6))
    assert seconds(0.0, across) == pytest.approx(2e-5 + 30 * (4e-6 + 1e-6))


@given(st.floats(1, 1e9), st.floats(1, 100))
def test_with_protocols_a_larger_message_still_takes_no_less_time(message, factor):
    over = fabric(protocols=(EAGER,))
    assert seconds(message * factor, over) >= seconds(message, over) * (1 - 1e-12)


@given(st.floats(0, 1e9))
def test_another_protocol_never_makes_it_slower(message):
    assert seconds(message, fabric(protocols=(EAGER,))) <= seconds(message, fabric())
