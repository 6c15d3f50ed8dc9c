"""ImageNet, or any images in a folder a class, with torchvision's transforms.

Goyal et al., arXiv:1706.02677, section 5.1: a random crop and a flip to train, the centre to validate.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from lbsim.errors import InputError

try:
    from torchvision import datasets, transforms
except (ImportError, RuntimeError):  # also one that was built for another torch
    raise InputError("--data images: needs torchvision; pip install torchvision") from None

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_THREADS = 8


class ImageFolder:
    """Images that are decoded as they are asked for; the crop of each follows from the seed and its index."""

    def __init__(self, folder: Path, transform: object) -> None:
        try:
            self._images = datasets.ImageFolder(str(folder), transform=None)
        except (FileNotFoundError, OSError) as error:
            raise InputError(f"--folder {folder}: {str(error).splitlines()[0]}") from None
        self._transform = transform
        self.classes = len(self._images.classes)
        self._threads = ThreadPoolExecutor(_THREADS)

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return samples and labels."""
        numbers = [int(index) for index in indices]
        read = list(self._threads.map(self._images.__getitem__, numbers))
        samples = []
        # torchvision draws from torch's own generator, so one image after the other
        with torch.random.fork_rng(devices=[]):
            for number, (image, _) in zip(numbers, read, strict=True):
                torch.manual_seed(seed * 1_000_003 + number)
                samples.append(self._transform(image))  # type: ignore[operator]
        return torch.stack(samples), torch.tensor([label for _, label in read])


def read(folder: Path, size: int) -> tuple[ImageFolder, ImageFolder, int]:
    """Return the training and the validation images in *folder*, as *size* x *size* pixels, and how many classes."""
    finish = [transforms.ToTensor(), transforms.Normalize(_MEAN, _SPREAD)]
    crop = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    centre = [transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)]
    training = ImageFolder(folder / "train", transforms.Compose([*crop, *finish]))
    validation = ImageFolder(folder / "val", transforms.Compose([*centre, *finish]))
    return training, validation, training.classes
