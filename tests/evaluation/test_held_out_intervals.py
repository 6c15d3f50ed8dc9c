import random

import pytest

from lbsim import Scenario
from lbsim.evaluation.held_out_intervals import coverage, half_width, held_out_bounds, with_intervals
from lbsim.evaluation.residual import Residual
from lbsim.measurements.measurement import Measurement
from lbsim.measurements.observation import CaseLabels, Observation
from lbsim.uncertainty.conformal import bounds

HERE = Scenario.of(gpus=16, cluster="mn-1")


def residual(system, ratio, quantity="step_time"):
    """Return a residual whose prediction is 1 and whose observed value is *ratio*."""
    return Residual(Observation(Measurement(quantity, ratio), HERE, case=CaseLabels(system=system)), 1.0)


def system(one):
    return one.observation.case.system


def test_an_interval_contains_the_next_row_as_often_as_its_level():
    draw = random.Random(5)
    rows = [residual(f"system {number}", draw.lognormvariate(0, 1)) for number in range(1000)]
    assert coverage(with_intervals(rows, system)) == pytest.approx(0.9, abs=0.03)  # 3 standard errors of 1000 draws


def test_a_group_is_judged_by_the_other_groups_with_the_rule_of_predict():
    groups = {"a": [-0.1, 0.3], "b": [0.2], "c": [0.1, 0.1], "d": [-0.2, 0.1]}
    assert held_out_bounds(groups, 0.5)["b"] == bounds({name: groups[name] for name in "acd"}, 0.5)


def test_a_far_row_widens_the_other_groups_intervals_and_not_its_own():
    near = [residual(name, ratio) for name, ratio in (("a", 1.1), ("b", 0.9), ("c", 1.05), ("d", 1.02))]
    with_far = with_intervals([*near, residual("e", 9.0)], system)
    assert [one.inside for one in with_far] == [True, True, True, True, False]
    assert (half_width(with_far[:4]) or 0) > (half_width(with_intervals(near, system)) or 0)


def test_a_rate_and_a_time_of_one_speed_are_inside_together():
    """A system that takes r times as long has 1/r of the rate."""
    for ratio in (0.5, 0.8, 1.2, 2.0):
        others = [residual("a", 1.3), residual("b", 0.95)]
        time, *_ = with_intervals([residual("c", ratio), *others], system)
        rate, *_ = with_intervals([residual("c", 1 / ratio, "throughput"), *others], system)
        assert time.inside is rate.inside


def test_a_single_group_has_no_intervals():
    rows = with_intervals([residual("a", 1.1), residual("a", 1.2)], system)
    assert coverage(rows) is None
    assert half_width(rows) is None
