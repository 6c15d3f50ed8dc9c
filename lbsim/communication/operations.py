"""Collective operations: their algorithms, their bus bandwidth and their columns in nccl-tests."""

from collections.abc import Callable
from dataclasses import dataclass

from lbsim.communication.fabric import Algorithm
from lbsim.errors import unknown_name
from lbsim.profiles.module_catalog import find_module

__all__ = ["OPERATIONS", "Operation", "find_operation"]


@dataclass(frozen=True)
class Operation:
    """Collective operation, with the conventions of nccl-tests; its message is the largest buffer of one GPU."""

    name: str
    """Name with dashes, such as ``all-gather``."""
    bus_factor: Callable[[int], float]
    """Bus bandwidth over algorithmic bandwidth, as a function of the number of GPUs."""
    default: str
    """Name of the algorithm if none is given."""
    reduction: str = "none"
    """Reduction in the columns of nccl-tests."""
    root: int = -1
    """Root in the columns of nccl-tests; -1 if there is none."""
    sharded: bool = False
    """Whether the column ``count`` has the elements of one GPU's shard."""

    @property
    def kind(self) -> str:
        """Package of the algorithms in ``lbsim/communication``, and name of their function."""
        return self.name.replace("-", "_")

    def algorithm(self, name: str | None = None) -> Algorithm:
        """Return the algorithm *name* of this operation, or its default algorithm.

        InputError, with the closest name, if there is no such algorithm.
        """
        algorithm: Algorithm = getattr(find_module(self.kind, name or self.default), self.kind)
        return algorithm


def _shards_of_others(gpus: int) -> float:
    return (gpus - 1) / gpus


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("all-reduce", lambda gpus: 2 * (gpus - 1) / gpus, "auto", "sum"),
        Operation("reduce-scatter", _shards_of_others, "ring", "sum", sharded=True),
        Operation("all-gather", _shards_of_others, "ring", sharded=True),
        Operation("all-to-all", _shards_of_others, "direct", sharded=True),
        Operation("broadcast", lambda _: 1.0, "ring", root=0),
        Operation("send-receive", lambda _: 1.0, "direct", "sum"),
    )
}
"""Operations by name. NVIDIA nccl-tests, doc/PERFORMANCE.md, for the factors; sendrecv_perf prints ``sum``."""


def find_operation(name: str) -> Operation:
    """Return the operation *name*; InputError, with the closest name, if there is none."""
    if name not in OPERATIONS:
        raise unknown_name(name, "operations", OPERATIONS)
    return OPERATIONS[name]
