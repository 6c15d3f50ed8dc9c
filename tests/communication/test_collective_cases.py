"""Published collectives in traces/collectives: readable cases, and the errors that reports/collectives states."""

from itertools import chain
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from lbsim import InputError, Scenario, override
from lbsim.communication.collective_time import MICROBENCHMARKS, time_all_reduce
from lbsim.communication.rank_clocks import advance
from lbsim.evaluation.validate import validate
from lbsim.measurements.case import case_files, read_case_file

CASES = Path(__file__).parents[2] / "traces" / "collectives"


def test_each_observation_has_its_own_name():
    names = [one.id for file in case_files(CASES) for one in read_case_file(file).observed]
    assert len(names) == len(set(names)) == 2126


def test_each_case_is_a_collective_whose_time_can_be_predicted():
    observed = list(chain.from_iterable(read_case_file(file).observed for file in case_files(CASES)))
    assert {one.quantity for one in observed} <= set(MICROBENCHMARKS)
    assert {one.role for one in observed} == {"calibrate"}  # the costs of nccl-2.28 were fitted to them


@pytest.mark.parametrize(("file", "limit"), [("aws_p5en", 0.03), ("aws_p6_b200", 0.05), ("supermicro_h100_node", 0.03)])
def test_the_mean_error_is_what_the_report_states(file, limit):
    errors = [abs(result.relative_error) for result in validate(CASES / f"{file}.toml").results]
    assert mean(errors) < limit


def test_the_launch_of_a_benchmark_adds_to_each_collective_once():
    scenario = override(Scenario.of(gpus=8, cluster="dgx-h100"), {"software.library": "nccl-2.28"})
    measured = override(scenario, {"software.library.launch": "21 us"})
    for message in (8.0, 1e6, 1e9):
        assert time_all_reduce(measured, message).time == pytest.approx(time_all_reduce(scenario, message).time + 21e-6)
    timing = time_all_reduce(measured, 1e6)
    assert advance(timing.collective, timing.fabric, np.zeros((8, 1))).max() == pytest.approx(timing.time)


def test_a_negative_launch_is_refused():
    with pytest.raises(InputError, match="launch"):
        override(Scenario.of(gpus=8), {"software.library.launch": "-1 us"})
