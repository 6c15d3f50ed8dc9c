"""Losses, gradients and weights that are not finite: the run stops, names the layer and keeps finite checkpoints."""

import pytest
import torch

from lbsim.harness.__main__ import main
from lbsim.harness.training import checkpoint
from lbsim.harness.training.finiteness import first_not_finite
from tests.harness.launch import column, train

DIGITS = ["--data", "digits", "--device", "cpu", "--checkpoint-every", "2"]


def last_weights(folder):
    state = checkpoint.load_newest(folder, pytest.fail)
    assert state is not None
    return state["step"], state["masters"]["weights"]


def one_line(capsys):
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "epoch" not in line and "skipped" not in line)
    return line


def test_a_loss_of_nan_stops_before_the_update_and_names_the_first_layer(tmp_path, capsys):
    words = ["train", *DIGITS, "--model", "tests.harness.odd_models:divides", "--output", str(tmp_path)]
    assert main(words) == 2
    line = one_line(capsys)
    assert "step 4: the loss is nan; the first output that is not finite is that of 'second' on rank 0" in line
    step, weights = last_weights(tmp_path)
    assert step == 3
    assert all(weight.isfinite().all() for weight in weights.values())
    assert len(column(tmp_path, "loss")) == 3


def test_weights_that_overflow_are_in_no_checkpoint(tmp_path, capsys):
    words = ["--model", "tests.harness.odd_models:plain", "--optimizer", "sgd", "--schedule", "constant"]
    words += ["--rate", "1e6", "--weight-decay", "1e6"]
    assert main(["train", *DIGITS, *words, "--output", str(tmp_path)]) == 2
    assert "not finite" in one_line(capsys)
    assert all(weight.isfinite().all() for weight in last_weights(tmp_path)[1].values())


def test_gradients_that_overflow_at_a_loss_scale_of_1_stop_the_run(tmp_path, capsys):
    words = ["--model", "tests.harness.odd_models:always_overflows", "--precision", "mixed", "--loss-scale", "4"]
    assert main(["train", *DIGITS, *words, "--output", str(tmp_path)]) == 2
    line = one_line(capsys)
    assert "step 3: gradients overflow at a loss scale of 1, first in 'layers.1.weight'" in line


def test_with_allow_nan_the_run_goes_on(tmp_path):
    words = ["--model", "tests.harness.odd_models:divides", "--steps", "6", "--allow-nan", "--output", str(tmp_path)]
    assert main(["train", *DIGITS, *words]) == 0
    assert column(tmp_path, "loss")[3:] == ["nan"] * 3


def test_a_loss_of_nan_on_one_rank_stops_all(tmp_path):
    words = ["--model", "odd_models:divides_on_rank_1", "--output", tmp_path, "--patience", "20 s"]
    codes, said = train(2, *DIGITS, *words)
    assert codes == [2, 2]
    assert "that of 'second' on rank 1" in said[0]
    assert said[1] == ""


@pytest.mark.parametrize(("option", "value"), [("--rate", "1e300"), ("--seed", str(10**30)), ("--trust", "inf")])
def test_a_number_that_cannot_be_computed_with_is_one_line(option, value, tmp_path, capsys):
    words = ["train", *DIGITS, "--model", "mlp", "--output", str(tmp_path), option, value]
    assert main(words) == 2
    assert f"{option[2:]}: Input should be" in one_line(capsys)


def test_the_first_tensor_that_is_not_finite_is_found():
    finite, infinite, nan = torch.ones(3), torch.tensor([1.0, torch.inf]), torch.tensor([torch.nan])
    assert first_not_finite([("a", finite), ("b", None), ("c", infinite), ("d", nan)]) == "c"
    assert first_not_finite([("a", finite), ("d", nan)]) == "d"
    assert first_not_finite([("a", finite), ("empty", torch.empty(0))]) is None
