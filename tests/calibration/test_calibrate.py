import json
import math
import os
import random
import time
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lbsim import Scenario, override, predict
from lbsim.calibration.calibrate import fit
from lbsim.calibration.calibration import Calibration, Fitted
from lbsim.calibration.observations import CalibrationData, read_observations
from lbsim.calibration.transforms import to_unconstrained
from lbsim.cli.app import app, main
from lbsim.communication.collective_time import time_all_reduce
from lbsim.errors import InputError
from lbsim.measurements.measurement import Measurement
from lbsim.measurements.observation import Observation
from lbsim.profiles.catalog import SHIPPED
from lbsim.profiles.toml import profile_to_toml
from lbsim.simulation.metrics import ScenarioMetrics

CHECKOUT = Path(__file__).parents[2]
POLARIS = CHECKOUT / "traces" / "nccl-tests" / "polaris-32-a100.txt"
GLOO = CHECKOUT / "traces" / "harness" / "all-reduce-gloo-loopback-2.json"

TRUE = {
    "cluster.inter_node.latency": 2e-5,
    "cluster.inter_node.efficiency": 0.6,
    "software.speed.vector": 1.2,
}
NOISE = 0.02
ELSEWHERE = "cluster.host.latency"
"""Of the copy of input, which hides behind compute here: nothing that is measured depends on it."""


def measured(outliers=0.0, seed=1, models=("resnet50",), batches=(16, 32), fineness=1):
    """Make up steps and all-reduces on 4 to 32 GPUs, of a machine with other values than its profile has."""
    chance = random.Random(seed)
    scenario = Scenario.of(gpus=4, cluster="hkbu-10gbe", software="horovod-pytorch", precision="fp32")
    found = []

    def observe(here, quantity, value, message=None):
        value *= math.exp(chance.gauss(0, NOISE)) * (0.5 if chance.random() < outliers else 1.0)
        found.append(Observation(Measurement(quantity, value, "made up", message), here))

    for model, gpus, batch in product(models, (4, 8, 16, 32), batches):
        here = override(scenario, {"model": model, "plan.gpus": gpus, "plan.batch_per_gpu": batch})
        observe(here, "throughput", ScenarioMetrics(override(here, TRUE)).value("throughput"))
    here = override(scenario, {"plan.gpus": 16})
    for power in range(10 * fineness, 28 * fineness):
        size = 2.0 ** (power / fineness)
        observe(here, "all_reduce_time", time_all_reduce(override(here, TRUE), size).time, size)
    return found


@pytest.fixture(scope="module")
def recovered():
    return fit(measured(), [*TRUE, ELSEWHERE])


def test_it_recovers_what_the_measurements_were_made_from(recovered):
    assert {one.path for one in recovered.fitted} == set(TRUE)
    for one in recovered.fitted:
        off = abs(one.moved(0) - TRUE[one.path])
        assert off < abs(one.moved(3 * one.uncertainty) - one.moved(0)), one  # three of its standard deviations
    assert recovered.mean_error < 2 * NOISE < recovered.mean_error_before


def test_what_nothing_depends_on_stays_as_it_was(recovered):
    assert recovered.undetermined == (f"{ELSEWHERE} of pcie-3",)
    here = measured()[0].scenario
    assert recovered.with_values(here).cluster.host == here.cluster.host
    assert recovered.with_values(here).cluster.inter_node.latency == pytest.approx(2e-5, rel=0.1)


def test_a_fifth_of_outliers_moves_little():
    calibration = fit(measured(outliers=0.2), list(TRUE))
    assert calibration.outliers > 0
    for one in calibration.fitted:
        # a fifth of the numbers is half as large, all on one side: a mean would be off by 13 %, latency by more
        assert one.moved(0) == pytest.approx(TRUE[one.path], rel=0.15)


def test_a_value_changed_by_hand_is_not_changed_back(recovered):
    here = override(measured()[0].scenario, {"cluster.inter_node.latency": "5 us"})
    assert recovered.with_values(here).cluster.inter_node.latency == pytest.approx(5e-6)


