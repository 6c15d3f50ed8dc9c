import pytest

from lbsim.evaluation.cross_validation.folds import KINDS, cases, family, folds, subject
from lbsim.profiles.catalog import PUBLISHED_CASES


@pytest.fixture(scope="module")
def known():
    return cases(PUBLISHED_CASES)


def systems(cases):
    return {one.case.system for one in cases}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_fitted_to_what_is_left_out(known, kind):
    for fold in folds(kind, known):
        rest = {(one.case.source, one.case.id) for one in fold.rest}
        assert not rest & {(one.case.source, one.case.id) for one in fold.unseen}
        assert len({family(one) for one in fold.rest + fold.unseen}) == 1
        assert all(one.case.role == "calibrate" for one in fold.training)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_out_twice(known, kind):
    unseen = [(one.case.source, one.case.id) for fold in folds(kind, known) for one in fold.unseen]
    assert len(unseen) == len(set(unseen))


def test_a_system_is_predicted_from_others_alone(known):
    for fold in folds("system", known):
        assert len(systems(fold.unseen)) == 1
        assert not systems(fold.unseen) & systems(fold.rest)


def test_a_scale_is_predicted_from_smaller_ones_of_its_system(known):
    for fold in folds("scale", known):
        assert systems(fold.rest) <= systems(fold.unseen)
        (left_out,) = {one.scenario.plan.gpus for one in fold.unseen}
        if fold.unseen[0].message is None:
            assert all(one.scenario.plan.gpus < left_out for one in fold.rest)
        assert all(one.scenario.plan.gpus != left_out for one in fold.rest)


def test_a_model_is_predicted_from_others_of_its_system(known):
    for fold in folds("model", known):
        assert systems(fold.rest) <= systems(fold.unseen)
        (left_out,) = {subject(one) for one in fold.unseen}
        assert left_out not in {subject(one) for one in fold.rest}
