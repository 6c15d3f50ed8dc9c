import csv
import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from lbsim import InputError
from lbsim.accuracy.convergence_fit import fit_around
from lbsim.accuracy.noise_scale_law import critical_batch, law_of_runs, recipe_of_runs
from lbsim.accuracy.run_log import noise_scale_of, read_run
from lbsim.cli.app import app, main

COLUMNS = (
    "step",
    "batch",
    "squared_gradient",
    "gradient_variance",
    "average_squared_gradient",
    "average_gradient_variance",
    "noise_scale",
)
SAMPLES = 1437
STEPS = 22
"""Of an epoch at batch 64."""
OPTIONS = {"model": "cnn", "data": "digits", "batch_per_gpu": 64, "optimizer": "sgd", "rate": 0.08, "ranks": 1}
OPTIONS |= {"schedule": "constant", "folder": None, "decay_vectors": True, "watch": False, "communication": []}
MODEL = """
format = "lbsim workload"
version = 1
name = "mine"
source = "a test"
input = "256 B"
samples = 1437
validation_samples = 360

[[layers]]
name = "fc"
kind = "linear"
forward_flops = 1e9
backward_flops = 2e9
forward_elements = 1e6
backward_elements = 1e6
tensors = [{name = "fc.weight", elements = 100000}]
"""


def written(file, columns, rows):
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])


def a_run(folder, *, batch=64, accuracies=(0.8, 0.9, 0.96, 0.98), noise_scale=600.0, jitter=0.0, seed=0, **options):
    """Write what a run of the harness leaves, of a noise scale that is the same in every step but for *jitter*."""
    folder.mkdir()
    told = {"batch": batch, "training_samples": SAMPLES, "options": OPTIONS | {"batch_per_gpu": batch} | options}
    (folder / "run.json").write_text(json.dumps(told))
    steps = SAMPLES // batch
    epochs = [(steps * epoch, float(epoch), accuracy) for epoch, accuracy in enumerate(accuracies, start=1)]
    written(folder / "epochs.csv", ("step", "epoch", "validation_accuracy"), epochs)
    draw = np.random.default_rng(seed)
    rows = []
    for step in range(1, steps * len(accuracies) + 1):
        squared = math.exp(-step / 50)
        seen = squared * (1 + jitter * draw.standard_normal()), noise_scale * squared * draw.gamma(4) / 4
        raw = seen if jitter else (squared, noise_scale * squared)
        rows.append((step, batch, *raw, squared, noise_scale * squared, noise_scale))
    written(folder / "noise_scale.csv", COLUMNS, rows)
    return folder


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(MODEL)
    return file


def planned(*arguments):
    told = CliRunner().invoke(app, ["plan", *map(str, arguments)])
    assert told.exit_code == 0, told.output
    return told.stdout


def test_a_constant_noise_scale_is_the_mean(tmp_path):
    value, doubt = noise_scale_of(a_run(tmp_path / "run") / "noise_scale.csv")
    assert value == pytest.approx(600)
    assert doubt == pytest.approx(0, abs=1e-9)


def test_steps_count_by_what_they_would_be_without_noise(tmp_path):
    """Half of the run at 100 and half at 900, at batch 300: McCandlish et al.'s shares of its steps are 3/4 and 1/4."""
    rows = [(step, 300, 1.0, scale, 1.0, scale, scale) for step, scale in enumerate([100.0] * 20 + [900.0] * 20)]
    written(tmp_path / "noise_scale.csv", COLUMNS, rows)
    value, _ = noise_scale_of(tmp_path / "noise_scale.csv")
    assert value == pytest.approx((0.75 * 100 + 0.25 * 900) / (0.75 + 0.25))


def test_the_doubt_is_how_far_repeated_measurements_differ(tmp_path):
    values, doubts = [], []
    for seed in range(40):
        folder = a_run(tmp_path / str(seed), jitter=1.0, seed=seed)
        value, doubt = noise_scale_of(folder / "noise_scale.csv")
        values.append(math.log(value))
        doubts.append(doubt)
    assert np.median(doubts) == pytest.approx(np.std(values, ddof=1), rel=0.3)  # of 40, known to 11 %


def test_the_target_is_crossed_in_proportion_and_later_steps_are_not_looked_at(tmp_path):
    folder = a_run(tmp_path / "run")
    with (folder / "noise_scale.csv").open("a", newline="") as stream:
        csv.writer(stream).writerows([(999 + n, 64, 1.0, 1e9, 1.0, 1e9, 1e9) for n in range(40)])
    run = read_run(folder, 97.0)
    assert run.epochs == pytest.approx(3.5)
    assert run.noise_scale == pytest.approx(600)
    assert read_run(folder, 90.0).epochs == pytest.approx(2)


def test_a_known_critical_batch_gives_mccandlish_et_als_hyperbola():
    law = fit_around([64], [5.0], critical_batch=200.0, doubt=1e-6, freedom=4)
    for batch in (16, 64, 400, 3200):
        expected = 5 * (1 + batch / 200) / (1 + 64 / 200)
        # half of the exponents are 1, a quarter on each side: the median is theirs
        assert law.work(batch).value == pytest.approx(expected, rel=0.03)


def test_doubt_about_the_critical_batch_widens_away_from_the_batch_that_was_run(tmp_path):
    law = law_of_runs([read_run(a_run(tmp_path / "run"), 97.0)])
    width = {batch: law.work(batch).high / law.work(batch).low for batch in (64, 256, 1024)}
    assert width[64] < width[256] < width[1024]
    assert law.work(64).value == pytest.approx(3.5, rel=0.03)


