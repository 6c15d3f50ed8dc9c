"""All-reduce algorithms on tensors; each replaces the tensor by the sum over ranks.

All ranks call them in the same order, one at a time, from a communication stream (`stream`), which makes them
asynchronous: on GPUs a call returns once its work is queued on the current stream, on CPUs when it is done.
"""

import os
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from lbsim.errors import InputError, unknown_name
from lbsim.harness.communication.process_group import rank, world_size

__all__ = [
    "NAMES",
    "AllReduceAlgorithm",
    "Backend",
    "Hierarchical",
    "Hybrid",
    "TwoLevel",
    "algorithm",
    "checked_group_size",
]

NAMES = ("backend", "hierarchical", "two-level", "hybrid")


class AllReduceAlgorithm(Protocol):
    """Sums a flat tensor over all ranks, in place."""

    note: str
    """Property of the implementation that a reader of its measurements must know; usually empty."""
    multiple: int
    """Divisor of the tensor's number of elements."""

    def carrier(self, message: float) -> str:
        """Return the name of the algorithm used for *message* bytes."""
        ...

    def __call__(self, flat: Tensor) -> None:
        """Sum *flat* over all ranks."""
        ...


def algorithm(name: str, group_size: int | None, hybrid_threshold: float, timeout: float) -> AllReduceAlgorithm:
    """Return the all-reduce called *name*; all ranks call this together, because it creates process groups.

    A group is *group_size* consecutive ranks; None for the ranks of a machine (LOCAL_WORLD_SIZE), else all ranks.
    *hybrid_threshold* is in bytes, *timeout* in seconds. Raises InputError for an unknown name, and for a group size
    that does not divide the ranks.
    """
    if name == "backend":
        return Backend()
    if name not in NAMES:
        raise unknown_name(name, "the harness's all-reduce algorithms", NAMES)
    size = checked_group_size(group_size)
    if name == "two-level":
        return TwoLevel(size, timeout)
    hierarchical = Hierarchical(size, timeout)
    return hierarchical if name == "hierarchical" else Hybrid(hierarchical, hybrid_threshold)


def checked_group_size(given: int | None) -> int:
    """Return the number of ranks per group; InputError if it does not divide the number of ranks."""
    size = int(os.environ.get("LOCAL_WORLD_SIZE", world_size())) if given is None else given
    if world_size() % size:
        fitting = ", ".join(str(fit) for fit in range(1, world_size() + 1) if world_size() % fit == 0)
        raise InputError(f"group_size: {size} does not divide {world_size()} ranks; use one of {fitting}")
    return size


class Backend:
    """All-reduce of the communication library: NCCL chooses ring or tree, Gloo runs a ring."""

    note = ""
    multiple = 1

    def carrier(self, message: float) -> str:  # noqa: ARG002  # the signature of a protocol
        """Return the name, which does not depend on the size."""
        return "backend"

    def __call__(self, flat: Tensor) -> None:
        """Sum *flat* over all ranks."""
        dist.all_reduce(flat)


class Hierarchical:
    """Reduce in groups, all-reduce between the groups' leaders, broadcast in groups (Jia et al., arXiv:1807.11205)."""

    note = ""
    multiple = 1

    def __init__(self, group_size: int, timeout: float) -> None:
        self._group, self._leader = _group_of_this_rank(_consecutive_groups(group_size), timeout)
        self._leaders, _ = _group_of_this_rank([list(range(0, world_size(), group_size))], timeout)
        self._group_size = group_size

    def carrier(self, message: float) -> str:  # noqa: ARG002  # the signature of a protocol
        """Return the name, which does not depend on the size."""
        return "hierarchical"

    def __call__(self, flat: Tensor) -> None:
        """Sum *flat* over all ranks."""
        if self._group_size > 1:
            dist.reduce(flat, self._leader, group=self._group)
        if rank() == self._leader and self._group_size < world_size():
            dist.all_reduce(flat, group=self._leaders)
        if self._group_size > 1:
            dist.broadcast(flat, self._leader, group=self._group)


