"""Averages of training loss and accuracy over an epoch."""

import time
from typing import Any

import torch

__all__ = ["EpochAverages"]


class EpochAverages:
    """Sums of loss and accuracy over the steps of the current epoch."""

    def __init__(self) -> None:
        self._sums = torch.zeros(2, dtype=torch.float64)
        self._steps, self._start = 0, time.monotonic()

    def add(self, loss: float, accuracy: float) -> None:
        """Add the *loss* and *accuracy* of a step."""
        self._sums += torch.tensor([loss, accuracy], dtype=torch.float64)
        self._steps += 1

    def finish(self) -> tuple[float, float, float]:
        """End the epoch; return mean loss, mean accuracy and the seconds since it started in this process."""
        loss, accuracy = (self._sums / self._steps).tolist()
        seconds = time.monotonic() - self._start
        self._sums.zero_()
        self._steps, self._start = 0, time.monotonic()
        return loss, accuracy, seconds

    def state(self) -> list[Any]:
        """Return the state for a checkpoint."""
        return [self._sums.tolist(), self._steps]

    def restore(self, state: list[Any]) -> None:
        """Resume from a checkpoint."""
        sums, self._steps = state
        self._sums += torch.tensor(sums, dtype=torch.float64)
