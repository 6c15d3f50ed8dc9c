"""Models that misbehave, or that show how the training behaves; for ``--model odd_models:NAME``."""

import os
import time

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Slow(nn.Module):
    """Dropout and batch norm, at a pace at which a test can kill it."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10)
        )

    def forward(self, images):
        if self.training:
            time.sleep(0.01)
        return self.layers(images)


class Hangs(Slow):
    """Rank 1 hangs in its fifth step."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def forward(self, images):
        self.steps += self.training
        if self.steps == 5 and os.environ["RANK"] == "1":
            time.sleep(1000)
        return super().forward(images)


class Grows(Slow):
    """Asks in its fifth step for more memory than any machine has."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def forward(self, images):
        self.steps += self.training
        return super().forward(images) if self.steps < 5 else torch.empty(10**15)


class Overflows(Slow):
    """Logits that are large enough for a scaled gradient to overflow fp16, in the third step."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def forward(self, images):
        self.steps += self.training
        scores = super().forward(images)
        return scores + (scores - scores.detach()) * 1e6 if self.steps == 3 else scores


class AlwaysOverflows(Slow):
    """Every gradient overflows fp16."""

    def forward(self, images):
        scores = super().forward(images)
        return scores + (scores - scores.detach()) * 1e6


class Divides(nn.Module):
    """The output of ``second`` is NaN from the fourth step on; on rank 1 only if *rank_1*."""

    def __init__(self, *, rank_1=False):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(64, 16), Divided(rank_1=rank_1), nn.Linear(16, 10)

    def forward(self, images):
        return self.third(self.second(self.first(images.flatten(1))))


class Divided(nn.Module):
    def __init__(self, *, rank_1):
        super().__init__()
        self.rank_1, self.steps = rank_1, 0

    def forward(self, x):
        self.steps += self.training
        bad = self.steps >= 4 and (not self.rank_1 or os.environ["RANK"] == "1")
        return x * 0 / 0 if bad else x


class Once(nn.Module):
    """A backward that frees what it needs, as that of reentrant checkpointing does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images):
        return checkpoint(self.layer, images.flatten(1).requires_grad_(), use_reentrant=True)


class _Pause(torch.autograd.Function):
    """Nothing, but for the seconds in PAUSE that its backward takes."""

    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        time.sleep(float(os.environ["PAUSE"]))
        return gradient


class Paced(nn.Module):
    """Gradients come one layer after the other, PAUSE seconds apart."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 48), nn.Linear(48, 32), nn.Linear(32, 10)])

    def forward(self, images):
        signal = images.flatten(1)
        for layer in self.layers:
            signal = layer(_Pause.apply(torch.relu(signal)))
        return signal


def paced():
    return Paced()


def colours():
    """Tells three colours apart, without batch norm, so that n processes compute what one does."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 3))


def slow():
    return Slow()


def hangs():
    return Hangs()


def grows():
    return Grows()


def overflows():
    return Overflows()


def always_overflows():
    return AlwaysOverflows()


def divides():
    return Divides()


def divides_on_rank_1():
    return Divides(rank_1=True)


def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def once():
    return Once()