def test_another_link_is_another_quantity():
    over = [Scenario.of(gpus=16, cluster=name, software="horovod-pytorch") for name in ("hkbu-10gbe", "dgx-1-v100")]
    seen = [
        Observation(
            Measurement("all_reduce_time", factor * time_all_reduce(here, 2.0**power).time, "", 2.0**power), here
        )
        for here, factor in zip(over, (2.0, 1.0), strict=True)
        for power in range(20, 28)
    ]
    found = {one.of: one for one in fit(seen, ["cluster.inter_node.efficiency"]).fitted}
    slow, same = found["ethernet-10g-tcp"], found["ib-edr"]
    assert slow.moved(0) < 0.7 * over[0].cluster.inter_node.efficiency
    assert same.moved(0) == pytest.approx(over[1].cluster.inter_node.efficiency, rel=0.05)


def test_the_bus_bandwidths_of_cases_say_what_their_times_say(tmp_path):
    """NVIDIA nccl-tests, doc/PERFORMANCE.md: busbw = S/t * 2(n-1)/n."""
    slow = override(Scenario.of(gpus=16, cluster="hkbu-10gbe"), {"cluster.inter_node.efficiency": 0.6})
    head = 'source = "made up"\nsystem = "-"\n[scenario]\ncluster = "hkbu-10gbe"\nplan = {gpus = 16}\n'
    entry = '[[observed]]\nrole = "calibrate"\nmessage = "{0} B"\nquantity = "{1}"\nvalue = "{2}"\n'
    times = {2**power: time_all_reduce(slow, 2.0**power).time for power in range(22, 28)}
    said = {
        "times": [entry.format(size, "all_reduce_time", f"{time} s") for size, time in times.items()],
        "rates": [entry.format(size, "bus_bandwidth", f"{size / time * 15 / 8} B/s") for size, time in times.items()],
    }
    found = {}
    for name, entries in said.items():
        file = tmp_path / f"{name}.toml"
        file.write_text(head + "".join(entries))
        observations = read_observations([file], {}, {}, SHIPPED).observations
        (found[name],) = fit(observations, ["cluster.inter_node.efficiency"]).fitted
    assert found["rates"].moved(0) == pytest.approx(found["times"].moved(0), rel=0.01)
    assert found["rates"].moved(0) == pytest.approx(0.6, rel=0.02)


def test_a_calibration_read_again_is_the_same(recovered, tmp_path):
    file = tmp_path / "calibration.toml"
    file.write_text(profile_to_toml(recovered))
    again = Calibration.load(file)
    assert again == recovered
    here = measured()[3].scenario
    assert again.with_values(here) == recovered.with_values(here)


def test_a_file_with_the_key_of_lbsim_0_1_is_read(recovered, tmp_path):
    file = tmp_path / "calibration.toml"
    file.write_text(profile_to_toml(recovered).replace("undetermined = ", "untold = "))
    assert Calibration.load(file) == recovered


def test_the_covariance_makes_the_interval_wider(recovered):
    here = measured()[0].scenario
    calibrated = predict(here, calibration=recovered)
    plain = predict(recovered.with_values(here))
    assert calibrated.throughput == plain.throughput
    wide, narrow = calibrated.interval.ranges["throughput"], plain.interval.ranges["throughput"]
    assert wide.low < narrow.low
    assert wide.high > narrow.high


def test_the_spread_is_the_covariance_of_a_product():
    # t = alpha + S/(e B): where S is large, one standard deviation of e in its logit is (1 - e) in t's logarithm
    here = Scenario.of(gpus=16, cluster="hkbu-10gbe", software="horovod-pytorch")
    one = Fitted(
        path="cluster.inter_node.efficiency",
        of="ethernet-10g-tcp",
        value=0.5,
        before=here.cluster.inter_node.efficiency,
        line="logit",
        uncertainty=0.01,
        prior=0.8,
    )
    calibration = Calibration(
        name="-", source="-", fitted=(one,), covariance=((1e-4,),), observations=1, mean_error=0, max_error=0,
        mean_error_before=0, noise=0,
    )  # fmt: skip
    (spread,) = calibration.spread(here, lambda moved: [moved.cluster.inter_node.time(1e9)])
    assert spread == pytest.approx(0.01 * 0.5, rel=0.02)  # first order in the step, and without the latency


def test_too_few_observations_are_one_line():
    with pytest.raises(InputError, match=r"2 observations are too few for 3 quantities: add traces, or name fewer"):
        fit(measured()[6:8], list(TRUE))


