import math

import pytest

from lbsim import Scenario, override
from lbsim.evaluation.cross_validation.corrections import FAMILIES, corrected
from lbsim.scenario.paths import value_at
from lbsim.simulation.metrics import ScenarioMetrics

HERE = Scenario.of(gpus=16, cluster="mn-1", software="chainer-2017")
CONSTANT = "software.step_overhead"


def test_a_constant_is_added_where_there_was_none_and_is_never_less_than_nought():
    assert corrected(HERE, {CONSTANT: 0.004}).software.step_overhead == HERE.software.step_overhead + 0.004
    assert corrected(HERE, {CONSTANT: -9.0}).software.step_overhead == 0


def test_all_else_is_multiplied_and_no_efficiency_is_above_1():
    path = "cluster.inter_node.efficiency"
    before = value_at(HERE, path)
    assert value_at(corrected(HERE, {path: -0.5}), path) == pytest.approx(before * math.exp(-0.5))
    assert value_at(corrected(HERE, {path: 5.0}), path) == 1.0


def test_without_corrections_nothing_changes():
    assert corrected(HERE, {}) == HERE


@pytest.mark.parametrize("name", FAMILIES)
def test_every_path_that_is_corrected_is_a_number_of_a_scenario(name):
    family = FAMILIES[name]
    for path in family.paths(HERE):
        assert value_at(HERE, path) >= 0
        assert family.prior(path).lowest < family.prior(path).middle == 0 < family.prior(path).highest


@pytest.mark.parametrize("name", FAMILIES)
def test_no_correction_changes_a_step_on_one_gpu(name):
    """So that what a GPU computes is worked out once for all of them (`folds.Case`)."""
    alone = override(HERE, {"plan.gpus": 1})
    moved = corrected(alone, dict.fromkeys(FAMILIES[name].paths(alone), 0.3))
    assert moved != alone
    assert ScenarioMetrics(moved).value("step_time") == ScenarioMetrics(alone).value("step_time")


def test_a_library_that_says_nothing_of_steps_inside_a_node_has_none_to_correct():
    inside, all_reduces = "software.library.per_step_inside", FAMILIES["all-reduce"]
    assert inside in all_reduces.paths(HERE)
    silent = override(HERE, {"software.library": "gloo"})
    assert silent.software.library.per_step_inside is None
    assert inside not in all_reduces.paths(silent)
