import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from lbsim.units import COMPUTE_RATE, DATA, DATA_RATE, SAMPLE_RATE, TIME, BytesPerSecond, Seconds

DIMENSIONS = (COMPUTE_RATE, DATA, DATA_RATE, SAMPLE_RATE, TIME)


class Measured(BaseModel):
    bandwidth: BytesPerSecond = 1.0
    latency: Seconds = 0.0


@pytest.mark.parametrize(
    ("dimension", "text", "value"),
    [
        (DATA_RATE, "100 Gb/s", 12.5e9),  # eight bits a byte
        (DATA_RATE, "25 GB/s", 25e9),
        (DATA, "64 MiB", 67_108_864),
        (DATA, "1.5 kB", 1500),
        (TIME, "2 µs", 2e-6),
        (TIME, "8.7 min", 522),
        (COMPUTE_RATE, "9.3 TFLOP/s", 9.3e12),
        (SAMPLE_RATE, "218 images/s", 218),
    ],
)
def test_text_with_a_unit_is_read_as_si(dimension, text, value):
    assert dimension.parse(text) == pytest.approx(value, rel=1e-15)


@given(st.sampled_from(DIMENSIONS), st.floats(min_value=1e-12, max_value=1e18))
def test_what_is_written_is_read_back_to_the_same_float(dimension, value):
    assert dimension.parse(dimension.text(value)) == value


@given(st.sampled_from(DIMENSIONS), st.floats(min_value=1e-9, max_value=1e18))
def test_short_text_is_within_its_rounding(dimension, value):
    assert dimension.parse(dimension.short(value).replace(",", "")) == pytest.approx(value, rel=5.1e-4)


@pytest.mark.parametrize("given_value", [12.5e9, 25, True])
def test_a_number_without_a_unit_is_refused_in_text(given_value):
    with pytest.raises(ValidationError, match=r"write it as e\.g\. '25 GB/s'"):
        Measured.model_validate({"bandwidth": given_value}, context=object())


def test_si_floats_are_taken_from_code():
    assert Measured(bandwidth=12.5e9).bandwidth == 12.5e9


@pytest.mark.parametrize(
    "given_value", ["-1 GB/s", "0 GB/s", "nan GB/s", "inf GB/s", "25", "fast", "25 GW", -1.0, math.nan]
)
def test_an_invalid_bandwidth_is_refused(given_value):
    with pytest.raises(ValidationError):
        Measured.model_validate({"bandwidth": given_value})


def test_a_latency_may_be_zero_but_not_negative():
    assert Measured.model_validate({"latency": "0 us"}).latency == 0
    with pytest.raises(ValidationError, match="zero or more"):
        Measured.model_validate({"latency": "-1 us"})


def test_an_unknown_unit_is_refused_with_the_valid_units():
    with pytest.raises(ValueError, match=r"'GW' is not a unit of bandwidth; there are: B/s, kB/s"):
        DATA_RATE.parse("25 GW")
