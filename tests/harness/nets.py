"""Models for the benchmarks' tests, as a user would name them: tests.harness.nets:small."""

from torch import nn


def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 64),
        nn.ReLU(inplace=True),
        nn.Linear(64, 10),
    )


def deep():
    """Return a net of 32 tensors whose step takes some tens of milliseconds on a core."""
    layers = [layer for _ in range(16) for layer in (nn.Linear(512, 512), nn.ReLU(inplace=True))]
    return nn.Sequential(*layers)
