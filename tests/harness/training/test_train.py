"""Whole runs: that they learn, that n ranks are one, that bad input is one line and exit code 2."""

import pytest
import torch

from lbsim.harness.__main__ import main
from lbsim.harness.communication.process_group import ProcessGroup
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.train import train as train_here
from tests.harness.launch import column, finish, start, train

DIGITS = ["--data", "digits", "--device", "cpu"]


def here(folder, **options):
    """Train in this process, and return what was said."""
    said: list[str] = []
    train_here(
        TrainOptions(data="digits", output=folder, **options), ProcessGroup(0, 1, torch.device("cpu")), said.append
    )
    return said


def numbers(folder, name, table="steps"):
    return [float(value) for value in column(folder, name, table)]


def one_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    return lines[0]


@pytest.mark.parametrize(("optimizer", "rate"), [("lars", 20), ("sgd", 0.1), ("rmsprop-to-sgd", 0.1)])
def test_each_optimizer_learns_the_digits(optimizer, rate, tmp_path):
    """A linear classifier reaches 0.95 on these digits, chance 0.1; ten epochs must come to 0.9."""
    here(tmp_path, model="cnn", epochs=10, warm_up=1, optimizer=optimizer, rate=rate)
    assert numbers(tmp_path, "validation_accuracy", "epochs")[-1] > 0.9


@pytest.mark.parametrize("optimizer", ["lars", pytest.param("sgd", marks=pytest.mark.slow)])
def test_two_ranks_give_what_one_gives_on_the_same_batch(optimizer, tmp_path):
    losses = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        arguments = ["--model", "mlp", "--batch-per-gpu", 64 // ranks, "--epochs", 2, "--output", folder]
        codes, said = train(ranks, *DIGITS, *arguments, "--optimizer", optimizer, "--rate", 0.1)
        assert codes == [0] * ranks, said
        losses.append(numbers(folder, "loss") + numbers(folder, "validation_loss", "epochs"))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "mixed"])
def test_half_precision_ends_where_single_does(precision, tmp_path):
    """Jia et al., figure 10: the curves lie on each other."""
    accuracy = {}
    for chosen in ("fp32", precision):
        folder = tmp_path / chosen
        here(folder, model="cnn", epochs=4, warm_up=1, rate=20, precision=chosen)
        accuracy[chosen] = numbers(folder, "validation_accuracy", "epochs")[-1]
    assert accuracy[precision] == pytest.approx(accuracy["fp32"], abs=0.03)  # 11 of 360 images


def test_an_overflow_skips_the_step_halves_the_scale_and_says_so(tmp_path):
    model = "tests.harness.odd_models:overflows"
    said = here(tmp_path, model=model, steps=6, precision="mixed", loss_scale=1024)
    assert column(tmp_path, "skipped") == ["0", "0", "1", "0", "0", "0"]
    assert numbers(tmp_path, "loss_scale") == [1024, 1024, 512, 512, 512, 512]
    assert "step 3 skipped: a gradient overflowed; loss scale now 512" in said


def test_the_layers_are_watched(tmp_path):
    watch = {"watch_every": 2, "watch_activation": "pool2"}
    here(tmp_path, model="cnn", steps=5, schedule="constant", rate=0.1, momentum=0, **watch)
    assert column(tmp_path, "step", "activations") == ["1", "3", "5"]
    names = column(tmp_path, "layer", "layers")
    ratios = numbers(tmp_path, "update_ratio", "layers")
    trusted = [ratio for name, ratio in zip(names, ratios, strict=True) if name in {"conv1.weight", "fc.weight"}]
    # ‖Δw‖/‖w‖ = γ ρ ‖g + λw‖ / (‖g‖ + λ‖w‖): at most γ ρ, and with so little decay nearly that
    assert trusted == pytest.approx([0.1 * 0.001] * 6, rel=0.05)
    assert max(trusted) <= 0.1 * 0.001 * (1 + 1e-5)


