"""Joining the ranks that torch's launcher started, and failing on all of them together."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from lbsim.errors import InputError

T = TypeVar("T")


class CommunicationError(RuntimeError):
    """Ranks could not exchange something while they trained; one has died, hangs or does something else."""


class RendezvousError(InputError):
    """The ranks did not find each other; unlike other input errors, each rank may see its own."""


@dataclass(frozen=True)
class Place:
    """Which of the ranks this process is, and what it computes on."""

    rank: int
    ranks: int
    device: torch.device

    @property
    def backend(self) -> str:
        """The communication library: ``nccl`` between GPUs, ``gloo`` between CPUs, ``none`` alone."""
        return "none" if self.ranks == 1 else "nccl" if self.device.type == "cuda" else "gloo"


@contextmanager
def joined(timeout: float, *, gpu: bool | None = None) -> Iterator[Place]:
    """Join the ranks that ``torchrun`` started, wait at most *timeout* seconds for any of them, and leave at the end.

    On GPUs if there are any, unless *gpu* says. A process that nobody launched is alone. RendezvousError if the others
    cannot be reached.
    """
    place = _place(torch.cuda.is_available() if gpu is None else gpu)
    if place.ranks > 1:
        _rendezvous(place, timeout)
    try:
        yield place
    finally:
        if place.ranks > 1 and dist.is_initialized():
            gc.collect()  # modules that still hold the group would end its threads while Python ends
            dist.destroy_process_group()


def ranks() -> int:
    """Return how many ranks train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return which of them this process is."""
    return dist.get_rank() if dist.is_initialized() else 0


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


def gathered(own: T) -> list[T]:
    """Return every rank's *own*, by rank."""
    if ranks() == 1:
        return [own]
    everyones: list[T | None] = [None] * ranks()
    dist.all_gather_object(everyones, own)
    return everyones  # type: ignore[return-value]  # each has been filled


def from_first(own: T) -> T:
    """Return rank 0's *own*."""
    if ranks() == 1:
        return own
    things = [own]
    dist.broadcast_object_list(things, src=0)
    return things[0]


def _place(on_gpu: bool) -> Place:  # noqa: FBT001
    try:
        place = {name: int(os.environ.get(name, default)) for name, default in _ALONE.items()}
    except ValueError as error:
        raise RendezvousError(
            f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers, as torchrun sets them: {error}"
        ) from None
    if not on_gpu:
        return Place(place["RANK"], place["WORLD_SIZE"], torch.device("cpu"))
    if place["LOCAL_RANK"] >= torch.cuda.device_count():
        raise RendezvousError(f"LOCAL_RANK {place['LOCAL_RANK']}: this machine has {torch.cuda.device_count()} GPUs")
    device = torch.device("cuda", place["LOCAL_RANK"])
    torch.cuda.set_device(device)
    return Place(place["RANK"], place["WORLD_SIZE"], device)


_ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


def _rendezvous(place: Place, timeout: float) -> None:
    where = f"{os.environ.get('MASTER_ADDR', '(MASTER_ADDR unset)')}:{os.environ.get('MASTER_PORT', '?')}"
    try:
        dist.init_process_group(
            place.backend,
            timeout=timedelta(seconds=timeout),
            device_id=place.device if place.device.type == "cuda" else None,
        )
    except (RuntimeError, ValueError) as error:
        why = str(error).strip().partition("\n")[0]
        raise RendezvousError(
            f"rank {place.rank} of {place.ranks}: the ranks did not meet at {where} within {timeout:g} s ({why}); "
            "start all of them, with the same --rdzv-endpoint"
        ) from None