def test_a_second_batch_narrows_the_doubt(tmp_path):
    small = read_run(a_run(tmp_path / "small"), 97.0)
    large = read_run(a_run(tmp_path / "large", batch=479, accuracies=[*np.linspace(0.5, 0.96, 7), 0.98]), 97.0)
    one, two = law_of_runs([small]).work(256), law_of_runs([small, large]).work(256)
    assert two.high / two.low < one.high / one.low


def test_each_published_task_is_within_the_doubt_of_the_ratio():
    """Table 1 of arXiv:1812.06162; Student's t of five degrees of freedom has 2.02 at 95 %."""
    for critical, simple in ((200, 900), (500, 4000), (900, 2000), (15_000, 30_000), (100_000, 150_000)):
        middle, doubt = critical_batch([(simple, 0.0)])
        assert abs(math.log(critical / middle)) < 2.02 * doubt


def test_accuracy_is_never_above_what_was_measured(tmp_path):
    law = law_of_runs([read_run(a_run(tmp_path / "run"), 97.0)])
    assert law.top1(64, 1000).high == pytest.approx(98)
    epochs = law.epochs_to(64, 97.0)
    assert epochs is not None
    assert law.top1(64, epochs).value == pytest.approx(97, abs=0.1)
    assert law.epochs_to(64, 98.5) is None


def test_plan_answers_for_a_model_without_evidence(tmp_path, model):
    folder = a_run(tmp_path / "run")
    asked = ["--model", model, "--noise-scale", folder, "--target", "97%", "--gpus", "1,4"]
    answer = json.loads(planned(*asked, "--format", "json"))
    assert answer["from_runs"]["noise_scale"] == pytest.approx(600)
    assert answer["from_runs"]["critical_batch"] == pytest.approx(600, rel=0.05)
    for choice in answer["choices"]:
        needed = choice["epochs_to_target"]
        assert needed["low"] < choice["epochs"] < needed["high"]
        assert choice["epochs"] == pytest.approx(needed["value"], rel=0.01)
    table = planned(*asked)
    assert all(len(line) <= 80 for line in table.splitlines() if not line.startswith("torchrun"))
    assert "…" not in table
    assert "3.5 at batch 64" in table
    assert answer["command"] in table.splitlines()


def test_the_command_has_the_runs_options_and_the_rate_of_the_theory(tmp_path, model):
    folder = a_run(tmp_path / "run")
    own, _ = recipe_of_runs([folder], str(model), SAMPLES, 97.0)
    assert own.peak_rate(64) == pytest.approx(0.08)
    # arXiv:1812.06162: the rate over its largest is 1 / (1 + B_noise / B)
    assert own.peak_rate(256) / own.peak_rate(32) == pytest.approx(
        (1 + own.critical_batch / 32) / (1 + own.critical_batch / 256)
    )
    asked = ["--model", model, "--noise-scale", folder, "--target", "97%", "--gpus", "4", "--batch", "256"]
    command = json.loads(planned(*asked, "--format", "json"))["command"]
    for words in ("--model cnn", "--batch-per-gpu 64 ", "--engine ddp", "--decay-vectors", "--schedule constant"):
        assert words in command
    for word in ("--ranks", "--folder", "--watch"):
        assert word not in command


def damaged(folder, name, text):
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "none", "name the --output folder of a run"),
        (lambda folder: damaged(folder, "run.json", "{"), "damaged"),
        (lambda folder: damaged(folder, "run.json", "[]"), "damaged"),
        (lambda folder: damaged(folder, "epochs.csv", "step\n1\n"), "it needs step, epoch, validation_accuracy"),
        (lambda folder: damaged(folder, "epochs.csv", "step,epoch,validation_accuracy\n"), "no validation"),
        (lambda folder: damaged(folder, "noise_scale.csv", ",".join(COLUMNS) + "\n"), "are too few"),
        (lambda folder: damaged(folder, "noise_scale.csv", ",".join(COLUMNS) + "\n1,2\n"), "damaged"),
        (
            lambda folder: damaged(
                folder, "noise_scale.csv", "\n".join([",".join(COLUMNS), *(f"{n},64,-1,1,1,1,1" for n in range(50))])
            ),
            "below its noise",
        ),
    ],
)
def test_what_is_not_a_run_gets_one_line(make, said, tmp_path, model, capsys):
    folder = make(a_run(tmp_path / "run"))
    assert main(["plan", "--model", str(model), "--noise-scale", str(folder), "--target", "97%"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "99%"], "reached 98% at most, in 4 epochs"),
        (["--target", "97%", "--model", "resnet50"], "trained on 1,437 samples, but resnet50 has 1,281,167"),
        (["--target", "97%", "--recipe", "goyal2017-resnet50-sgd"], "the run is the recipe"),
        (["--target", "97%", "--batch", "100000", "--gpus", "8"], "they cover 1 to"),
    ],
)
def test_what_the_run_cannot_tell_gets_one_line(arguments, said, tmp_path, model, capsys):
    folder = a_run(tmp_path / "run")
    assert main(["plan", "--model", str(model), "--noise-scale", str(folder), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


def test_runs_of_different_recipes_are_refused(tmp_path):
    folders = [a_run(tmp_path / "one"), a_run(tmp_path / "two", optimizer="lars")]
    with pytest.raises(InputError, match="different recipes: optimizer is 'sgd' and 'lars'"):
        recipe_of_runs(folders, "mine", SAMPLES, 97.0)
