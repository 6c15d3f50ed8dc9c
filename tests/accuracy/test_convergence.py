import numpy as np
import pytest

from lbsim import InputError
from lbsim.accuracy.convergence_data import rows_by_series, work_by_recipe
from lbsim.accuracy.convergence_fit import fit_errors, fit_work
from lbsim.accuracy.convergence_law import LADDER_EXPONENT, LADDER_SCALE
from lbsim.accuracy.recipe import Recipe
from lbsim.accuracy.recipe_law import law_of

SERIES = {name: works for name, works in work_by_recipe().items() if len(works) >= 4}
LARS = ("mlperf-resnet50-lars", "mlperf-logs-resnet50-lars-v0.6")


def left_out(name):
    """Return what the smaller batches predict for the largest, and its published value."""
    *batches, largest = SERIES[name]
    return fit_work(batches, [SERIES[name][batch] for batch in batches]).work(largest), SERIES[name][largest]


def test_a_hyperbola_is_found_again():
    batches = [2.0**n for n in range(6, 15)]
    law = fit_work(batches, [30 * (1 + batch / 5000) for batch in batches])
    assert float(np.median(law.critical_batch)) == pytest.approx(5000, rel=0.35)  # noise of 4 % is assumed
    assert law.work(2**15).value == pytest.approx(30 * (1 + 2**15 / 5000), rel=0.1)


@pytest.mark.parametrize("name", LARS)
def test_resnet50_under_lars_needs_the_epochs_that_its_smaller_batches_predict(name):
    estimate, truth = left_out(name)
    assert estimate.value == pytest.approx(truth, rel=0.05)  # the target, of the mean
    assert estimate.low <= truth <= estimate.high


def test_largest_batches_are_predicted_within_8_percent_on_average_by_intervals_worth_having():
    pairs = [left_out(name) for name in SERIES]
    assert len(pairs) == 16
    assert np.mean([abs(estimate.value / truth - 1) for estimate, truth in pairs]) <= 0.08  # the target
    assert np.mean([estimate.low <= truth <= estimate.high for estimate, truth in pairs]) >= 0.85
    assert np.median([estimate.high / estimate.low for estimate, _ in pairs]) <= 1.5


def test_reference_points_and_logs_of_one_recipe_are_one_series():
    rows = rows_by_series("work_to_target")
    batches = {row.batch for name in ("mlperf-resnet50-lars", "mlperf-logs-resnet50-lars") for row in rows[name]}
    assert list(SERIES["mlperf-resnet50-lars"]) == sorted(batches)


def test_an_odd_smallest_batch_does_not_set_the_epochs_of_all():
    batches = [2.0**n for n in range(6, 12)]
    works = [30 * (1 + batch / 5000) for batch in batches]
    odd = fit_work(batches, [works[0] / 2.3, *works[1:]])  # as CosmoFlow's, whose recipe differs there
    assert odd.work(4096).value == pytest.approx(30 * (1 + 4096 / 5000), rel=0.1)


def test_the_interval_widens_with_the_distance_from_the_evidence():
    law = fit_work([256, 512, 1024, 2048], [30, 31, 33, 36])
    widths = [law.work(batch).high / law.work(batch).low for batch in (2048, 8192, 65536)]
    assert widths[0] < widths[1] < widths[2]


@pytest.mark.parametrize("name", ["goyal-resnet50-sgd", "nus-resnet50-lars"])
def test_accuracy_at_ninety_epochs_is_within_half_a_point_of_the_source(name):
    rows = [(row.batch, row.epochs or 0.0, row.value) for row in rows_by_series("top1_error")[name]]
    law = fit_errors(rows, "lars" if "lars" in name else "linear-scaling")
    for batch, epochs, error in rows:
        assert law.top1(batch, epochs).value == pytest.approx(100 - error, abs=0.5)


def test_the_epoch_ladder_is_the_law_at_a_fixed_batch():
    rows = [(row.value, row.epochs or 0.0) for row in rows_by_series("top1_error")["ffcv-resnet50-epochs"]]
    floor = np.mean([error - LADDER_SCALE * epochs**LADDER_EXPONENT for error, epochs in rows])
    for error, epochs in rows:
        predicted = floor + LADDER_SCALE * epochs**LADDER_EXPONENT
        assert predicted == pytest.approx(error, abs=0.15)  # rounded to 0.1


def test_the_interval_widens_beyond_the_evidence():
    law = law_of(Recipe.load("nus2020-resnet50-lars"))
    inside, beyond = law.top1(8192, 90), law.top1(131072, 90)
    assert beyond.high - beyond.low > 1.5 * (inside.high - inside.low)
    assert law.beyond_evidence(131072)
    assert not law.beyond_evidence(8192)
    short = law.top1(8192, 30)
    assert short.high - short.low > inside.high - inside.low


def test_epochs_to_a_target_reach_it_and_no_fewer_do():
    law = law_of(Recipe.load("goyal2017-resnet50-sgd"))
    epochs = law.epochs_to(8192, 75.0)
    assert epochs is not None
    assert law.top1(8192, epochs).value >= 75.0
    assert law.top1(8192, epochs - 1).value < 75.0
    assert law.epochs_to(8192, 99.0) is None


def test_without_rows_other_sources_say_all_and_the_interval_is_theirs():
    law = fit_errors([], "lars", (21.5, 1.5))
    estimate = law.top1(1024, 90)
    # LARS at a small batch: e∞ and the ladder's 1.1 points at 90 epochs
    assert estimate.value == pytest.approx(100 - 21.5 - 85.1 * 90**-0.967, abs=0.2)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.645 * 1.5, rel=0.1)


def test_nothing_to_fit_is_refused():
    with pytest.raises(InputError, match="no evidence"):
        fit_errors([], "lars")
