import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from lbsim import InputError, Scenario, override, predict
from lbsim.accuracy.convergence_law import FAILURE_SHARE
from lbsim.accuracy.recipe_law import law_of
from lbsim.accuracy.search import time_to_accuracy
from lbsim.accuracy.training_option import TimeToAccuracyRequest, recipes_for
from lbsim.accuracy.training_run import FaultModel, training_run
from lbsim.cli.app import app, main
from lbsim.profiles.hardware import Cluster

ONE = Scenario.of(gpus=1, cluster="dgx-h100")
RESNET = recipes_for("resnet50")
GPUS = (8, 32, 128, 512)
HOURLY = TimeToAccuracyRequest(75.0, price=2.5 / 3600)


@pytest.fixture(scope="module")
def planned():
    return time_to_accuracy(ONE, GPUS, HOURLY, RESNET)


def refused(*arguments, capsys):
    assert main(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_more_gpus_are_quicker_dearer_and_need_no_fewer_epochs(planned):
    times = [choice.run.time.value for choice in planned.options]
    assert times == sorted(times, reverse=True)
    assert [choice.gpu_hours for choice in planned.options] == sorted(choice.gpu_hours for choice in planned.options)
    assert all(choice.goodput <= choice.prediction.throughput for choice in planned.options)


def test_every_choice_is_expected_to_reach_the_target_with_its_recipe(planned):
    for choice in planned.options:
        assert choice.top1.low < 75.0 <= choice.top1.value
        assert choice.recipe.batch_least <= choice.batch <= choice.recipe.batch_most
        assert choice.batch == choice.gpus * choice.prediction.scenario.plan.batch_per_gpu
        assert choice.cost == pytest.approx(2.5 * choice.gpu_hours)


def test_what_is_off_the_front_is_beaten_and_what_is_on_it_is_not(planned):
    points = [(choice.run.time.value, choice.gpu_hours) for choice in planned.options]
    for choice, point in zip(planned.options, points, strict=True):
        beaten = any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
        assert choice.on_front == (not beaten)


def test_a_deadline_takes_the_cheapest_and_a_budget_the_quickest(planned):
    cheap, *_, quick = planned.options
    slack = replace(HOURLY, deadline=2 * cheap.run.time.value)
    assert time_to_accuracy(ONE, GPUS, slack, RESNET).chosen.gpus == cheap.gpus
    rich = replace(HOURLY, budget=2 * quick.cost)
    assert time_to_accuracy(ONE, GPUS, rich, RESNET).chosen.gpus == quick.gpus


def test_akiba_et_al_on_their_own_machine_choose_their_own_batch_and_gpus():
    # arXiv:1711.04325: 1,024 GPUs, batch 32,768, 90 epochs, 74.9 %
    machine = Scenario.of(gpus=1, cluster="mn-1", software="chainer-2017", precision="fp32")
    recipes = recipes_for("resnet50", "akiba2017-resnet50-rmsprop")
    chosen = time_to_accuracy(machine, (256, 512, 1024), TimeToAccuracyRequest(74.9), recipes).chosen
    assert (chosen.gpus, chosen.batch, chosen.on_front) == (1024, 32768, True)
    assert chosen.epochs == pytest.approx(90, abs=2)


def a_run(changes, epochs, **faults):
    """Return the run of *epochs* on a cluster with *changes*, in which nothing fails but nodes."""
    prediction = predict(override(ONE, {"cluster.restart": "0 s", **changes}))
    return prediction, training_run(prediction, epochs, FaultModel(failure_share=0, **faults))


def test_a_run_without_faults_is_steps_and_validation():
    plan = {"plan.gpus": 8, "plan.epochs": 90, "plan.validate_each_epoch": True}
    prediction, run = a_run({"cluster.node_mtbf": 1e15, **plan}, 90)
    assert run.fault_free_time == pytest.approx(prediction.time_to_train)
    # the middle of a log-normal whose middle is the prediction; 2,000 draws
    assert run.time.value == pytest.approx(run.fault_free_time, rel=0.03)
    assert run.expected_failures < 1e-6


def test_failures_cost_what_young_says():
    # J. W. Young, 1974: writing costs a share sqrt(delta / 2M), and work that is lost as much again
    prediction, run = a_run({"plan.gpus": 1024, "cluster.node_mtbf": 2000.0 * 128}, 90_000)
    cost = prediction.scenario.workload.parameters * 8 / 1e9
    _, sound = a_run({"plan.gpus": 1024, "cluster.node_mtbf": 1e15}, 90_000)
    expected = 1 + 2 * np.sqrt(cost / (2 * 2000.0))
    assert run.time.value / sound.time.value == pytest.approx(expected, rel=0.01)


def test_a_run_takes_what_kokolis_et_al_estimate():
    # arXiv:2410.21680: effective over all time, a checkpoint every t, is (1 - N r (u + t/2)) / (1 + w/t); first order
    changes = {"plan.gpus": 512, "cluster.node_mtbf": "4 d", "cluster.restart": "30 s"}
    changes |= {"cluster.checkpoint_bandwidth": "100 MB/s"}
    prediction, run = a_run(changes, 30_000)
    _, sound = a_run({"plan.gpus": 512, "cluster.node_mtbf": 1e15}, 30_000)
    rate, write = 64 / (4 * 86400), prediction.scenario.workload.parameters * 8 / 1e8
    every = np.sqrt(2 * write / rate)
    effective = (1 - rate * (30 + every / 2)) / (1 + write / every)
    assert effective < 0.97
    assert sound.time.value / run.time.value == pytest.approx(effective, rel=0.005)


def test_checkpoints_cost_twice_as_much_where_storage_is_a_quarter_as_fast():
    # Young: the share of time that writing takes is sqrt(delta / 2M), so a quarter of the bandwidth doubles it
    fast, slow = (
        a_run({"plan.gpus": 64, "cluster.checkpoint_bandwidth": bandwidth}, 90)[1] for bandwidth in ("4 GB/s", "1 GB/s")
    )
    assert slow.checkpoint_time == pytest.approx(2 * fast.checkpoint_time)


def test_each_failure_costs_the_clusters_restart():
    often = {"plan.gpus": 64, "cluster.node_mtbf": "10 h"}
    none, five, ten = (a_run({**often, "cluster.restart": each}, 5000)[1] for each in ("0 s", "5 min", "10 min"))
    extra = five.mean_time_with_reruns - none.mean_time_with_reruns
    assert ten.mean_time_with_reruns - none.mean_time_with_reruns == pytest.approx(2 * extra)
    # the mean of a log-normal is above its middle, for which the failures are expected
    assert none.expected_failures * 300 < extra < 1.2 * none.expected_failures * 300


def test_a_profile_says_how_often_a_node_fails_and_otherwise_it_is_assumed(capsys):
    for cluster, value, assumed in (("dgx-a100", 154, False), ("mn-1", 264, True)):
        asked = [
            "plan",
            "--cluster",
            cluster,
            "--target",
            "75%",
            "--gpus",
            "8",
            "--precision",
            "fp32",
            "--format",
            "json",
        ]
        assert main(asked) == 0
        failures = json.loads(capsys.readouterr().out)["failures"]
        assert failures["node_mtbf"] == pytest.approx(value * 86400)
        assert failures["node_mtbf_assumed"] is assumed
    # RSC-1's 6.50 failures in a thousand node-days, and Llama 3's 419 in 54 days on 2,048 nodes
    assert ONE.cluster.node_mtbf == pytest.approx(54 * 86400 * 2048 / 419, rel=1e-3)
    assert Cluster.load("dgx-a100").node_mtbf == pytest.approx(1000 / 6.50 * 86400, rel=2e-3)


def test_what_is_set_enters_the_plan():
    def expected(*more):
        asked = ["plan", "--target", "75%", "--gpus", "64", "--format", "json", *more]
        return json.loads(CliRunner().invoke(app, asked).stdout)["choices"][0]

    usual, often = expected(), expected("--set", "cluster.node_mtbf=4 d")
    assert often["expected_failures"] == pytest.approx(66 * usual["expected_failures"], rel=0.02)  # and checkpoints
    assert often["time"]["value"] > usual["time"]["value"]


def test_runs_that_never_arrive_are_run_again():
    prediction = predict(override(ONE, {"plan.gpus": 8}))
    sure, unsure = (training_run(prediction, 90, FaultModel(failure_share=share)) for share in (0.0, 0.2))
    assert unsure.mean_time_with_reruns == pytest.approx(sure.mean_time_with_reruns / 0.8)
    assert unsure.quantiles["0.95"] > 1.5 * sure.quantiles["0.95"]


def test_with_a_confidence_so_many_runs_reach_the_target_and_one_epoch_less_is_too_few():
    sure = time_to_accuracy(ONE, GPUS, replace(HOURLY, confidence=0.9), RESNET)
    usual = time_to_accuracy(ONE, GPUS, HOURLY, RESNET)
    for choice, half in zip(sure.options, usual.options, strict=True):
        assert choice.probability >= 0.9 > half.probability
        one_less = law_of(choice.recipe).share_of_runs(choice.batch, choice.epochs - 1, 75.0) * (1 - FAILURE_SHARE)
        assert one_less < 0.9
        assert choice.run.time.value > half.run.time.value


def test_the_confidence_is_told():
    asked = ["plan", "--target", "75%", "--gpus", "8", "--confidence", "90%"]
    assert "90% of all runs reach the target" in CliRunner().invoke(app, asked).stdout
    answer = json.loads(CliRunner().invoke(app, [*asked, "--format", "json"]).stdout)
    assert answer["confidence"] == pytest.approx(0.9)
    assert answer["choices"][0]["chance_to_reach"] >= 0.9


def test_json_says_what_the_table_says():
    told = CliRunner().invoke(app, ["plan", "--target", "75%", "--gpus", "8,64", "--format", "json"])
    answer = json.loads(told.stdout)
    assert [choice["gpus"] for choice in answer["choices"]] == [8, 64]
    assert answer["chosen_gpus"] == 64
    table = CliRunner().invoke(app, ["plan", "--target", "75%", "--gpus", "8,64"]).stdout
    assert f"{answer['choices'][0]['batch']:,}" in table
    assert all(len(line) <= 80 for line in table.splitlines() if not line.startswith("torchrun"))
    assert answer["command"] in table.splitlines()


def test_a_figure_is_drawn(tmp_path):
    file = tmp_path / "plan.png"
    assert main(["plan", "--target", "75%", "--gpus", "8,64", "--figure", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "90%"], "no recipe reaches it within 120 epochs; the best, mlperf"),
        (["--target", "0.75"], "write a percentage"),
        (["--target", "75%", "--confidence", "95%"], "5.6% of runs fail"),
        (["--target", "75%", "--confidence", "0.9"], "--confidence 90%"),
        (["--target", "77.9%", "--confidence", "90%"], "in 95% of runs that do not fail"),
        (["--target", "75%", "--gpus", "64", "--set", "cluster.node_mtbf=30 min"], "no run would finish"),
        (["--target", "75%", "--set", "cluster.node_mtbf=264"], "264 has no unit"),
        (["--target", "75%", "--set", "cluster.node_mtbf=0 d"], "more than zero"),
        (["--target", "75%", "--batch", "32768", "--gpus", "8"], "write batch_per_gpu"),
        (["--target", "75%", "--batch", "1000", "--gpus", "16"], "the nearest is"),
        (["--target", "75%", "--batch", "1000000", "--gpus", "1000"], "they cover 64 to 65,536"),
        (["--target", "75%", "--price", "2.5 /h", "--budget", "0.01"], "the cheapest in time costs"),
        (["--target", "75%", "--budget", "10"], "--price '2.5 /h'"),
        (["--target", "75%", "--deadline", "1 ms"], "the fastest is"),
        (["--target", "75%", "--price", "2.5"], "no unit"),
        (["--target", "75%", "--gpus", "8..x"], "8,16,32"),
        (["--target", "75%", "--model", "vgg16"], "no recipe for 'vgg16'"),
        (["--target", "75%", "--recipe", "goyal2017"], "did you mean 'goyal2017"),
        (["--target", "75%", "--gpus", "8", "--figure", "x.docx"], ".png"),
    ],
)
def test_what_cannot_be_gets_one_line_with_the_nearest_that_can(arguments, said, capsys):
    assert said in refused(*arguments, capsys=capsys)


def test_a_recipe_of_another_model_is_refused():
    with pytest.raises(InputError, match="is not for 'resnet50'"):
        recipes_for("resnet50", "you2017-alexnet-lars")
