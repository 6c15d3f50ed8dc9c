import random

import pytest

from lbsim.evaluation.coverage import coverage, held_out_bounds
from lbsim.uncertainty.conformal import bounds


def test_an_interval_contains_the_next_row_as_often_as_its_level():
    draw = random.Random(5)
    groups = {f"system {number}": [draw.gauss(0, 1)] for number in range(1000)}
    assert coverage(groups, 0.9).share == pytest.approx(0.9, abs=0.03)  # 3 standard errors of 1000 draws


def test_a_group_is_judged_by_the_other_groups_with_the_rule_of_predict():
    groups = {"a": [-0.1, 0.3], "b": [0.2], "c": [0.1, 0.1], "d": [-0.2, 0.1]}
    found = held_out_bounds(groups, 0.5)
    assert found["b"] == bounds({name: groups[name] for name in "acd"}, 0.5)
    assert coverage(groups | {"e": [9.0]}, 0.5).inside[-1] is False


def test_a_single_group_has_no_coverage():
    assert coverage({"a": [0.1, 0.2]}).share is None
    assert coverage({"a": [0.1, 0.2]}).half_width is None
