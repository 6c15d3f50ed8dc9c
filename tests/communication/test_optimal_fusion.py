"""Fusion bounds against exhaustive search, other policies and the results of other programs."""

import csv
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.communication.optimal_fusion import completion_time, mg_wfbp, optimal
from tests.communication.test_oracles import ORACLES, flat, step_of_54_groups

gradients = st.lists(st.tuples(st.integers(1, 10**8).map(float), st.floats(0, 0.01)), min_size=1, max_size=9)
"""Bytes, and seconds of backward from one gradient to the next."""


def costs(startup, rate, jump_at, jump):
    """A cost that does not fall, with a jump: another protocol from some size on."""
    return lambda message: startup + message / rate + (jump if message > jump_at else 0.0)


cost_functions = st.builds(costs, st.floats(0, 0.01), st.floats(1e8, 1e11), st.floats(0, 1e8), st.floats(0, 0.05))


def split(drawn):
    messages = [message for message, _ in drawn]
    ready, now = [], 0.0
    for _, seconds in drawn:
        now += seconds
        ready.append(now)
    return messages, ready


def every_cut(count):
    for cuts in range(count):
        for inner in combinations(range(1, count), cuts):
            yield [0, *inner, count]


@given(gradients, cost_functions)
def test_the_optimum_equals_exhaustive_search(drawn, cost):
    messages, ready = split(drawn)
    best = min(completion_time(cuts, messages, ready, cost) for cuts in every_cut(len(messages)))
    assert completion_time(optimal(messages, ready, cost), messages, ready, cost) == pytest.approx(best, rel=1e-12)


@given(gradients, cost_functions, st.floats(0.01, 0.5))
def test_with_slowed_compute_it_is_no_worse_than_the_greedy_rule_one_buffer_or_no_fusion(drawn, cost, slowdown):
    messages, ready = split(drawn)
    found = completion_time(optimal(messages, ready, cost, slowdown), messages, ready, cost, slowdown)
    others = [mg_wfbp(messages, ready, cost), [0, len(messages)], list(range(len(messages) + 1))]
    assert found <= min(completion_time(cuts, messages, ready, cost, slowdown) for cuts in others) * (1 + 1e-12)


@given(gradients, cost_functions)
def test_the_greedy_rule_sends_every_gradient_once(drawn, cost):
    messages, ready = split(drawn)
    bounds = mg_wfbp(messages, ready, cost)
    assert bounds[0] == 0
    assert bounds[-1] == len(messages)
    assert bounds == sorted(set(bounds))


@pytest.mark.parametrize(("rule", "name"), [(optimal, "exact optimum"), (mg_wfbp, "MG-WFBP greedy rule")])
@pytest.mark.parametrize("ranks", [8, 64, 256, 1024])
def test_it_exposes_the_published_communication_of_54_groups(rule, name, ranks):
    """The table prints microseconds, so half of one is added to the relative tolerance."""
    with (ORACLES / "resnet50_step_exposed_communication.csv").open() as file:
        (row,) = [r for r in csv.DictReader(file) if r["buckets"] == name and r["ranks"] == str(ranks)]
    times, link = step_of_54_groups(), flat(ranks).inter_node
    messages = [2.0 * gradient.elements for gradient in times.gradients]
    ready = [gradient.ready for gradient in times.gradients]

    def cost(message):
        return 2 * (ranks - 1) * (link.latency + message / ranks / link.bandwidth)

    exposed = completion_time(rule(messages, ready, cost), messages, ready, cost) - times.backward
    assert exposed * 1e3 == pytest.approx(float(row["exposed_ms"]), rel=0.005, abs=0.0005)