@pytest.mark.slow
def test_two_hundred_observations_of_all_that_can_be_told_take_at_most_30_seconds():
    models = ("resnet50", "resnet152", "vgg16", "googlenet", "inception-v4")
    observations = measured(models=models, batches=(4, 8, 12, 16, 24), fineness=6)
    assert len(observations) == 208
    started = time.process_time()
    found = fit(observations, CalibrationData(tuple(observations), (), ()).paths)
    assert time.process_time() - started < 30
    assert found.mean_error < 1.1 * NOISE


def test_an_unknown_path_is_one_line_with_the_nearest():
    with pytest.raises(InputError, match=r"did you mean 'latency'"):
        fit(measured()[:3], ["cluster.inter_node.latncy"])


def test_a_line_has_no_ends():
    assert to_unconstrained(0.5, "logit") == 0
    assert to_unconstrained(1.0, "log") == 0


def test_the_command_fits_a_real_trace_and_predict_takes_it(tmp_path):
    out = tmp_path / "mine.toml"
    asked = ["calibrate", str(POLARIS), "--cluster", "polaris", "--out", str(out), "--format", "json"]
    result = CliRunner().invoke(app, asked)
    answer = json.loads(result.stdout)
    assert answer["mean_error"] < 0.15 < answer["mean_error_before"]  # as the shipped profile says: 12 %, 27 %
    assert answer["measured"][0]["observations"] == 29
    printed = CliRunner().invoke(app, ["predict", "--gpus", "32", "--cluster", "polaris", "--calibration", str(out)])
    assert "latency 18 us" in printed.stdout
    assert "mine; its values above" in printed.stdout


def test_a_calibration_is_found_by_name_in_a_folder_of_ones_own(tmp_path, capsys):
    (tmp_path / "calibrations").mkdir()
    shipped = SHIPPED.find("calibrations", "polaris")
    (tmp_path / "calibrations" / "mine.toml").write_bytes(shipped.read_bytes())
    asked = ["predict", "--gpus", "32", "--cluster", "polaris", "--format", "json", "--calibration"]
    assert main([*asked, "polaris"]) == 0
    by_shipped = json.loads(capsys.readouterr().out)
    assert main([*asked, "mine", "--profiles", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["throughput"] == by_shipped["throughput"]
    assert main([*asked, "mine"]) == 2
    assert "polaris" in capsys.readouterr().err


def test_the_shipped_calibrations_are_of_the_traces_beside_them(capsys):
    assert Calibration.load("polaris").measured[0].sha256
    assert main(["predict", "--gpus", "8", "--cluster", "dgx-h100", "--calibration", "polaris"]) == 2
    assert "none of these is in this scenario" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([str(POLARIS), "--cluster", "dgx-h100"], "measured on 'NVIDIA A100-SXM4-40GB'"),
        ([str(GLOO), "--cluster", "dgx-h100"], "evidence.cpu: measured on 'AMD EPYC'"),
        (["nowhere.json"], "nowhere.json: No such file"),
        ([str(CHECKOUT / "README.md")], "unknown format; the formats are"),
        ([str(POLARIS), "--cluster", "polaris", "--out", "mine.txt"], "a calibration is a .toml file"),
        ([str(CHECKOUT / "traces/osu/polaris-32-ranks.txt")], "write --gpus"),
    ],
)
def test_bad_input_is_one_line(arguments, told, capsys):
    assert main(["calibrate", *arguments]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_interrupted_it_leaves_the_profile_in_place(tmp_path, monkeypatch):
    out = tmp_path / "mine.toml"
    out.write_text("as it was")

    def interrupted(_):
        raise RuntimeError("killed")

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(RuntimeError, match="killed"):
        main(["calibrate", str(POLARIS), "--cluster", "polaris", "--out", str(out)])
    assert out.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [out]


def test_all_reduces_of_a_case_file_are_fitted_to():
    file = CHECKOUT / "traces" / "published" / "deepbench_knl_2017.toml"
    asked = ["calibrate", str(file), "--vary", "software.library.per_step", "--format", "json"]
    answer = json.loads(CliRunner().invoke(app, asked).stdout)
    assert answer["measured"][0]["observations"] == 20  # those whose role is to calibrate
    assert answer["mean_error"] < 0.07  # libraries/mlsl says 5 %
