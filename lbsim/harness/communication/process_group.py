"""The processes that train together: who they are, how they meet, how they agree, and how they fail as one.

torchrun tells each process who it is in environment variables; without them a process is alone. Whatever one rank
finds wrong, every rank raises, so that all end in the same way and none waits for another.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed.nn.functional  # before there is a group, which its functions would keep as a default
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from lbsim.errors import InputError

T = TypeVar("T")
RENDEZVOUS_LIMIT = 60.0
"""Seconds; whoever has more patience with a step still wants to hear soon that nobody came."""


class CommunicationError(RuntimeError):
    """Ranks could not exchange something while they trained; one has died, hangs or does something else."""


class RendezvousError(InputError):
    """The ranks did not find each other, or one its device; unlike other input errors, each rank may see its own."""


@dataclass(frozen=True)
class Ranks:
    """A process among *size*, which is this one."""

    rank: int
    size: int
    device: torch.device
    store: Store | None = None
    """What the ranks met at; None for a process alone."""

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    @property
    def backend(self) -> str:
        """The communication library: ``nccl`` between GPUs, ``gloo`` between CPUs, ``none`` alone."""
        return "none" if self.size == 1 else "nccl" if self.device.type == "cuda" else "gloo"

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum *tensor* over the ranks, in place, and return it."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def require_same(self, plan: dict[str, object], instead: str = "start every rank with the same options") -> None:
        """Raise InputError on every rank, which says what to do *instead*, unless all have the same *plan*."""
        plans = gathered(plan)
        for other, theirs in enumerate(plans):
            for field, value in plans[0].items():
                if theirs.get(field) != value:
                    given = f"rank 0 has {value!r}, rank {other} has {theirs.get(field)!r}"
                    raise InputError(f"--{field.replace('_', '-')}: {given}; {instead}")

    def close(self) -> None:
        """Part from the others."""
        if self.size > 1 and distributed.is_initialized():
            gc.collect()  # what still holds the group would leave its threads to run while Python ends
            distributed.destroy_process_group()


def meet(device: str, *, limit: float, patience: float) -> Ranks:
    """Return this process among those that torchrun started, once all have met, on *device*: auto, cpu or cuda.

    RendezvousError if they have not within *limit* seconds. A collective then waits at most *patience* seconds.
    """
    size, chosen = _from_launcher("WORLD_SIZE", 1), _device(device)
    if size == 1:
        return Ranks(0, 1, chosen)
    place = f"{os.environ.get('MASTER_ADDR', '(MASTER_ADDR unset)')}:{os.environ.get('MASTER_PORT', '?')}"
    try:
        store, number, size = next(rendezvous("env://", timeout=timedelta(seconds=limit)))
        distributed.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo",
            store=PrefixStore("training", store),
            rank=number,
            world_size=size,
            timeout=timedelta(seconds=patience),
            device_id=chosen if chosen.type == "cuda" else None,
        )
    except (RuntimeError, ValueError, OSError) as error:
        why = str(error).strip().split("\n", 1)[0].split("Exception raised", 1)[0].strip()
        raise RendezvousError(
            f"rank {os.environ.get('RANK', '?')} of {size}: no rendezvous at {place} within {limit:g} s ({why}); "
            "start every rank, with the same --rdzv-endpoint"
        ) from None
    return Ranks(number, size, chosen, PrefixStore("presence", store.clone()))


@contextmanager
def joined(timeout: float, device: str = "auto") -> Iterator[Ranks]:
    """Meet the other ranks, wait at most *timeout* seconds for any of them, then or later, and leave at the end."""
    place = meet(device, limit=timeout, patience=timeout)
    try:
        yield place
    finally:
        place.close()


def ranks() -> int:
    """Return how many ranks train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return which of them this process is."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def gathered(own: T) -> list[T]:
    """Return every rank's *own*, by rank."""
    if ranks() == 1:
        return [own]
    everyones: list[T | None] = [None] * ranks()
    distributed.all_gather_object(everyones, own)
    return everyones  # type: ignore[return-value]  # each has been filled


def from_first(own: T) -> T:
    """Return rank 0's *own*."""
    if ranks() == 1:
        return own
    things = [own]
    distributed.broadcast_object_list(things, src=0)
    return things[0]


def together(make: Callable[[], T]) -> T:
    """Return what *make* returns; if it refuses its input on any rank, raise that InputError on all of them.

    What one rank alone finds wrong (a file that only its machine lacks) would leave the others waiting.
    """
    made: list[T] = []
    fault = None
    try:
        made.append(make())
    except InputError as error:
        fault = str(error)
    faults = gathered(fault)
    for number, each in enumerate(faults):
        if each is not None:
            raise InputError(each if all(faults) else f"rank {number}: {each}")
    return made[0]


def _device(name: str) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RendezvousError("--device cuda: torch sees no GPU here; use --device cpu")
    local, count = _from_launcher("LOCAL_RANK", 0), torch.cuda.device_count()
    if local >= count:
        raise RendezvousError(f"local rank {local} has no GPU: this machine has {count}; use --nproc-per-node {count}")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _from_launcher(name: str, default: int) -> int:
    given = os.environ.get(name, str(default))
    if not given.isdecimal():
        raise RendezvousError(f"{name}={given} is no count; start with torchrun, which sets it")
    return int(given)
