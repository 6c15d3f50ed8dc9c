"""Batch loader: a batch that one rank cannot read ends the run on all ranks."""

import torch
from torch import Tensor

from lbsim.errors import InputError
from lbsim.harness.communication.process_group import on_all_ranks
from lbsim.harness.training.data import Dataset

__all__ = ["BatchLoader"]


class BatchLoader:
    """Reads batches of samples of *shape*.

    After a failure it returns zeros, so that its rank still reaches the sum over ranks in which all learn of it.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._fault: str | None = None

    @property
    def failed(self) -> float:
        """1 once a batch could not be read, else 0; to be summed over the ranks."""
        return float(self._fault is not None)

    def batch(self, dataset: Dataset, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the samples and labels at *indices*."""
        try:
            return dataset.batch(indices, seed)
        except InputError as error:
            self._fault = self._fault or str(error)
            return torch.zeros(len(indices), *self._shape), torch.zeros_like(indices)

    def raise_failures(self, failures: float) -> None:
        """Raise InputError on every rank unless *failures*, the sum of `failed` over the ranks, is zero."""
        if failures:
            on_all_ranks(self._raise_fault)

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise InputError(self._fault)
