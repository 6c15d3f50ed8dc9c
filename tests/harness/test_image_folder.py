"""Real JPEG files, in a folder a class, through torchvision where it is installed."""

import importlib

import pytest
import torch

from lbsim.errors import InputError
from lbsim.harness import data
from tests.harness.launch import column, train

CLASSES = ("cat", "dog", "eel")


def torchvision_is_here():
    try:
        importlib.import_module("lbsim.harness.image_folder")
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


@needs_torchvision
def test_images_come_cropped_normalised_and_the_same_for_the_same_seed(folder):
    images = data.named("images", (3, 32, 32), folder)
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
def test_two_ranks_train_on_images(folder, tmp_path):
    words = ["--data", "images", "--folder", folder, "--model", "cnn", "--device", "cpu", "--batch-per-gpu", 4]
    codes, said = train(2, *words, "--epochs", 2, "--rate", 0.05, "--optimizer", "sgd", "--output", tmp_path)
    assert codes == [0, 0], said
    assert len(column(tmp_path, "loss")) == 6


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
    assert "no images in 'train'" in line
