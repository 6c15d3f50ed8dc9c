import random
from itertools import pairwise

import pytest

from lbsim.uncertainty.conformal import Bounds, bounds, normal_quantile

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
DRAWS = 800


def drawn(draw, systems):
    """Return errors of systems that differ more than their rows do, with one to twelve rows each."""
    found = {}
    for number in range(systems):
        own = draw.gauss(0, 0.3)
        found[str(number)] = [own + draw.gauss(0, 0.1) for _ in range(draw.randint(1, 12))]
    return found


def share_inside(systems, level):
    """Return how often a row of another system is inside what *systems* of them say."""
    draw, inside = random.Random(systems), 0
    for _ in range(DRAWS):
        off, error = bounds(drawn(draw, systems), level), draw.gauss(0, 0.3) + draw.gauss(0, 0.1)
        inside += -off.below <= error <= off.above
    return inside / DRAWS


@pytest.mark.parametrize(("systems", "level", "asked"), [(40, 0.9, 0.9), (40, 0.5, 0.5), (8, 0.9, 0.84)])
def test_a_row_of_another_system_is_inside_as_often_as_it_says(systems, level, asked):
    # of eight systems as alike as these, fewer: what the module says of itself
    error = 4 * (asked * (1 - asked) / DRAWS) ** 0.5
    assert share_inside(systems, level) == pytest.approx(asked, abs=error)


def test_rows_that_have_nothing_in_common_are_held_as_often_as_split_conformal_prediction_does():
    draw, inside = random.Random(3), 0
    for _ in range(DRAWS):
        off, error = bounds({str(at): [draw.gauss(0, 1)] for at in range(19)}, 0.9), draw.gauss(0, 1)
        inside += -off.below <= error <= off.above
    assert inside / DRAWS == pytest.approx(0.9, abs=4 * (0.09 / DRAWS) ** 0.5)


def test_too_few_rows_for_a_level_are_lengthened_as_a_normal_tail():
    four = {name: [error] for name, error in zip("abcd", (-0.4, -0.1, 0.1, 0.4), strict=True)}
    assert bounds(four, 0.8).above == pytest.approx(0.4)  # the largest of 4 stands at 4/5
    assert bounds(four, 0.9).above == pytest.approx(0.4 * normal_quantile(0.9) / normal_quantile(0.8))


def test_a_system_counts_once_however_many_rows_it_has():
    few = {"a": [-0.2, 0.1], "b": [0.3], "c": [0.05]}
    assert bounds(few | {"b": [0.3] * 50}, 0.5).above == pytest.approx(bounds(few, 0.5).above)
    rows = [(error,) for errors in few.values() for error in errors]
    assert bounds({str(at): row for at, row in enumerate(rows)}, 0.5) != bounds(few, 0.5)


def test_a_higher_level_is_never_narrower():
    draw = random.Random(1)
    for systems in (2, 5, 20):
        errors = drawn(draw, systems)
        found = [bounds(errors, level) for level in LEVELS]
        assert all(less.below <= more.below for less, more in pairwise(found))
        assert found[0].above < found[-1].above


def test_the_side_on_which_errors_are_longer_is_wider():
    draw = random.Random(2)
    skewed = {str(number): [draw.expovariate(4) - 0.05] for number in range(20)}
    off = bounds(skewed, 0.9)
    assert off.above > 1.3 * off.below


def test_errors_that_are_alike_on_both_sides_make_both_alike():
    errors = {str(number): [0.01 * number, -0.01 * number] for number in range(1, 12)}
    off = bounds(errors, 0.8)
    assert off.below == pytest.approx(off.above)


def test_no_errors_are_no_width():
    assert bounds({"a": [0.0], "b": [0.0, 0.0]}, 0.9) == Bounds(0, 0)


def test_independent_errors_are_added_in_quadrature_and_the_wider_of_two_is_taken_side_by_side():
    one, other = Bounds(0.3, 0.1), Bounds(0.4, 0.05)
    assert one.widened(other).below == pytest.approx(0.5)
    assert one.covering(other) == Bounds(0.4, 0.1)
