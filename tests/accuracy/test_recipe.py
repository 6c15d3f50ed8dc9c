import pytest

from lbsim.accuracy.convergence_data import convergence_rows
from lbsim.accuracy.recipe import Recipe
from lbsim.profiles import catalog

RECIPES = {name: Recipe.load(name) for name in catalog.SHIPPED.files("recipes")}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_its_evidence_is_what_the_fit_reads(recipe):
    rows = {row.id: row for row in convergence_rows()}
    for result in recipe.evidence:
        row = rows.get(result.id)
        if row is None:  # the fit leaves out a second table's word for a row that it has
            assert result.id in {"JIA-006", "JIA-008"}
            continue
        assert row.batch == result.batch
        if row.quantity == "top1_error":
            assert 100 - row.value == pytest.approx(result.top1)
        else:
            assert (row.value, row.target) == (result.epochs, f"top-1 {result.top1}%")


def test_the_seeds_tables_are_there_whole():
    # Y. You's slides and Jia et al.'s tables 1, 2, 4, 6 and 7, by hand
    said = {(row.batch, row.top1) for recipe in RECIPES.values() for row in recipe.results}
    slides = [(512, 58.8), (1024, 58.2), (4096, 53.1), (512, 60.2), (4096, 58.9), (8192, 58.0), (4096, 58.4)]
    slides += [(8192, 58.3), (4096, 60.4), (8192, 60.1)]
    jia = [(65536, top1) for top1 in (60.6, 71.9, 73.2, 76.2, 55.8, 57.1, 58.8, 58.7)]
    others = [(8192, 76.26), (32768, 74.94), (32768, 75.3), (32768, 75.4), (32768, 74.9)]
    assert {*slides, *jia, *others} <= said


def test_rates_that_diverged_are_told_apart():
    scan = RECIPES["you2017-alexnet-sgd"]
    assert {row.rate for row in scan.evidence if row.diverged} == {0.07, 0.09}
    assert scan.peak_rate(4096) == 0.05  # the best of those that trained


def test_the_peak_rate_is_the_published_one_or_follows_the_rule():
    goyal = RECIPES["goyal2017-resnet50-sgd"]
    assert goyal.peak_rate(8192) == 3.2  # section 5.1
    assert goyal.peak_rate(65536) == pytest.approx(25.6)
    assert RECIPES["you2017-alexnet-lars"].warm_up_for(4096) == 13
