"""Datasets of image files, such as ImageNet, with torchvision's transforms.

Augmentation as in Goyal et al., arXiv:1706.02677, section 5.1: a random crop and flip in training, the centre crop in
validation.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL import Image
from torch import Tensor

from lbsim.errors import InputError
from lbsim.harness.training import image_files

try:
    from torchvision import transforms
except (ImportError, RuntimeError):  # RuntimeError: torchvision was built for another torch
    raise InputError("--data images: needs torchvision; pip install torchvision") from None

__all__ = ["Images", "training", "validation"]

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_THREADS = 8


class Images:
    """Images that are decoded per batch; the crop of each follows from the seed and its index."""

    def __init__(self, files: Sequence[tuple[str, int]], transform: Callable[[Image.Image], Tensor]) -> None:
        self._files, self._transform = files, transform
        self._threads = ThreadPoolExecutor(_THREADS)

    def __len__(self) -> int:
        return len(self._files)

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the samples and labels at *indices*."""
        numbers = [int(index) for index in indices]
        read = list(self._threads.map(image_files.read, [self._files[number][0] for number in numbers]))
        samples = []
        # torchvision uses torch's global generator, so images are transformed one after another
        with torch.random.fork_rng(devices=[]):
            for number, image in zip(numbers, read, strict=True):
                torch.manual_seed(seed * 1_000_003 + number)
                samples.append(self._transform(image))
        return torch.stack(samples), torch.tensor([self._files[number][1] for number in numbers])


def training(files: Sequence[tuple[str, int]], size: int) -> Images:
    """Return the images in *files*: a random crop of *size* x *size* pixels, flipped at random."""
    crop = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    return Images(files, transforms.Compose([*crop, *_finish()]))


def validation(files: Sequence[tuple[str, int]], size: int) -> Images:
    """Return the images in *files*: the centre crop of *size* x *size* pixels."""
    centre = [transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)]
    return Images(files, transforms.Compose([*centre, *_finish()]))


def _finish() -> list[Callable[..., Tensor]]:
    return [transforms.ToTensor(), transforms.Normalize(_MEAN, _SPREAD)]