class TwoLevel:
    """Reduce-scatter in groups, all-reduce of each share between groups, all-gather in groups (arXiv:1811.05233)."""

    def __init__(self, group_size: int, timeout: float) -> None:
        self.multiple = group_size
        self._group, self._first = _group_of_this_rank(_consecutive_groups(group_size), timeout)
        self._across, _ = _group_of_this_rank(
            [list(range(i, world_size(), group_size)) for i in range(group_size)], timeout
        )
        self._by_sends = dist.get_backend() == "gloo"
        self.note = (
            "gloo reduce-scatters by an all-reduce, and gathers half-duplex; here each rank sends each share"
            if self._by_sends
            else ""
        )

    def carrier(self, message: float) -> str:  # noqa: ARG002  # the signature of a protocol
        """Return the name, which does not depend on the size."""
        return "two-level"

    def __call__(self, flat: Tensor) -> None:
        """Sum *flat* over all ranks; its number of elements is a multiple of the group size."""
        shares = list(flat.chunk(self.multiple))
        share = shares[rank() - self._first]
        if self._by_sends:
            self._scatter_by_sends(shares)
        elif self.multiple > 1:
            dist.reduce_scatter(share, shares, group=self._group)
        if self.multiple < world_size():
            dist.all_reduce(share, group=self._across)
        if self._by_sends:
            self._exchange([share] * self.multiple, shares)
        elif self.multiple > 1:
            dist.all_gather(shares, share, group=self._group)

    def _scatter_by_sends(self, shares: list[Tensor]) -> None:
        """Reduce-scatter by sends: each rank sends each other member its share, k-1 messages of S/k as in a ring."""
        me = rank() - self._first
        inbox = [torch.empty_like(shares[me]) for _ in shares]
        self._exchange(shares, inbox)
        for member, box in enumerate(inbox):
            if member != me:
                shares[me].add_(box)

    def _exchange(self, outgoing: list[Tensor], incoming: list[Tensor]) -> None:
        """Send *outgoing* to and receive *incoming* from each other member of the group.

        Receives are posted first: Gloo announces a posted receive over the connection that carries the message of the
        other direction, and behind it, so that the two would run one after the other (reports/testbed: twice the time).
        """
        others = [member for member in range(self.multiple) if self._first + member != rank()]
        works = [dist.irecv(incoming[other], self._first + other, group=self._group) for other in others]
        works += [dist.isend(outgoing[other], self._first + other, group=self._group) for other in others]
        for work in works:
            if work is not None:
                work.wait()


class Hybrid:
    """Backend for messages of at least *threshold* bytes, hierarchical for the rest (Jia et al., arXiv:1807.11205)."""

    note = ""
    multiple = 1

    def __init__(self, hierarchical: Hierarchical, threshold: float) -> None:
        self._small, self._large, self._threshold = hierarchical, Backend(), threshold

    def carrier(self, message: float) -> str:
        """Return the name of the algorithm that is used for *message* bytes."""
        return "backend" if message >= self._threshold else "hierarchical"

    def __call__(self, flat: Tensor) -> None:
        """Sum *flat* over all ranks."""
        large = self.carrier(flat.numel() * flat.element_size()) == "backend"
        (self._large if large else self._small)(flat)


def _consecutive_groups(group_size: int) -> list[list[int]]:
    return [list(range(first, first + group_size)) for first in range(0, world_size(), group_size)]


def _group_of_this_rank(members: list[list[int]], timeout: float) -> tuple[dist.ProcessGroup | None, int]:
    """Create a process group for each list of ranks; return the one that contains this rank, and its first rank."""
    found: tuple[dist.ProcessGroup | None, int] = (None, -1)
    for group_ranks in members:
        group = dist.new_group(group_ranks, timeout=timedelta(seconds=timeout))
        if rank() in group_ranks:
            found = group, group_ranks[0]
    return found
