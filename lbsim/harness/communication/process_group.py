"""Process group of a training: rendezvous, collectives on Python objects, and errors that all ranks raise together.

torchrun sets each process's rank in environment variables; without them there is one process. What is wrong on one rank
is raised on every rank, so that all end the same way and none waits for another.
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

__all__ = [
    "RENDEZVOUS_TIMEOUT",
    "CommunicationError",
    "ProcessGroup",
    "RendezvousError",
    "all_gather",
    "broadcast",
    "join",
    "on_all_ranks",
    "process_group",
    "rank",
    "world_size",
]

T = TypeVar("T")
RENDEZVOUS_TIMEOUT = 60.0
"""Longest wait for the rendezvous in seconds, also where a longer time is allowed for a step."""


class CommunicationError(RuntimeError):
    """A collective failed during training: a rank has died, hangs, or runs another collective."""


class RendezvousError(InputError):
    """The rendezvous failed, or a rank has no device; unlike other input errors, it may differ between ranks."""


@dataclass(frozen=True)
class ProcessGroup:
    """The ranks that train together, as this process sees them."""

    rank: int
    """Rank of this process, from 0."""
    size: int
    """Number of ranks."""
    device: torch.device
    """Device of this rank."""
    store: Store | None = None
    """Key-value store of the rendezvous; None in a group of one."""

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    @property
    def backend(self) -> str:
        """The communication library: ``nccl`` between GPUs, ``gloo`` between CPUs, ``none`` in a group of one."""
        return "none" if self.size == 1 else "nccl" if self.device.type == "cuda" else "gloo"

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum *tensor* over the ranks, in place, and return it."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def require_same(self, options: dict[str, object], remedy: str = "start every rank with the same options") -> None:
        """Raise InputError on every rank unless all ranks have the same *options*; the message ends with *remedy*."""
        of_ranks = all_gather(options)
        for other, theirs in enumerate(of_ranks):
            for field, value in of_ranks[0].items():
                if theirs.get(field) != value:
                    given = f"rank 0 has {value!r}, rank {other} has {theirs.get(field)!r}"
                    raise InputError(f"--{field.replace('_', '-')}: {given}; {remedy}")

    def close(self) -> None:
        """Destroy torch's process group."""
        if self.size > 1 and distributed.is_initialized():
            gc.collect()  # a reference to the group would keep its threads running while Python ends
            distributed.destroy_process_group()


def join(device: str, *, rendezvous_timeout: float, timeout: float) -> ProcessGroup:
    """Return the process group that torchrun's environment variables describe, once all ranks have joined.

    *device* is auto, cpu or cuda. A collective waits at most *timeout* seconds.

    Raises RendezvousError if a rank has not joined within *rendezvous_timeout* seconds, or has no such device.
    """
    size, chosen = _from_launcher("WORLD_SIZE", 1), _device(device)
    if size == 1:
        return ProcessGroup(0, 1, chosen)
    address = f"{os.environ.get('MASTER_ADDR', '(MASTER_ADDR unset)')}:{os.environ.get('MASTER_PORT', '?')}"
    try:
        store, number, size = next(rendezvous("env://", timeout=timedelta(seconds=rendezvous_timeout)))
        distributed.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo",
            store=PrefixStore("training", store),
            rank=number,
            world_size=size,
            timeout=timedelta(seconds=timeout),
            device_id=chosen if chosen.type == "cuda" else None,
        )
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0].split("Exception raised", 1)[0].strip()
        raise RendezvousError(
            f"rank {os.environ.get('RANK', '?')} of {size}: no rendezvous at {address} within {rendezvous_timeout:g} s "
            f"({reason}); start every rank, with the same --rdzv-endpoint"
        ) from None
    return ProcessGroup(number, size, chosen, PrefixStore("presence", store.clone()))


@contextmanager
def process_group(timeout: float, device: str = "auto") -> Iterator[ProcessGroup]:
    """Join the process group for the length of the context; rendezvous and collectives wait *timeout* seconds each."""
    group = join(device, rendezvous_timeout=timeout, timeout=timeout)
    try:
        yield group
    finally:
        group.close()


def world_size() -> int:
    """Return the number of ranks; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process; 0 without a process group."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def all_gather(value: T) -> list[T]:
    """Return the *value* of each rank, in the order of the ranks."""
    if world_size() == 1:
        return [value]
    values: list[T | None] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # torch has filled every element


def broadcast(value: T) -> T:
    """Return rank 0's *value* on every rank."""
    if world_size() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def on_all_ranks(action: Callable[[], T]) -> T:
    """Return what *action* returns; an InputError that it raises on any rank is raised on all ranks.

    Otherwise an error of a single rank, such as a file that its machine lacks, would leave the other ranks waiting.
    """
    results: list[T] = []
    fault = None
    try:
        results.append(action())
    except InputError as error:
        fault = str(error)
    faults = all_gather(fault)
    for number, each in enumerate(faults):
        if each is not None:
            raise InputError(each if all(faults) else f"rank {number}: {each}")
    return results[0]


def _device(name: str) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RendezvousError("--device cuda: torch finds no GPU on this machine; use --device cpu")
    local_rank, count = _from_launcher("LOCAL_RANK", 0), torch.cuda.device_count()
    if local_rank >= count:
        raise RendezvousError(
            f"local rank {local_rank} has no GPU: this machine has {count}; use --nproc-per-node {count}"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _from_launcher(name: str, default: int) -> int:
    given = os.environ.get(name, str(default))
    if not given.isdecimal():
        raise RendezvousError(f"{name}={given} is not a number; start with torchrun, which sets it")
    return int(given)
