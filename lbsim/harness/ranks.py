"""The processes that train together: who they are, how they meet, and how they agree.

torchrun tells each process who it is in environment variables; without them a process is alone. Whatever one rank
finds wrong, every rank raises, so that all end in the same way and none waits for another.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from lbsim.errors import InputError

Answer = TypeVar("Answer")
_RENDEZVOUS_LIMIT = 60.0


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

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum *tensor* over the ranks, in place, and return it."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, thing: Answer) -> list[Answer]:
        """Return every rank's *thing*."""
        if self.size == 1:
            return [thing]
        things: list[Answer | None] = [None] * self.size
        distributed.all_gather_object(things, thing)
        return things  # type: ignore[return-value]

    def from_first(self, thing: Answer | None) -> Answer | None:
        """Return rank 0's *thing*."""
        if self.size == 1:
            return thing
        things = [thing]
        distributed.broadcast_object_list(things, src=0)
        return things[0]

    def together(self, action: Callable[[], Answer]) -> Answer:
        """Return what *action* does here; if it fails with InputError on any rank, raise that on every rank."""
        answer, fault = None, None
        try:
            answer = action()
        except InputError as error:
            fault = str(error)
        faults = self.gather(fault)
        failed = [rank for rank, text in enumerate(faults) if text is not None]
        if failed:
            who = "" if len(failed) == self.size else f"rank {failed[0]}: "
            raise InputError(f"{who}{faults[failed[0]]}")
        return answer  # type: ignore[return-value]

    def require_same(self, plan: dict[str, object]) -> None:
        """Raise InputError on every rank unless all have the same *plan*."""
        plans = self.gather(plan)
        for rank, other in enumerate(plans):
            for field, value in plans[0].items():
                if other.get(field) != value:
                    given = f"rank 0 has {value!r}, rank {rank} has {other.get(field)!r}"
                    raise InputError(f"--{field.replace('_', '-')}: {given}; start every rank with the same options")

    def close(self) -> None:
        """Part from the others."""
        if self.size > 1:
            distributed.destroy_process_group()


def meet(device: str, patience: float) -> Ranks:
    """Return this process among those that torchrun started, once all have met."""
    size = _from_launcher("WORLD_SIZE", 1)
    chosen = _device(device)
    if size == 1:
        return Ranks(0, 1, chosen)
    place = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
    limit = timedelta(seconds=min(patience, _RENDEZVOUS_LIMIT))
    try:
        store, rank, size = next(rendezvous("env://", timeout=limit))
        distributed.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo",
            store=PrefixStore("training", store),
            rank=rank,
            world_size=size,
            # longer than our own patience, whose line names the rank
            timeout=timedelta(seconds=10 * patience),
            device_id=chosen if chosen.type == "cuda" else None,
        )
    except (RuntimeError, ValueError, OSError) as error:
        text = str(error).split("\n", 1)[0].split("Exception raised", 1)[0].strip()
        waited = f"within {limit.total_seconds():g} s"
        raise InputError(f"no rendezvous of {size} ranks at {place} {waited} ({text}); is rank 0 there?") from None
    return Ranks(rank, size, chosen, PrefixStore("presence", store.clone()))


def _device(name: str) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU here; use --device cpu")
    local, count = _from_launcher("LOCAL_RANK", 0), torch.cuda.device_count()
    if local >= count:
        raise InputError(f"local rank {local} has no GPU: this machine has {count}; use --nproc-per-node {count}")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _from_launcher(name: str, default: int) -> int:
    given = os.environ.get(name, str(default))
    if not given.isdecimal():
        raise InputError(f"{name}={given} is no count; start with torchrun, which sets it")
    return int(given)
