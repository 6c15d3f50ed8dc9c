import pytest

from lbsim.evaluation.cross_validation.folds import KINDS, cases, folds
from lbsim.profiles.catalog import PUBLISHED_CASES


@pytest.fixture(scope="module")
def known():
    return cases(PUBLISHED_CASES)


def systems(cases):
    return {case.file.system for case in cases}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_fitted_to_what_is_left_out(known, kind):
    for fold in folds(kind, known):
        rest = {(case.file.source, case.observed.id) for case in fold.rest}
        assert not rest & {(case.file.source, case.observed.id) for case in fold.unseen}
        assert len({case.family for case in fold.rest + fold.unseen}) == 1
        assert all(case.observed.role == "calibrate" for case in fold.training)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_out_twice(known, kind):
    unseen = [(case.file.source, case.observed.id) for fold in folds(kind, known) for case in fold.unseen]
    assert len(unseen) == len(set(unseen))


def test_a_system_is_predicted_from_others_alone(known):
    for fold in folds("system", known):
        assert len(systems(fold.unseen)) == 1
        assert not systems(fold.unseen) & systems(fold.rest)


def test_a_scale_is_predicted_from_smaller_ones_of_its_system(known):
    for fold in folds("scale", known):
        assert systems(fold.rest) <= systems(fold.unseen)
        (left_out,) = {case.scenario.plan.gpus for case in fold.unseen}
        if fold.unseen[0].observed.message is None:
            assert all(case.scenario.plan.gpus < left_out for case in fold.rest)
        assert all(case.scenario.plan.gpus != left_out for case in fold.rest)


def test_a_model_is_predicted_from_others_of_its_system(known):
    for fold in folds("model", known):
        assert systems(fold.rest) <= systems(fold.unseen)
        (left_out,) = {case.what for case in fold.unseen}
        assert left_out not in {case.what for case in fold.rest}