def test_tensorboard_reads_what_the_tables_hold(tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    options = ["--model", "cnn", *DIGITS, "--batch-per-gpu", "64", "--rate", "0.1", "--watch-every", "2"]
    options += ["--noise-scale-every", "2"]
    words = ["train", *options, "--watch-activation", "pool2", "--tensorboard", "--output", str(tmp_path)]
    assert main([*words, "--steps", "3"]) == 0
    assert main([*words, "--steps", "5"]) == 0  # a run that goes on writes beside what is there
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for tag, table, name in (
        ("steps/loss", "steps", "loss"),
        ("epochs/validation_accuracy", "epochs", "validation_accuracy"),
        ("activations/pool2/p50", "activations", "p50"),
        ("noise_scale/gradient_variance", "noise_scale", "gradient_variance"),
    ):
        seen = {event.step: event.value for event in events.Scalars(tag)}
        rows = zip(numbers(tmp_path, "step", table), numbers(tmp_path, name, table), strict=True)
        assert seen == pytest.approx({int(step): value for step, value in rows}, rel=1e-6)  # it keeps float32
    watched = [tag for tag in events.Tags()["scalars"] if tag.startswith("layers/")]
    assert "layers/conv1.weight/update_ratio" in watched


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "resnet5"], "did you mean 'resnet50'"),
        (["--data", "digit"], "did you mean 'digits'"),
        (["--data", "images"], "--folder DIR"),
        (["--data", "images", "--folder", "/nowhere"], "no folder 'train'"),
        (["--model", "vgg16", "--data", "digits"], "does not accept input of 1x8x8"),
        (
            ["--model", "tests.harness.odd_models:slow", "--data", "digits", "--batch-per-gpu", "1"],
            "a batch of 1 sample",
        ),
        (["--model", "mlp", "--data", "digits", "--precision", "tf32"], "CPUs do not support it"),
        (["--model", "mlp", "--data", "digits", "--precision", "fp8"], "precision"),
        (["--model", "mlp", "--data", "digits", "--batch-per-gpu", "2000"], "at most 1437"),
        (["--model", "mlp", "--data", "digits", "--batch-per-gpu", "0"], "batch_per_gpu"),
        (["--model", "mlp", "--data", "digits", "--engine", "plane"], "did you mean 'plain'"),
        (["--model", "cnn", "--data", "digits", "--watch-activation", "pool9"], "pool1"),
        (["--no-such-option"], "--no-such-option"),
        (["--patience", "60"], "has no unit"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, said, tmp_path, capsys):
    assert main(["train", "--device", "cpu", "--output", str(tmp_path), *arguments]) == 2
    assert said in one_line(capsys.readouterr().err)


def test_a_step_that_does_not_fit_into_memory_is_one_line(tmp_path, capsys):
    arguments = ["train", "--device", "cpu", "--data", "digits", "--model", "tests.harness.odd_models:grows"]
    assert main([*arguments, "--output", str(tmp_path)]) == 2
    said = one_line(capsys.readouterr().err)
    assert said == "lbsim: rank 0: a step of 32 samples does not fit into memory; write a smaller --batch-per-gpu"


def test_ranks_that_disagree_all_exit_with_2(tmp_path):
    own = {1: ["--momentum", "0.8"]}
    codes, said = train(2, *DIGITS, "--model", "mlp", "--output", tmp_path, own=own)
    assert codes == [2, 2]
    assert "--momentum: rank 0 has 0.9, rank 1 has 0.8" in one_line("".join(said))


def test_what_is_wrong_on_one_rank_ends_all(tmp_path):
    own = {1: ["--precision", "fp8"]}
    codes, said = train(2, *DIGITS, "--model", "mlp", "--output", tmp_path, own=own)
    assert codes == [2, 2]
    assert "rank 1: precision" in one_line("".join(said))


def test_nobody_at_the_rendezvous_is_one_line(tmp_path):
    processes = start(2, *DIGITS, "--model", "mlp", "--output", tmp_path, "--patience", "2 s")
    processes[0].kill()
    codes, said = finish(processes)
    assert codes[1] == 2
    assert "rank 1 of 2: no rendezvous at 127.0.0.1:" in one_line(said[1])
