import csv
import io
import json
import re
from typing import Any

import pytest

from lbsim import Scenario, predict
from lbsim.cli.app import main
from lbsim.communication.collective_time import time_all_reduce
from lbsim.errors import InputError
from lbsim.evaluation.validate import validate
from lbsim.measurements.case import case_files, read_case_file
from lbsim.measurements.quantities import ALL_REDUCES, QUANTITIES
from lbsim.profiles.catalog import PUBLISHED_CASES

HEAD = """
source = "a paper"
system = "They et al."
[scenario]
cluster = "mn-1"
model = "resnet50"
software = "chainer-2017"
[scenario.plan]
gpus = 16
batch_per_gpu = 32
"""
KEYS = [
    *("system", "source", "id", "quantity", "class", "observed", "predicted", "low", "high", "relative_error"),
    *("role", "fitted_on_this_system", "anchored"),
]
SUMMARY = ["mean_absolute_relative_error", "max_absolute_relative_error", "interval_coverage", "count"]


def observed(quantity, value, **more):
    fields = {"quantity": f'"{quantity}"', "value": value} | more
    return "\n".join(["[[observed]]", *(f"{name} = {text}" for name, text in fields.items()), ""])


@pytest.fixture
def cases(tmp_path):
    """Write a case file of these entries and return its folder."""

    def write(*entries, head=HEAD):
        (tmp_path / "they.toml").write_text(head + "".join(entries))
        return tmp_path

    return write


def scenario(**changes):
    named: dict[str, Any] = {"gpus": 16, "cluster": "mn-1", "software": "chainer-2017", "batch_per_gpu": 32} | changes
    return Scenario.of(**named)


def test_the_predicted_value_is_the_prediction_s(cases):
    folder = cases(observed("throughput", '"1500 samples/s"'), observed("breakdown.forward", '"100 ms"'))
    whole, part = validate(folder).results
    prediction = predict(scenario())
    bounds = prediction.interval.ranges["throughput"]
    assert (whole.predicted, whole.low, whole.high) == (prediction.throughput, bounds.low, bounds.high)
    assert whole.relative_error == pytest.approx(prediction.throughput / 1500 - 1)
    assert part.predicted == prediction.breakdown.forward
    assert (part.observed, part.low, part.high, part.inside) == (0.1, None, None, None)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_quantity_can_be_observed(cases, quantity):
    dimension = QUANTITIES[quantity]
    more = {"message": '"25 MiB"'} if quantity in ALL_REDUCES else {}
    (result,) = validate(cases(observed(quantity, f'"{dimension.example}"' if dimension else 0.9, **more))).results
    assert result.predicted >= 0


def test_names_are_set_before_the_software_s_defaults_and_paths_after(cases):
    changes = '{ software = "pytorch-nccl", model = "alexnet", "plan.gpus" = 8, "cluster.inter_node.latency" = "9 us" }'
    (result,) = validate(cases(observed("step_time", '"1 s"', set=changes))).results
    there = scenario(gpus=8, software="pytorch-nccl", model="alexnet")
    assert result.predicted == predict(there).step_time
    assert there.plan.overlap != scenario().plan.overlap


def test_an_anchor_is_shown_and_used(cases):
    changes = '{ anchor = "150 samples/s", "plan.gpus" = 1 }'
    (result,) = validate(cases(observed("throughput", '"150 samples/s"', set=changes))).results
    assert result.observation.anchored
    assert result.relative_error == pytest.approx(0, abs=1e-6)  # the anchor's root is iterated


def test_an_all_reduce_is_timed_alone_on_its_links(cases):
    folder = cases(
        observed("all_reduce_time", '"20 ms"', message='"100 MiB"'),
        observed("bus_bandwidth", '"5 GB/s"', message='"100 MiB"'),
    )
    time, bandwidth = validate(folder).results
    timing = time_all_reduce(scenario(), 100 * 2**20)
    assert (time.predicted, bandwidth.predicted) == (timing.time, timing.bus_bandwidth)
    assert time.low is not None
    assert time.low < time.predicted


def test_a_ratio_is_of_two_predictions_and_as_uncertain_as_the_less_sure(cases):
    changes = '{ "plan.batch_per_gpu" = 16 }'
    entry = observed("throughput", 1.2, relative_to=changes)
    (ratio,) = validate(cases(entry)).results
    above, below = predict(scenario()), predict(scenario(batch_per_gpu=16))
    assert ratio.predicted == pytest.approx(above.throughput / below.throughput)
    widths = [prediction.interval.ranges["throughput"].high / prediction.throughput for prediction in (above, below)]
    assert ratio.high is not None
    assert ratio.high / ratio.predicted >= max(widths) * (1 - 1e-9)


def test_accuracy_is_of_absolute_errors_and_known_intervals(cases):
    step = predict(scenario()).step_time
    validation = validate(
        cases(
            observed("step_time", f'"{step / 1.5} s"', role='"calibrate"'),
            observed("step_time", f'"{step / 0.9} s"'),
            observed("step_time", f'"{step * 1000} s"', **{"class": '"odd"'}),
            observed("breakdown.update", '"1 s"'),
        )
    )
    assert [result.relative_error for result in validation.results[:2]] == pytest.approx([0.5, -0.1])
    assert validation.by("role")["calibrate"].mean_absolute_relative_error == pytest.approx(0.5)
    assert validation.by("class")["odd"].interval_coverage == 0
    assert validation.by("class")["breakdown.update"].interval_coverage is None
    assert validation.accuracy.count == 4
    assert validation.accuracy.max_absolute_relative_error == pytest.approx(0.999, abs=1e-3)  # the third


