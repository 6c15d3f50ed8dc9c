import math

import pytest

from lbsim.calibration.priors import prior
from lbsim.calibration.transforms import from_unconstrained, to_unconstrained


def thought(path, value):
    found = prior(path, value)
    assert found is not None
    return found


def test_it_is_around_what_the_profile_says():
    link = thought("cluster.inter_node.latency", 5e-6)
    assert from_unconstrained(link.middle, link.transform) == pytest.approx(5e-6)
    assert link.lowest < link.middle - link.width < link.middle < link.highest


def test_an_efficiency_that_is_said_to_be_1_could_be_anything():
    sure, unsure = thought("cluster.inter_node.efficiency", 0.9), thought("cluster.inter_node.efficiency", 1.0)
    assert from_unconstrained(sure.middle, "logit") == pytest.approx(0.9)
    assert 0 < from_unconstrained(unsure.middle, "logit") < 1
    assert unsure.width > sure.width


def test_what_is_nought_may_still_be_something_where_that_word_has_a_size():
    assert from_unconstrained(thought("software.step_overhead", 0.0).middle, "log") == pytest.approx(1e-3)
    assert prior("software.fusion_copies", 0.0) is None


def test_a_share_stays_below_1():
    assert thought("software.straggler_spread", 0.5).highest == pytest.approx(math.log(0.95))
    assert thought("software.straggler_spread", 0.001).highest < math.log(0.95)


@pytest.mark.parametrize("line", ["log", "logit", "linear"])
def test_a_place_on_a_line_is_the_value_that_it_is_the_place_of(line):
    assert from_unconstrained(to_unconstrained(0.3, line), line) == pytest.approx(0.3)
