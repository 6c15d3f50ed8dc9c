import json
from pathlib import Path

import pytest

from lbsim.errors import InputError
from lbsim.measurements.measurement import read
from lbsim.profiles.module_catalog import find_module, module_names

TRACES = Path(__file__).parents[2] / "traces"
POLARIS = TRACES / "nccl-tests" / "polaris-32-a100.txt"
SAMPLES = {
    "csv_table": TRACES / "csv" / "gloo-2-ranks.csv",
    "kineto": TRACES / "kineto" / "gloo-2-ranks.json",
    "lbsim_trace": TRACES / "harness" / "all-reduce-gloo-loopback-2.json",
    "nccl_tests": POLARIS,
    "osu": TRACES / "osu" / "polaris-32-ranks.txt",
}


@pytest.mark.parametrize("name", module_names("readers"))
def test_each_reader_knows_its_real_sample_and_no_other(name):
    for other, sample in SAMPLES.items():
        assert find_module("readers", name).knows(sample.read_text()) is (other == name)


@pytest.mark.parametrize("name", module_names("readers"))
def test_each_real_sample_has_times_that_can_be(name):
    reading = read(SAMPLES[name])
    assert len(reading.measurements) >= 3
    for one in reading.measurements:
        assert 1e-6 < one.value < 1  # an all-reduce of 4 B to 1 GiB
        assert one.where


def test_nccl_tests_in_place_time_is_taken_from_the_printed_line():
    found = {one.message: one for one in read(POLARIS).measurements}
    assert found[2.0**20].value == pytest.approx(1212.3e-6)
    assert found[2.0**20].changes == {"plan.gpus": 32}
    assert read(POLARIS).machine == "NVIDIA A100-SXM4-40GB"


def test_nccl_tests_json_says_the_same_as_its_table(tmp_path):
    # as src/util.cu writes it; no file of it was found in public
    lines = [line.split() for line in POLARIS.read_text().splitlines() if not line.startswith("#") and line.strip()]
    content = {
        "version": 1,
        "nccl_version": 21803,
        "config": {"devices": [{"rank": rank, "device_info": "NVIDIA A100-SXM4-40GB"} for rank in range(32)]},
        "results": [
            {
                "size": int(cells[0]),
                "out_of_place": {"time": float(cells[5]), "alg_bw": 0.0, "bus_bw": 0.0, "nwrong": 0.0},
                "in_place": {"time": float(cells[9]), "alg_bw": 0.0, "bus_bw": 0.0, "nwrong": 0.0},
            }
            for cells in lines
        ],
    }
    file = tmp_path / "nccl.json"
    file.write_text(json.dumps(content))
    table, written = (
        [(one.message, one.value, one.changes) for one in read(one_file).measurements] for one_file in (POLARIS, file)
    )
    assert written == table


def test_a_table_may_have_bus_bandwidths_of_messages(tmp_path):
    file = tmp_path / "bandwidths.csv"
    file.write_text("quantity,value,message,plan.gpus\nbus_bandwidth,5 GB/s,100 MiB,16\n")
    (found,) = read(file).measurements
    assert (found.quantity, found.value, found.message) == ("bus_bandwidth", 5e9, 100 * 2**20)
    file.write_text("quantity,value,message,plan.gpus\nbus_bandwidth,5 GB/s,,16\n")
    with pytest.raises(InputError, match="line 2, message"):
        read(file)


def test_osu_times_are_microseconds():
    found = {one.message: one.value for one in read(SAMPLES["osu"]).measurements}
    assert found[4.0] == pytest.approx(9.50e-6)
    assert found[2.0**29] == pytest.approx(334623.94e-6)


def test_kineto_messages_are_the_gradients():
    # 256x512, 512x512 and 512x10 weights and their biases, fp32
    sizes = {one.message for one in read(SAMPLES["kineto"]).measurements}
    assert sizes == {4.0 * size for size in (256 * 512, 512, 512 * 512, 512 * 10, 10)}
    assert any("AddmmBackward0" in told for told in read(SAMPLES["kineto"]).left_out)


def test_more_processes_than_processors_are_left_out():
    reading = read(TRACES / "harness" / "all-reduce-gloo-loopback-4.json")
    assert not reading.measurements
    assert "4 processes on 2 processors" in reading.left_out[0]


@pytest.mark.parametrize(
    ("sample", "damage", "told"),
    [
        ("nccl_tests", ("1212.3", "nan"), "line 58, time: 'nan' is not a valid measurement"),
        ("osu", ("676.48", "-676.48"), "line 22, latency: '-676.48' is not a valid measurement"),
        ("lbsim_trace", ('"version": 1', '"version": 2'), "version: 2 is another schema"),
        ("csv_table", ("1024 B", "1024"), "line 3, message: 1024 has no unit"),
        ("kineto", ('"dur"', '"durr"'), ".dur: 'None' is not a valid measurement"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(sample, damage, told, tmp_path):
    file = tmp_path / SAMPLES[sample].name
    file.write_text(SAMPLES[sample].read_text().replace(*damage))
    with pytest.raises(InputError) as caught:
        read(file)
    assert told in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_why_a_trace_of_many_layers_is_not_fitted_to_is_said_once_a_kind():
    reading = read(TRACES / "harness" / "step-resnet152-epyc.json")
    kinds = [reason.rpartition(": ")[2] for reason in reading.left_out]
    unknown = ("engine", "update", "layer.forward", "layer.backward")
    assert kinds == [f"{what} is not predicted" for what in unknown]
    assert len(reading.measurements) == 9  # forward, backward and the step, at three batches