def test_only_picks_by_system_id_quantity_class_source_or_file(cases):
    folder = cases(observed("step_time", '"1 s"', id='"X-1"'), observed("throughput", '"9 samples/s"', id='"X-2"'))
    assert [result.observation.case.id for result in validate(folder, "x-2").results] == ["X-2"]
    assert [result.observation.case.id for result in validate(folder, "step").results] == ["X-1"]
    for text in ("they et", "a paper", "they.toml"):
        assert len(validate(folder, text).results) == 2


def test_an_entry_without_id_and_class_is_named_by_file_and_quantity(cases):
    (result,) = validate(cases(observed("step_time", '"1 s"'))).results
    case = result.observation.case
    assert (case.id, case.class_, case.role) == (
        "they.1",
        "step_time",
        "validate",
    )


def test_a_case_may_name_a_profile_beside_it(cases):
    folder = cases(observed("step_time", '"1 s"'), head=HEAD.replace('"mn-1"', '"slow.toml"'))
    (folder / "slow.toml").write_text('extends = "mn-1"\nnics = 2\n')
    (result,) = validate(folder / "they.toml").results
    assert result.predicted == predict(scenario(cluster=folder / "slow.toml")).step_time


def test_csv_has_a_row_for_each_case_of_the_json(cases, capsys):
    folder = cases(observed("step_time", '"1 s"'), observed("breakdown.update", '"1 s"'))
    assert main(["validate", "--cases", str(folder), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)["cases"]
    assert main(["validate", "--cases", str(folder), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [{name: "" if value is None else str(value) for name, value in one.items()} for one in told] == rows


FAULTS = {
    "no unit": (observed("step_time", 1.0), "value: 1.0 has no unit"),
    "wrong unit": (observed("step_time", '"1 GB"'), "value: 'GB' is not a unit of time"),
    "unit of a plain number": (observed("scaling_efficiency", '"70 %"'), "this quantity is dimensionless"),
    "negative": (observed("scaling_efficiency", -0.7), "more than zero"),
    "not a number": (observed("scaling_efficiency", "nan"), "more than zero"),
    "unknown quantity": (observed("troughput", '"1 samples/s"'), "did you mean 'throughput'?"),
    "unknown role": (observed("step_time", '"1 s"', role='"train"'), "observed.0.role"),
    "unknown field": (observed("step_time", '"1 s"', uncertainty=0.1), "observed.0.uncertainty"),
    "unknown path": (observed("step_time", '"1 s"', set='{ "plan.gups" = 1 }'), "did you mean 'gpus'?"),
    "unknown model": (observed("step_time", '"1 s"', set='{ model = "resnet5" }'), "did you mean 'resnet50'?"),
    "all-reduce of nothing": (observed("all_reduce_time", '"1 ms"'), "message: the size of an all-reduce"),
    "step of a message": (observed("step_time", '"1 s"', message='"1 MiB"'), "message: the size of an all-reduce"),
    "nothing observed": ("", "'observed' is missing"),
}


@pytest.mark.parametrize(("entry", "told"), FAULTS.values(), ids=FAULTS)
def test_a_wrong_case_gets_one_line_that_names_file_and_field(cases, capsys, entry, told):
    folder = cases(entry)
    assert main(["validate", "--cases", str(folder)]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith(f"lbsim: {folder / 'they.toml'}: ")
    assert error.count("\n") == 1
    assert told in error


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(InputError, match="no case files"):
        validate(tmp_path)


def test_json_has_the_promised_keys(cases, capsys):
    folder = cases(observed("step_time", '"1 s"'), observed("breakdown.update", '"1 s"'))
    assert main(["validate", "--cases", str(folder), "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [list(case) for case in content["cases"]] == [KEYS, KEYS]
    summary = content["summary"]
    assert list(summary) == [*SUMMARY, "by_role", "by_system", "by_class"]
    assert list(summary["by_system"]["They et al."]) == SUMMARY


def test_table_shows_hits_and_misses_and_ends_with_all(cases, capsys):
    step = predict(scenario()).step_time
    folder = cases(observed("step_time", f'"{step} s"', id='"HIT"'), observed("step_time", '"1 h"', id='"MISS"'))
    assert main(["validate", "--cases", str(folder)]) == 0
    output = capsys.readouterr().out
    lines = output.splitlines()
    assert max(map(len, lines)) <= 80
    ends = {line.split()[3]: line.split()[-1] for line in lines if "They" in line}
    assert ends == {"HIT": "yes", "MISS": "no"}
    last = " ".join(output.split("\n\n")[-1].split())
    assert re.match(r"All: mean error \d+\.\d%, largest \d+\.\d%, 50% inside", last)


@pytest.mark.parametrize("file", case_files(PUBLISHED_CASES), ids=lambda file: file.stem)
def test_every_published_case_can_be_validated(file):
    assert len(validate(file).results) == len(read_case_file(file).observed)
