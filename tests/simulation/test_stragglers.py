import pytest

from lbsim.simulation.stragglers import expected_maximum, expected_slowdown


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (2, 0.56419),  # 1/sqrt(pi): David and Nagaraja 2003, table of expected normal order statistics
        (3, 0.84628),
        (4, 1.02938),
        (5, 1.16296),
        (8, 1.42360),
        (10, 1.53875),
        (16, 1.76599),
        (100, 2.50759),
    ],
)
def test_the_expected_maximum_is_the_tabulated_one(ranks, expected):
    assert expected_maximum(ranks) == pytest.approx(expected, abs=2e-5)


def test_a_single_rank_waits_for_no_other():
    assert expected_maximum(1) == pytest.approx(0, abs=1e-12)


def test_the_expected_maximum_rises_with_the_ranks_to_a_million():
    values = [expected_maximum(2**power) for power in range(21)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(4.86, abs=0.02)  # sqrt(2 ln n) less its known correction, n = 2^20


def test_a_step_is_longer_in_proportion_to_the_spread():
    assert expected_slowdown(0.04, 64) == pytest.approx(2 * expected_slowdown(0.02, 64))
    assert expected_slowdown(0.0, 64) == 0
