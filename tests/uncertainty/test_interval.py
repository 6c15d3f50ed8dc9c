import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from lbsim import Scenario, override, predict
from lbsim.cli.app import main
from lbsim.evaluation.validate import validate
from lbsim.profiles.profile import Profile
from lbsim.uncertainty.interval import CalibrationSpread, interval, published_residuals
from lbsim.uncertainty.residuals import Residuals

KEYS = {
    "throughput",
    "throughput_per_gpu",
    "step_time",
    "scaling_efficiency",
    "scaling_efficiency_vs_node",
    "time_to_train",
}


def ranges(scenario, level=0.9):
    return predict(scenario, level).interval.ranges


def scenario(gpus=8, **plan):
    return Scenario.of(gpus=gpus, cluster="mn-1", software="chainer-2017", batch_per_gpu=32, **plan)


def width(bounds):
    return bounds.high / bounds.low


def test_every_interval_holds_its_prediction():
    for gpus in (1, 8, 1024):
        prediction = predict(scenario(gpus))
        assert set(prediction.interval.ranges) == KEYS
        for name, bounds in prediction.interval.ranges.items():
            assert bounds.low <= getattr(prediction, name) <= bounds.high


def test_a_higher_level_is_wider():
    narrow, wide = ranges(scenario(), 0.5), ranges(scenario(), 0.95)
    assert all(width(wide[name]) > width(narrow[name]) for name in ("throughput", "step_time", "time_to_train"))


def test_an_anchor_narrows_it():
    anchored = override(scenario(), {"anchor.throughput": "180 samples/s"})
    assert width(ranges(anchored)["throughput"]) < width(ranges(scenario())["throughput"])


def test_an_anchor_at_another_batch_narrows_it_less():
    anchored = override(scenario(), {"anchor.throughput": "180 samples/s"})
    elsewhere = override(anchored, {"anchor.batch_per_gpu": 16})
    assert width(ranges(anchored)["throughput"]) < width(ranges(elsewhere)["throughput"])


def test_one_gpu_scales_perfectly_and_surely():
    bounds = ranges(scenario(1))["scaling_efficiency"]
    assert (bounds.low, bounds.high) == (pytest.approx(1), pytest.approx(1))


def test_many_gpus_are_less_sure_because_nobody_said_how_their_ranks_vary():
    assert width(ranges(scenario(1024))["step_time"]) > width(ranges(scenario(16))["step_time"])


def test_throughput_and_step_time_say_the_same():
    prediction = predict(scenario(1024))
    rate, time = prediction.interval.ranges["throughput"], prediction.interval.ranges["step_time"]
    assert rate.low == pytest.approx(prediction.scenario.plan.batch / time.high)
    assert rate.high == pytest.approx(prediction.scenario.plan.batch / time.low)


def test_it_says_why_it_is_so_wide():
    assert "--anchor" in predict(scenario()).interval.reason


def forgotten(scenario, *paths):
    return override(scenario, dict.fromkeys(paths, 0))


SOFTWARE, CARD = "software.fitted_rates", "cluster.accelerator.fitted_rates"


@pytest.mark.parametrize("gpus", [1, 8, 64])
@pytest.mark.parametrize(
    ("cluster", "software", "precision"),
    [("dgx-1-p100", "torch-2017", "fp32"), ("dgx-a100", "ngc-pytorch", "tf32"), ("dgx-a100", "ngc-pytorch", "mixed")],
)
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_who_knows_less_is_never_surer(gpus, cluster, software, precision, level):
    known = Scenario.of(gpus=gpus, cluster=cluster, software=software, batch_per_gpu=64, precision=precision)
    assert known.software.fitted_rates
    assert known.cluster.accelerator.fitted_rates
    less = [known, forgotten(known, SOFTWARE), forgotten(known, SOFTWARE, CARD)]
    ranges = [interval(one, {"step_time": 1.0}, level).ranges["step_time"] for one in less]
    assert ranges[0].low >= ranges[1].low >= ranges[2].low
    assert ranges[0].high <= ranges[1].high <= ranges[2].high
    assert width(interval(forgotten(known, CARD), {"step_time": 1.0}, level).ranges["step_time"]) >= width(ranges[0])


def test_several_gpus_are_never_surer_than_one():
    for one in (scenario(1), Scenario.of(gpus=1, cluster="dgx-a100", software="ngc-pytorch", batch_per_gpu=64)):
        several = override(one, {"plan.gpus": 8})
        assert width(ranges(several)["throughput"]) >= width(ranges(one)["throughput"]) * (1 - 1e-9)


