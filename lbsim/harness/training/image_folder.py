"""ImageNet, or any images in a folder a class, with torchvision's transforms.

Goyal et al., arXiv:1706.02677, section 5.1: a random crop and a flip to train, the centre to validate.
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
except (ImportError, RuntimeError):  # also one that was built for another torch
    raise InputError("--data images: needs torchvision; pip install torchvision") from None

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_THREADS = 8


class Images:
    """Images that are decoded as they are asked for; the crop of each follows from the seed and its index."""

    def __init__(self, files: Sequence[tuple[str, int]], transform: Callable[[Image.Image], Tensor]) -> None:
        self._files, self._transform = files, transform
        self._threads = ThreadPoolExecutor(_THREADS)

    def __len__(self) -> int:
        return len(self._files)

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return samples and labels."""
        numbers = [int(index) for index in indices]
        read = list(self._threads.map(image_files.read, [self._files[number][0] for number in numbers]))
        samples = []
        # torchvision draws from torch's own generator, so one image after the other
        with torch.random.fork_rng(devices=[]):
            for number, image in zip(numbers, read, strict=True):
                torch.manual_seed(seed * 1_000_003 + number)
                samples.append(self._transform(image))
        return torch.stack(samples), torch.tensor([self._files[number][1] for number in numbers])


def training(files: Sequence[tuple[str, int]], size: int) -> Images:
    """Return the images in *files*, each a random part of it, of *size* x *size* pixels and maybe mirrored."""
    crop = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    return Images(files, transforms.Compose([*crop, *_finish()]))


def validation(files: Sequence[tuple[str, int]], size: int) -> Images:
    """Return the images in *files*, of each the middle, of *size* x *size* pixels."""
    centre = [transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)]
    return Images(files, transforms.Compose([*centre, *_finish()]))


def _finish() -> list[Callable[..., Tensor]]:
    return [transforms.ToTensor(), transforms.Normalize(_MEAN, _SPREAD)]
