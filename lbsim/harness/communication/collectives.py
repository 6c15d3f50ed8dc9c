"""All-reduce algorithms on real tensors; each leaves the sum over ranks in the tensor that it is given.

They are called one at a time, on all ranks in the same order, from a lane (see `lanes`), which is what makes them
asynchronous: on GPUs a call returns once its work is queued on the current stream, else when it is done.
"""

import os
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from lbsim.errors import InputError, unknown_name
from lbsim.harness.communication.process_group import rank, ranks

NAMES = ("backend", "hierarchical", "two-level", "hybrid")


class AllReduce(Protocol):
    """What sums a flat tensor over all ranks, in place."""

    note: str
    """What a reader of a measurement must know about how it is done; mostly nothing."""
    multiple: int
    """The tensor's elements must be a multiple of this."""

    def carrier(self, message: float) -> str:
        """Return the name of the algorithm that carries *message* bytes."""
        ...

    def __call__(self, flat: Tensor) -> None:
        """Sum *flat* over all ranks."""
        ...


def algorithm(name: str, group_size: int | None, hybrid_threshold: float, timeout: float) -> AllReduce:
    """Return the all-reduce called *name*; all ranks must call this together, for it makes process groups.

    Groups are *group_size* ranks that follow each other: if none, the ranks of a machine, if torchrun says.
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
    """Return the ranks of a group; InputError if it does not divide them."""
    size = int(os.environ.get("LOCAL_WORLD_SIZE", ranks())) if given is None else given
    if ranks() % size:
        fitting = ", ".join(str(fit) for fit in range(1, ranks() + 1) if ranks() % fit == 0)
        raise InputError(f"group_size: {size} does not divide {ranks()} ranks; use one of {fitting}")
    return size


class Backend:
    """The communication library's own: NCCL picks ring or tree, Gloo runs a ring."""

    note = ""
    multiple = 1

    def carrier(self, message: float) -> str:  # noqa: ARG002
        """Return its name, whatever the size."""
        return "backend"

    def __call__(self, flat: Tensor) -> None:
        """Sum *flat* over all ranks."""
        dist.all_reduce(flat)


class Hierarchical:
    """Reduce in groups, all-reduce between the groups' leaders, broadcast in groups (Jia et al., arXiv:1807.11205)."""

    note = ""
    multiple = 1

    def __init__(self, group_size: int, timeout: float) -> None:
        self._group, self._leader = _own_group(_rows(group_size), timeout)
        self._leaders, _ = _own_group([list(range(0, ranks(), group_size))], timeout)
        self._group_size = group_size

    def carrier(self, message: float) -> str:  # noqa: ARG002
        """Return its name, whatever the size."""
        return "hierarchical"

    def __call__(self, flat: Tensor) -> None:
        """Sum *flat* over all ranks."""
        if self._group_size > 1:
            dist.reduce(flat, self._leader, group=self._group)
        if rank() == self._leader and self._group_size < ranks():
            dist.all_reduce(flat, group=self._leaders)
        if self._group_size > 1:
            dist.broadcast(flat, self._leader, group=self._group)


class TwoLevel:
    """Reduce-scatter in groups, all-reduce of each share between groups, all-gather in groups (arXiv:1811.05233)."""

    def __init__(self, group_size: int, timeout: float) -> None:
        self.multiple = group_size
        self._group, self._first = _own_group(_rows(group_size), timeout)
        self._across, _ = _own_group([list(range(i, ranks(), group_size)) for i in range(group_size)], timeout)
        self._by_sends = dist.get_backend() == "gloo"
        self.note = (
            "gloo reduce-scatters by an all-reduce, and gathers half-duplex; here each rank sends each share"
            if self._by_sends
            else ""
        )

    def carrier(self, message: float) -> str:  # noqa: ARG002
        """Return its name, whatever the size."""
        return "two-level"

    def __call__(self, flat: Tensor) -> None:
        """Sum *flat*, whose elements are a multiple of the group, over all ranks."""
        shares = list(flat.chunk(self.multiple))
        own = shares[rank() - self._first]
        if self._by_sends:
            self._scatter_by_sends(shares)
        elif self.multiple > 1:
            dist.reduce_scatter(own, shares, group=self._group)
        if self.multiple < ranks():
            dist.all_reduce(own, group=self._across)
        if self._by_sends:
            self._exchange([own] * self.multiple, shares)
        elif self.multiple > 1:
            dist.all_gather(shares, own, group=self._group)

    def _scatter_by_sends(self, shares: list[Tensor]) -> None:
        """Send each member of the group its share and add up what they send: k-1 messages of S/k, as a ring has."""
        me = rank() - self._first
        inbox = [torch.empty_like(shares[me]) for _ in shares]
        self._exchange(shares, inbox)
        for member, box in enumerate(inbox):
            if member != me:
                shares[me].add_(box)

    def _exchange(self, outgoing: list[Tensor], incoming: list[Tensor]) -> None:
        """Send each other member of the group what is for it, and receive what is for us.

        Receives come first: Gloo tells a sender that we are ready over the same connection that our own message
        takes, and behind it, so that the two would go one after the other (reports/testbed: twice the time).
        """
        others = [member for member in range(self.multiple) if self._first + member != rank()]
        works = [dist.irecv(incoming[other], self._first + other, group=self._group) for other in others]
        works += [dist.isend(outgoing[other], self._first + other, group=self._group) for other in others]
        for work in works:
            if work is not None:
                work.wait()


class Hybrid:
    """The backend's own for large messages, hierarchical for the rest (Jia et al., arXiv:1807.11205)."""

    note = ""
    multiple = 1

    def __init__(self, hierarchical: Hierarchical, threshold: float) -> None:
        self._small, self._large, self._threshold = hierarchical, Backend(), threshold

    def carrier(self, message: float) -> str:
        """Return which of the two carries *message* bytes."""
        return "backend" if message >= self._threshold else "hierarchical"

    def __call__(self, flat: Tensor) -> None:
        """Sum *flat* over all ranks."""
        large = self.carrier(flat.numel() * flat.element_size()) == "backend"
        (self._large if large else self._small)(flat)


def _rows(group_size: int) -> list[list[int]]:
    return [list(range(first, first + group_size)) for first in range(0, ranks(), group_size)]


def _own_group(members: list[list[int]], timeout: float) -> tuple[dist.ProcessGroup | None, int]:
    """Make a process group of each of *members* and return the one that this rank is in, and that one's first rank."""
    own: tuple[dist.ProcessGroup | None, int] = (None, -1)
    for group_ranks in members:
        group = dist.new_group(group_ranks, timeout=timedelta(seconds=timeout))
        if rank() in group_ranks:
            own = group, group_ranks[0]
    return own
