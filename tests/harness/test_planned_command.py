import json

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from lbsim import Scenario
from lbsim.accuracy.launch_command import harness_arguments
from lbsim.accuracy.search import time_to_accuracy
from lbsim.accuracy.training_option import TimeToAccuracyRequest, recipes_for
from lbsim.cli.app import app
from lbsim.harness.__main__ import main

SMALL = ["--model", "cnn", "--data", "digits", "--batch-per-gpu", "32", "--engine", "plain", "--precision", "fp32"]
"""The last word on an option counts: what needs a cluster is replaced, the recipe stays."""


@pytest.mark.parametrize(
    ("model", "recipe", "target"),
    [
        ("resnet50", "goyal2017-resnet50-sgd", 75.0),
        ("resnet50", "akiba2017-resnet50-rmsprop", 74.0),
        ("resnet50", "nus2020-resnet50-lars", 75.0),
        ("alexnet-bn", "you2017-alexnet-bn-lars", 59.0),
    ],
)
def test_the_command_that_a_plan_prints_runs(model, recipe, target, tmp_path):
    scenario = Scenario.of(gpus=1, cluster="dgx-h100", model=model)
    chosen = time_to_accuracy(scenario, [64], TimeToAccuracyRequest(target), recipes_for(model, recipe)).chosen
    arguments = harness_arguments(chosen)
    assert arguments[arguments.index("--epochs") + 1] == f"{chosen.epochs:g}"
    assert main([*arguments, *SMALL, "--steps", "2", "--device", "cpu", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "steps.csv").read_text().count("\n") == 3  # a header and two steps


def test_a_model_of_ones_own_goes_from_a_run_to_a_plan_to_a_run(tmp_path):
    run, model = str(tmp_path / "run"), str(tmp_path / "mine.json")
    words = ["--data", "digits", "--batch-per-gpu", "16", "--optimizer", "sgd", "--schedule", "constant"]
    own = ["train", "--model", "tests.harness.odd_models:plain", *words, "--rate", "0.02", "--device", "cpu"]
    assert main([*own, "--epochs", "2", "--noise-scale-every", "1", "--output", run]) == 0
    traced = ["tests.harness.odd_models:plain", "--input", "1x8x8", "--samples", "1437", "--validation-samples", "360"]
    for asked in (
        ["workload", "trace", *traced, "--out", model],
        ["plan", "--model", model, "--noise-scale", run, "--target", "80%", "--gpus", "1,8", "--format", "json"],
    ):
        told = CliRunner().invoke(app, asked)
        assert told.exit_code == 0, told.output
    answer = json.loads(told.stdout)
    assert [choice["gpus"] for choice in answer["choices"]] == [1, 8]
    arguments = answer["command"].partition("-m lbsim.harness ")[2].split()
    last = ["--steps", "2", "--device", "cpu", "--engine", "plain", "--output", str(tmp_path / "planned")]
    assert main([*arguments, *last]) == 0
    options = json.loads((tmp_path / "planned" / "run.json").read_text())["options"]
    chosen = next(choice for choice in answer["choices"] if choice["gpus"] == answer["chosen_gpus"])
    assert options["batch_per_gpu"] == chosen["batch_per_gpu"]
    assert options["epochs"] == pytest.approx(chosen["epochs"])
