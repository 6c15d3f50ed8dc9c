import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from lbsim import Scenario
from lbsim.harness.__main__ import main
from lbsim.harness_command import harness_arguments
from lbsim.time_to_accuracy import Wish, recipes_for, time_to_accuracy

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
    chosen = time_to_accuracy(scenario, [64], Wish(target), recipes_for(model, recipe)).chosen
    arguments = harness_arguments(chosen)
    assert arguments[arguments.index("--epochs") + 1] == f"{chosen.epochs:g}"
    assert main([*arguments, *SMALL, "--steps", "2", "--device", "cpu", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "steps.csv").read_text().count("\n") == 3  # a header and two steps
