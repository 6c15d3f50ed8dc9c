"""Rendezvous of the ranks: the store, and what each rank publishes in it before torch's process group is made.

Each rank writes its WORLD_SIZE and options under a key of its rank and reads those of the others, so that a rank that
is missing or differs is named on all ranks. Inside torch's process group, ranks that differ would wait for each other.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch's stubs do not export it
from torch.distributed.distributed_c10d import PrefixStore, Store

from lbsim.errors import InputError

__all__ = ["Launch", "RendezvousError", "from_launcher", "meet", "store_holder"]

_INTERVAL = 0.05
"""Seconds between two looks at the keys of the other ranks."""
_FAREWELL = 5.0
"""Longest time in seconds that the holder of the store waits for the others to read of a difference."""


class RendezvousError(InputError):
    """The rendezvous failed, or a rank has no device; unlike other input errors, it may differ between ranks."""


@dataclass(frozen=True)
class Launch:
    """Environment variables of a process, which torchrun sets."""

    rank: int
    """Rank of this process (RANK)."""
    size: int
    """Number of ranks (WORLD_SIZE)."""
    host: str
    """Host of the store (MASTER_ADDR)."""
    port: int
    """Port of the store (MASTER_PORT)."""

    @classmethod
    def from_environment(cls) -> "Launch":
        """Return the variables of this process; RendezvousError if one is missing or invalid."""
        host, size = os.environ.get("MASTER_ADDR", ""), from_launcher("WORLD_SIZE", None)
        if not host:
            raise RendezvousError(f"WORLD_SIZE={size} without MASTER_ADDR; start with torchrun, which sets both")
        launch = cls(from_launcher("RANK", None), size, host, from_launcher("MASTER_PORT", None))
        if launch.rank >= size:
            raise RendezvousError(f"RANK={launch.rank} with WORLD_SIZE={size}; write the same WORLD_SIZE on every rank")
        if not 0 < launch.port < 1 << 16:
            raise RendezvousError(f"MASTER_PORT={launch.port}; write a port from 1 to 65535")
        return launch

    @property
    def address(self) -> str:
        """Host and port of the store."""
        return f"{self.host}:{self.port}"

    @property
    def holds_store(self) -> bool:
        """Whether this process holds the store; with torchrun its agent on the first node does."""
        return self.rank == 0 and not _agent_holds_store()


def from_launcher(name: str, default: int | None) -> int:
    """Return the environment variable *name*, an integer, or *default*; RendezvousError if it is none."""
    given = os.environ.get(name)
    if given is None and default is not None:
        return default
    if given is None or not (given.isascii() and given.isdecimal() and len(given) < 10):  # ids stay below 10^9
        shown = f"{name} is not set" if given is None else f"{name}={given[:40]} is not a number"
        raise RendezvousError(f"{shown}; start with torchrun, which sets it")
    return int(given)


def store_holder() -> str:
    """Return who holds the store, and where, for messages."""
    address = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
    holder = "torchrun's agent" if _agent_holds_store() else "rank 0"
    return f"{holder} (host {address}), which holds the store,"


def meet(launch: Launch, options: Mapping[str, object] | None, timeout: float) -> TCPStore:
    """Return the store once all ranks have published the same WORLD_SIZE and *options* in it.

    *options* are values that JSON can hold; None, on a rank whose options are invalid, agrees with any. *timeout* is in
    seconds. Raises RendezvousError, on all ranks, that names the rank that has not joined or that differs.
    """
    deadline = time.monotonic() + timeout
    store = _bounded(lambda: _connect(launch, timeout), launch, timeout)
    return _bounded(lambda: _agree(store, launch, options, deadline, timeout), launch, timeout + _FAREWELL)


def _connect(launch: Launch, timeout: float) -> TCPStore:
    return TCPStore(
        launch.host,
        launch.port,
        is_master=launch.holds_store,
        timeout=timedelta(seconds=timeout),
        wait_for_workers=False,  # would wait for WORLD_SIZE ranks, of which ranks may have another idea
        multi_tenant=True,
    )


def _bounded(call: Callable[[], TCPStore], launch: Launch, timeout: float) -> TCPStore:
    """Return what *call* returns within *timeout* seconds; a call to a store may block without limit."""
    done: list[TCPStore | InputError | RuntimeError | ValueError | OSError] = []

    def run() -> None:
        try:
            done.append(call())
        except (InputError, RuntimeError, ValueError, OSError) as error:
            done.append(error)

    thread = threading.Thread(target=run, name="rendezvous", daemon=True)
    thread.start()
    thread.join(timeout + 1)  # the call's own error, after its timeout, gives the reason
    result = done[0] if done else TimeoutError(f"no answer from {store_holder()} in time")
    if isinstance(result, TCPStore):
        return result
    raise result if isinstance(result, RendezvousError) else _failed(launch, timeout, result) from None


def _failed(launch: Launch, timeout: float, error: Exception) -> RendezvousError:
    reason = str(error).strip().split("\n", 1)[0].split("Exception raised", 1)[0].strip()[:200]
    return RendezvousError(
        f"rank {launch.rank} of {launch.size}: no rendezvous at {launch.address} within {timeout:g} s ({reason}); "
        "start every rank, with the same --rdzv-endpoint (MASTER_ADDR and MASTER_PORT)"
    )


def _agree(
    store: TCPStore, launch: Launch, options: Mapping[str, object] | None, deadline: float, timeout: float
) -> TCPStore:
    keys = PrefixStore("options", store)
    mine = {"WORLD_SIZE": launch.size, "options": None if options is None else dict(options)}
    keys.set(str(launch.rank), json.dumps(mine, default=str))
    published: dict[int, dict[str, object]] = {}
    while len(published) < launch.size:
        published |= {r: json.loads(keys.get(str(r))) for r in _new(keys, "", launch.size, published)}
        difference = _difference(published)
        if difference is not None:
            _part(keys, launch)
            raise RendezvousError(f"rank {launch.rank}: {difference}")
        if time.monotonic() > deadline:
            _part(keys, launch)
            raise RendezvousError(_missing(launch, published, timeout))
        time.sleep(_INTERVAL)
    return store


def _new(keys: Store, prefix: str, size: int, known: Mapping[int, object]) -> list[int]:
    return [rank for rank in range(size) if rank not in known and keys.check([f"{prefix}{rank}"])]


def _missing(launch: Launch, published: Mapping[int, object], timeout: float) -> str:
    missing = [str(rank) for rank in range(launch.size) if rank not in published]
    names = f"rank{'s' if len(missing) > 1 else ''} {', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}"
    return (
        f"rank {launch.rank} of {launch.size}: no rendezvous at {launch.address} within {timeout:g} s ({names} did not "
        "join); start every rank, with the same --rdzv-endpoint (MASTER_ADDR and MASTER_PORT) and WORLD_SIZE"
    )


def _difference(published: Mapping[int, dict[str, object]]) -> str | None:
    """Return the first difference between ranks in a variable or option; None if there is none so far."""
    ranks = sorted(published)
    for rank in ranks[1:]:
        sizes = published[ranks[0]]["WORLD_SIZE"], published[rank]["WORLD_SIZE"]
        if sizes[0] != sizes[1]:
            return _differing("WORLD_SIZE", (ranks[0], sizes[0]), (rank, sizes[1]))
    given = {rank: value for rank in ranks if isinstance(value := published[rank]["options"], dict)}
    for rank in list(given)[1:]:
        reference = next(iter(given))
        for name in given[reference] | given[rank]:
            first, other = given[reference].get(name), given[rank].get(name)
            if first != other:
                return _differing(f"--{name.replace('_', '-')}", (reference, first), (rank, other))
    return None


def _differing(name: str, first: tuple[int, object], other: tuple[int, object]) -> str:
    values = ", ".join(f"rank {rank} has {repr(value)[:100]}" for rank, value in (first, other))
    return f"{name}: {values}; start every rank with the same {'options' if name[0] == '-' else name}"


def _part(keys: Store, launch: Launch) -> None:
    """Note that this rank leaves; the holder of the store waits until the others have left or the farewell is over."""
    keys.set(f"left {launch.rank}", "")
    end = time.monotonic() + _FAREWELL
    while launch.holds_store and time.monotonic() < end and len(_new(keys, "left ", launch.size, {})) < launch.size:
        time.sleep(_INTERVAL)


def _agent_holds_store() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
