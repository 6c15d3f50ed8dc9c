"""The gradient noise scale: exactly what enumeration says, and nothing of the training changed."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lbsim import InputError
from lbsim.harness.communication.process_group import ProcessGroup
from lbsim.harness.training.gradient_noise import NoiseScaleEstimator
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.run_log import COLUMNS
from lbsim.harness.training.train import train as train_here
from tests.harness import noise_runs
from tests.harness.launch import column
from tests.harness.ranks import run

ALONE = ProcessGroup(0, 1, torch.device("cpu"))
RAW = COLUMNS["noise_scale"][2:4]
SAMPLES = 5


def here(folder, **options):
    """Train in this process, measuring in every step unless told otherwise, and return what was said."""
    said: list[str] = []
    chosen = {"data": "digits", "model": "mlp", "rate": 0.1, "noise_scale_every": 1} | options
    train_here(TrainOptions(output=folder, **chosen), ALONE, said.append)
    return said


def table(folder):
    return (folder / "noise_scale.csv").read_text()


def numbers(folder, name):
    return [float(value) for value in column(folder, name, "noise_scale")]


def estimated(noise, gradients):
    """Return what one step has for the squared gradient and the variance."""
    row = noise.row(gradients)
    assert row is not None
    return row[1:3]


@pytest.fixture(scope="module")
def regression():
    """Return a logistic regression in fp64, its few samples, and what their gradients are, one by one."""
    torch.manual_seed(3)
    model = nn.Linear(3, 4).double()
    samples, labels = torch.randn(SAMPLES, 3).double(), torch.tensor([0, 1, 2, 3, 1])
    weights = list(model.parameters())
    each = [
        torch.cat([g.flatten() for g in torch.autograd.grad(cross_entropy(model(x[None]), y[None]), weights)])
        for x, y in zip(samples, labels, strict=True)
    ]
    return model, samples, labels, torch.stack(each)


@pytest.mark.parametrize("batch", [2, 3, 4])
def test_over_all_batches_the_estimates_are_the_gradient_and_the_variance_of_the_data(batch, regression):
    """Three is halved into one and two."""
    model, samples, labels, gradients = regression
    noise = NoiseScaleEstimator(model, ALONE, batch, SAMPLES)
    estimates = []
    for chosen in itertools.permutations(range(SAMPLES), batch):
        model.zero_grad()
        scores, wanted = model(samples[list(chosen)]), labels[list(chosen)]
        noise.backward(8 * cross_entropy(scores, wanted), scores, wanted, scale=8)
        noise.reduce()
        estimates.append(estimated(noise, [parameter.grad / 8 for parameter in model.parameters()]))
    # of all ordered batches, equally likely, the mean is what is expected, so only rounding is left
    squared, variance = torch.tensor(estimates, dtype=torch.float64).mean(0)
    assert float(squared) == pytest.approx(float(gradients.mean(0).square().sum()), rel=1e-10)
    assert float(variance) == pytest.approx(float(gradients.var(0, correction=1).sum()), rel=1e-10)


def test_equal_samples_have_no_noise(regression):
    model, samples, labels, gradients = regression
    noise = NoiseScaleEstimator(model, ALONE, 4, 10**9)
    model.zero_grad()
    scores, wanted = model(samples[:1].repeat(4, 1)), labels[:1].repeat(4)
    noise.backward(cross_entropy(scores, wanted), scores, wanted, scale=1)
    squared, variance = estimated(noise, [parameter.grad for parameter in model.parameters()])
    assert squared == pytest.approx(float(gradients[0].square().sum()))
    assert variance == pytest.approx(0, abs=1e-12 * squared)


@pytest.mark.parametrize("model", ["cnn", "tests.harness.odd_models:slow"])
def test_measuring_changes_no_bit_of_the_training(model, tmp_path):
    """Batch norm in both, dropout in the second."""
    for every in (0, 1):
        here(tmp_path / str(every), model=model, steps=8, batch_per_gpu=48, noise_scale_every=every)
    assert column(tmp_path / "0", "loss") == column(tmp_path / "1", "loss")
    for name in ("validation_loss", "validation_accuracy"):
        assert column(tmp_path / "0", name, "epochs") == column(tmp_path / "1", name, "epochs")
    assert table(tmp_path / "0").count("\n") == 1
    assert table(tmp_path / "1").count("\n") == 9


def test_a_run_that_goes_on_has_the_same_table(tmp_path):
    here(tmp_path / "whole", steps=9, noise_scale_every=2)
    here(tmp_path / "parts", steps=5, noise_scale_every=2)
    here(tmp_path / "parts", steps=9, noise_scale_every=2)
    assert column(tmp_path / "whole", "step", "noise_scale") == ["1", "3", "5", "7", "9"]
    assert table(tmp_path / "parts") == table(tmp_path / "whole")


def test_averages_are_of_both_estimates_and_never_of_their_ratio(tmp_path):
    here(tmp_path, steps=6)
    for raw, averaged in zip(RAW, COLUMNS["noise_scale"][4:6], strict=True):
        values = numbers(tmp_path, raw)
        weights = [0.95 ** (5 - step) for step in range(6)]
        expected = sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
        assert numbers(tmp_path, averaged)[-1] == pytest.approx(expected)
    squared, variance = (numbers(tmp_path, name)[-1] for name in COLUMNS["noise_scale"][4:6])
    assert numbers(tmp_path, "noise_scale")[-1] == pytest.approx(variance / squared)


def test_two_ranks_measure_what_one_does_through_every_engine(tmp_path):
    """Their halves are its halves, and no model state hangs on who has them: only fp32 sums differ."""
    here(tmp_path / "one", batch_per_gpu=64, steps=4)
    ended = run(2, Path(noise_runs.__file__), {"folder": str(tmp_path), "batch_per_gpu": 32, "steps": 4})
    assert [one.code for one in ended] == [0, 0], ended[0].err
    for engine in noise_runs.ENGINES:
        for name in RAW:
            assert numbers(tmp_path / engine, name) == pytest.approx(numbers(tmp_path / "one", name), rel=1e-4), engine
    again = noise_runs.WITHOUT
    assert column(tmp_path / again, "loss") == column(tmp_path / again.removesuffix("-without"), "loss")


def test_half_precision_measures_unscaled_gradients(tmp_path):
    chosen = {"precision": "mixed", "loss_scale": 1024.0}
    for name, options in {"fp32": {}, "mixed": chosen, "larger": chosen | {"loss_scale": 65536.0}}.items():
        here(tmp_path / name, steps=3, **options)
    for name in RAW:
        single = numbers(tmp_path / "fp32", name)
        # fp16 keeps 11 bits; the estimates are differences of squares several times as large as they
        assert numbers(tmp_path / "mixed", name) == pytest.approx(single, rel=0.02)
        assert numbers(tmp_path / "larger", name) == pytest.approx(single, rel=0.02)


def test_a_step_that_overflows_is_not_measured(tmp_path):
    here(tmp_path, model="tests.harness.odd_models:overflows", steps=6, precision="mixed", loss_scale=1024.0)
    assert column(tmp_path, "step", "noise_scale") == ["1", "2", "4", "5", "6"]


def test_the_run_says_its_options_and_what_it_measured(tmp_path):
    said = here(tmp_path, epochs=1)
    told = json.loads((tmp_path / "run.json").read_text())
    assert (told["batch"], told["training_samples"]) == (32, 1437)
    assert told["options"]["model"] == "mlp"
    assert "gradient noise scale over the run: " in said[-1]
    assert "too few" in here(tmp_path / "short", steps=3)[-1]


def test_one_sample_on_one_rank_is_refused():
    with pytest.raises(InputError, match=r"--noise-scale-every.*--batch-per-gpu 2"):
        NoiseScaleEstimator(nn.Linear(1, 2), ALONE, 1, 10)


def test_a_backward_that_does_not_run_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--noise-scale-every.*backward pass twice.*use two ranks"):
        here(tmp_path, model="tests.harness.odd_models:once", steps=1)