def classes():
    """Yield each class of the residuals that ship by name."""
    for name, value in Residuals.load("published"):
        if isinstance(value, dict):
            yield name
        elif name not in Profile.model_fields and not isinstance(value, float):
            yield from (f"{name}.{part}" for part, _ in value)


def test_a_class_of_one_system_is_refused():
    known = published_residuals().model_dump()
    with pytest.raises(ValidationError, match=r"several\.early"):
        Residuals.model_validate(known | {"several": known["several"] | {"early": {"They et al.": (0.1, 0.2)}}})


@pytest.mark.parametrize("name", list(classes()))
def test_what_the_others_say_of_a_group_does_not_depend_on_its_own_rows(name):
    known = published_residuals()
    for group in known.of(name):
        changed = with_lags(known, name, {**known.of(name), group: (5.0, -5.0)})
        own = frozenset({group})
        assert changed.bounds(name, 0.9, own) == known.bounds(name, 0.9, own)
        assert changed.bounds(name, 0.9) != known.bounds(name, 0.9)


def with_lags(known, name, lags):
    """Return the residuals *known* with other *lags* of the class *name*."""
    field, _, part = name.partition(".")
    new = getattr(known, field).model_copy(update={part: lags}) if part else lags
    return known.model_copy(update={field: new})


def test_another_level_takes_another_quantile_and_not_a_multiple():
    known, normal = published_residuals(), 1.645 / 0.674  # of 90 % over 50 %, were errors normal
    ratios = [known.bounds(name, 0.9).above / known.bounds(name, 0.5).above for name in classes()]
    assert max(ratios) > 1.3 * normal  # outliers: tails are longer
    assert min(ratios) < normal


def test_a_seeds_own_rows_do_not_make_its_interval():
    (mine,) = (one for one in validate(only="AKB-001").results)
    off = published_residuals().bounds("several_software.early", 0.9, frozenset({"Akiba et al."}))
    assert mine.high is not None
    assert mine.high / mine.predicted >= math.exp(off.above)  # and what 1024 ranks do beside
    all_ = predict(mine.observation.scenario).interval.ranges["time_to_train"]
    assert (mine.low, mine.high) != (all_.low, all_.high)


@pytest.mark.golden
@pytest.mark.slow
def test_the_residuals_that_ship_are_those_of_the_data(update_goldens):
    script = Path(__file__).parents[2] / "reports" / "intervals" / "learn.py"
    option = "--write" if update_goldens else "--check"
    done = subprocess.run([sys.executable, script, option], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_level_can_be_asked_for(capsys):
    asked = ["predict", "--gpus", "8", "--cluster", "mn-1", "--format", "json"]
    answers = []
    for level in ("0.5", "0.95"):
        assert main([*asked, "--level", level]) == 0
        answers.append(json.loads(capsys.readouterr().out)["interval"])
    assert [answer["level"] for answer in answers] == [0.5, 0.95]
    assert answers[0]["step_time"]["high"] < answers[1]["step_time"]["high"]
    assert main([*asked, "--level", "1.5"]) == 2
    assert "--level" in capsys.readouterr().err


def calibrated(*paths, noise=0.03, gpus=1024):
    """Return the width of a step of an unknown software where these values were measured."""
    measured = CalibrationSpread({}, frozenset(paths), noise)
    return width(interval(scenario(gpus), {"step_time": 1.0}, 0.9, measured).ranges["step_time"])


def test_a_measured_speed_narrows_what_an_unknown_software_leaves_open():
    assert calibrated("software.speed.vector") < calibrated()
    assert calibrated("software.speed.tensor") == calibrated()  # of other cores
    assert calibrated("cluster.inter_node.latency") == calibrated()


def test_steps_measured_on_several_gpus_narrow_how_they_scale():
    speed = "software.speed.vector"
    assert calibrated(speed, "software.overlap_slowdown") < calibrated(speed)
    assert calibrated(speed, "software.straggler_spread") < calibrated(speed, "software.overlap_slowdown")


def test_what_a_calibration_did_not_explain_is_not_surer_than_its_noise():
    assert calibrated("software.speed.vector", noise=0.5) > calibrated("software.speed.vector")
    assert calibrated("software.speed.vector", noise=0.5, gpus=1) >= math.exp(2 * 0.5 * 1.64)


def test_it_says_that_it_is_calibrated():
    measured = CalibrationSpread({}, frozenset({"software.speed.vector"}), 0.03)
    assert "calibrated on this system" in interval(scenario(), {"step_time": 1.0}, 0.9, measured).reason
    assert "not calibrated on any benchmark of chainer-2017" in interval(scenario(), {"step_time": 1.0}, 0.9).reason
