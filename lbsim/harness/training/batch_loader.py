"""Reads batches; what one rank cannot read, in the middle of a run, ends all of them."""

import torch
from torch import Tensor

from lbsim.errors import InputError
from lbsim.harness.communication.process_group import together
from lbsim.harness.training.data import Samples


class Reader:
    """Goes on with zeros where a batch cannot be read, so that its rank gets to the sum in which all hear of it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._fault: str | None = None

    @property
    def failed(self) -> float:
        """1 once something could not be read, else 0: to be summed over the ranks."""
        return float(self._fault is not None)

    def batch(self, samples: Samples, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return samples and labels."""
        try:
            return samples.batch(indices, seed)
        except InputError as error:
            self._fault = self._fault or str(error)
            return torch.zeros(len(indices), *self._shape), torch.zeros_like(indices)

    def stop_if(self, failures: float) -> None:
        """Raise InputError on every rank if so many, over all ranks, failed."""
        if failures:
            together(self._complain)

    def _complain(self) -> None:
        if self._fault is not None:
            raise InputError(self._fault)
