import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from lbsim import InputError, Scenario, override, predict
from lbsim.cli import app, main
from lbsim.time_to_accuracy import Wish, recipes_for, time_to_accuracy
from lbsim.training_run import Faults, training_run

ONE = Scenario.of(gpus=1, cluster="dgx-h100")
RESNET = recipes_for("resnet50")
GPUS = (8, 32, 128, 512)
HOURLY = Wish(75.0, price=2.5 / 3600)


@pytest.fixture(scope="module")
def planned():
    return time_to_accuracy(ONE, GPUS, HOURLY, RESNET)


def refused(*arguments, capsys):
    assert main(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_more_gpus_are_quicker_dearer_and_need_no_fewer_epochs(planned):
    times = [choice.run.time.value for choice in planned.choices]
    assert times == sorted(times, reverse=True)
    assert [choice.gpu_hours for choice in planned.choices] == sorted(choice.gpu_hours for choice in planned.choices)
    assert all(choice.goodput <= choice.prediction.throughput for choice in planned.choices)


def test_every_choice_is_expected_to_reach_the_target_with_its_recipe(planned):
    for choice in planned.choices:
        assert choice.top1.low < 75.0 <= choice.top1.value
        assert choice.recipe.batch_least <= choice.batch <= choice.recipe.batch_most
        assert choice.batch == choice.gpus * choice.prediction.scenario.plan.batch_per_gpu
        assert choice.cost == pytest.approx(2.5 * choice.gpu_hours)


def test_what_is_off_the_front_is_beaten_and_what_is_on_it_is_not(planned):
    points = [(choice.run.time.value, choice.gpu_hours) for choice in planned.choices]
    for choice, point in zip(planned.choices, points, strict=True):
        beaten = any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
        assert choice.on_front == (not beaten)


def test_a_deadline_takes_the_cheapest_and_a_budget_the_quickest(planned):
    cheap, *_, quick = planned.choices
    slack = replace(HOURLY, deadline=2 * cheap.run.time.value)
    assert time_to_accuracy(ONE, GPUS, slack, RESNET).chosen.gpus == cheap.gpus
    rich = replace(HOURLY, budget=2 * quick.cost)
    assert time_to_accuracy(ONE, GPUS, rich, RESNET).chosen.gpus == quick.gpus


def test_akiba_et_al_on_their_own_machine_choose_their_own_batch_and_gpus():
    # arXiv:1711.04325: 1,024 GPUs, batch 32,768, 90 epochs, 74.9 %
    machine = Scenario.of(gpus=1, cluster="mn-1", software="chainer-2017", precision="fp32")
    recipes = recipes_for("resnet50", "akiba2017-resnet50-rmsprop")
    chosen = time_to_accuracy(machine, (256, 512, 1024), Wish(74.9), recipes).chosen
    assert (chosen.gpus, chosen.batch, chosen.on_front) == (1024, 32768, True)
    assert chosen.epochs == pytest.approx(90, abs=2)


def test_a_run_without_faults_is_steps_and_validation():
    prediction = predict(override(ONE, {"plan.gpus": 8, "plan.epochs": 90, "plan.validate_each_epoch": True}))
    run = training_run(prediction, 90, Faults(mtbf=1e15, never_arrives=0))
    assert run.clean == pytest.approx(prediction.time_to_train)
    # the middle of a log-normal whose middle is the prediction; 2,000 draws
    assert run.time.value == pytest.approx(run.clean, rel=0.03)
    assert run.failures < 1e-6


def test_failures_cost_what_young_says():
    # J. W. Young, 1974: writing costs a share sqrt(delta / 2M), and work that is lost as much again
    prediction = predict(override(ONE, {"plan.gpus": 1024}))
    cost, mtbf = prediction.scenario.workload.parameters * 8 / 1e9, 2000.0 * 128
    run = training_run(prediction, 90_000, Faults(mtbf=mtbf, restart=0, never_arrives=0))
    sound = training_run(prediction, 90_000, Faults(mtbf=1e15, never_arrives=0))
    expected = 1 + 2 * np.sqrt(cost / (2 * 2000.0))
    assert run.time.value / sound.time.value == pytest.approx(expected, rel=0.01)


def test_runs_that_never_arrive_are_run_again():
    prediction = predict(override(ONE, {"plan.gpus": 8}))
    sure, unsure = (training_run(prediction, 90, Faults(never_arrives=share)) for share in (0.0, 0.2))
    assert unsure.mean_with_reruns == pytest.approx(sure.mean_with_reruns / 0.8)
    assert unsure.quantiles["0.95"] > 1.5 * sure.quantiles["0.95"]


def test_json_says_what_the_table_says():
    told = CliRunner().invoke(app, ["plan", "--target", "75%", "--gpus", "8,64", "--format", "json"])
    answer = json.loads(told.stdout)
    assert [choice["gpus"] for choice in answer["choices"]] == [8, 64]
    assert answer["chosen_gpus"] == 64
    table = CliRunner().invoke(app, ["plan", "--target", "75%", "--gpus", "8,64"]).stdout
    assert f"{answer['choices'][0]['batch']:,}" in table
    assert all(len(line) <= 80 for line in table.splitlines())
    unwrapped = table.replace(" \\\n    ", " ")
    assert answer["command"] in unwrapped


def test_a_figure_is_drawn(tmp_path):
    file = tmp_path / "plan.png"
    assert main(["plan", "--target", "75%", "--gpus", "8,64", "--figure", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "90%"], "no recipe reaches it within 120 epochs; the best, mlperf"),
        (["--target", "0.75"], "write a percentage"),
        (["--target", "75%", "--batch", "32768", "--gpus", "8"], "write batch_per_gpu"),
        (["--target", "75%", "--batch", "1000", "--gpus", "16"], "the nearest is"),
        (["--target", "75%", "--batch", "16", "--gpus", "8"], "they cover 64 to 65,536"),
        (["--target", "75%", "--price", "2.5 /h", "--budget", "0.01"], "the cheapest in time costs"),
        (["--target", "75%", "--budget", "10"], "--price '2.5 /h'"),
        (["--target", "75%", "--deadline", "1 ms"], "the quickest is"),
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
