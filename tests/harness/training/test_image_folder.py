"""Real JPEG files, in a folder a class, through torchvision where it is installed."""

import importlib
import shutil

import pytest
import torch

from lbsim.errors import InputError
from lbsim.harness.training import data
from tests.harness.launch import column, train

CLASSES = ("cat", "dog", "eel")


def torchvision_is_here():
    try:
        importlib.import_module("lbsim.harness.training.image_folder")
    except InputError:
        return False
    return True


needs_torchvision = pytest.mark.skipif(
    not torchvision_is_here(), reason="torchvision is not installed, or not for this torch"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight images a class to train on and four to validate with, each of its class's colour, of odd sizes."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    top = tmp_path_factory.mktemp("images")
    for part, count in (("train", 8), ("val", 4)):
        for number, name in enumerate(CLASSES):
            (top / part / name).mkdir(parents=True)
            for index in range(count):
                colour = tuple(200 if channel == number else 30 for channel in range(3))
                image.new("RGB", (40 + index, 60 - index), colour).save(top / part / name / f"{index}.jpg")
    return top


def small(folder, batch):
    words = ["--data", "images", "--folder", folder, "--model", "cnn", "--device", "cpu", "--batch-per-gpu", batch]
    return [*words, "--rate", 0.05, "--optimizer", "sgd", "--warm-up", 0]


@needs_torchvision
def test_images_come_cropped_normalised_and_the_same_for_the_same_seed(folder):
    images = data.load("images", (3, 32, 32), folder)
    assert (len(images.training), len(images.validation), images.classes) == (24, 12, 3)
    samples, labels = images.training.batch(torch.tensor([0, 8, 16]), seed=1)
    assert samples.shape == (3, 3, 32, 32)
    assert labels.tolist() == [0, 1, 2]
    assert samples.mean((2, 3)).argmax(1).tolist() == [0, 1, 2]  # each class is bright in its own colour
    again, _ = images.training.batch(torch.tensor([8]), seed=1)
    assert torch.equal(again[0], samples[1])
    # a grey value of 200 in JPEG, by ImageNet's mean and spread of red
    centre, _ = images.validation.batch(torch.tensor([0]), seed=0)
    assert float(centre[0, 0].mean()) == pytest.approx((200 / 255 - 0.485) / 0.229, abs=0.05)  # JPEG rounds


@needs_torchvision
def test_two_ranks_learn_images_and_get_what_one_gets(folder, tmp_path):
    """Classes that differ in colour alone are learned, whole, in five epochs of six steps."""
    losses = {}
    for ranks in (1, 2):
        out = tmp_path / str(ranks)
        words = [*small(folder, 4 // ranks), "--model", "odd_models:colours", "--epochs", 5]
        codes, said = train(ranks, *words, "--output", out)
        assert codes == [0] * ranks, said
        losses[ranks] = [float(loss) for loss in column(out, "loss")]
        assert len(losses[ranks]) == 30
        assert float(column(out, "validation_accuracy", "epochs")[-1]) == 1.0
    assert losses[2] == pytest.approx(losses[1], rel=1e-5)


@needs_torchvision
def test_a_run_over_images_that_goes_on_is_bitwise_the_whole_one(folder, tmp_path):
    words = [*small(folder, 2), "--epochs", 4]
    assert train(2, *words, "--output", tmp_path / "whole")[0] == [0, 0]
    parts = tmp_path / "parts"
    for steps in (7, 12, 16):  # in the middle and at the end of an epoch of 6 steps
        assert train(2, *words, "--steps", steps, "--output", parts)[0] == [0, 0]
    codes, said = train(2, *words, "--output", parts)
    assert codes == [0, 0], said
    assert "going on after step 16" in said[0]
    assert column(parts, "loss") == column(tmp_path / "whole", "loss")


@needs_torchvision
@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_a_damaged_image_in_the_middle_of_a_run_ends_every_rank_with_one_line(part, ranks, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "images")
    file = copy / part / "dog" / "2.jpg"
    file.write_bytes(file.read_bytes()[:300])
    codes, said = train(ranks, *small(copy, 1), "--epochs", 3, "--output", tmp_path / "run")
    assert codes == [2] * ranks, said
    (line,) = "".join(said).splitlines()
    assert f"{file}: not readable as an image" in line
    assert len(column(tmp_path / "run", "loss")) < 24 // ranks + 1  # it was met in the first epoch


@needs_torchvision
def test_ranks_whose_machines_have_other_images_all_end_with_code_2_and_one_says_one_line(folder, tmp_path):
    (tmp_path / "0").mkdir()
    shutil.copytree(folder, tmp_path / "0" / "images")
    shutil.copytree(tmp_path / "0", tmp_path / "1")
    (tmp_path / "1" / "images" / "train" / "cat" / "0.jpg").unlink()
    places = {rank: tmp_path / str(rank) for rank in (0, 1)}
    codes, said = train(2, *small("images", 4), "--output", tmp_path / "run", places=places)
    assert codes == [2, 2]
    (line,) = "".join(said).splitlines()
    assert "--data: rank 0 has '24 and 12 samples of 3 classes', rank 1 has '23 and 12 samples" in line


@pytest.mark.skipif(torchvision_is_here(), reason="torchvision is installed")
def test_without_torchvision_every_rank_ends_with_code_2_and_one_says_one_line(folder, tmp_path):
    words = ["--data", "images", "--folder", folder, "--model", "cnn", "--device", "cpu", "--batch-per-gpu", 4]
    codes, said = train(2, *words, "--output", tmp_path)
    assert codes == [2, 2]
    (line,) = "".join(said).splitlines()
    assert "needs torchvision; pip install torchvision" in line


def test_a_folder_without_images_ends_every_rank_with_code_2_and_one_says_one_line(tmp_path):
    for part in ("train/cat", "val/cat"):
        (tmp_path / part).mkdir(parents=True)
    words = ["--data", "images", "--folder", tmp_path, "--model", "cnn", "--device", "cpu"]
    codes, said = train(2, *words, "--output", tmp_path / "run")
    assert codes == [2, 2]
    (line,) = "".join(said).splitlines()
    assert "no images in 'train/cat'" in line
