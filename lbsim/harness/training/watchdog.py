"""Watchdog: when a rank dies or hangs, the other ranks stop and name it.

Each rank has a thread that writes a counter and its progress (step and phase) into the rendezvous store. A rank that
has made no progress for its patience compares the entries of all ranks. A rank whose counter stands still has died or
was stopped; otherwise the rank with the least progress hangs, because the others wait for it. The first verdict is kept
in the store, so that all ranks report the same.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import TracebackType
from typing import Self

from torch.distributed.distributed_c10d import Store

from lbsim.harness.communication.process_group import ProcessGroup

__all__ = ["STOPPED", "StepPhase", "Watchdog"]

STOPPED = 1
"""Exit code of a rank that stops because of another."""


class StepPhase(IntEnum):
    """Phases of a step, in their order."""

    READING = 0
    COMPUTING = 1
    COMMUNICATING = 2
    UPDATING = 3


class Watchdog:
    """Watches the ranks of *group* inside its context.

    *patience* is the longest time in seconds without progress; *report* receives the message before the process ends.
    """

    def __init__(self, group: ProcessGroup, patience: float, report: Callable[[str], None]) -> None:
        self._group, self._patience, self._report = group, patience, report
        self._interval = min(1.0, patience / 8)
        self._done = threading.Event()
        self._judging = threading.Lock()
        self._progress = (0, 0)
        self._activity = "starting"
        self._last_progress = time.monotonic()
        self._beats = 0
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self._group.store is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()

    def progress(self, step: int, phase: StepPhase, activity: str) -> None:
        """Note that this rank has reached *phase* of *step*; *activity* is the word for it in messages."""
        self._progress, self._activity, self._last_progress = (step, int(phase)), activity, time.monotonic()

    @contextmanager
    def communicating(self) -> Iterator[None]:
        """End the process with a message that names the rank at fault if communication in this context fails."""
        try:
            yield
        except RuntimeError as error:
            if self._group.store is not None:
                self._judge(f"communication failed: {str(error).splitlines()[0]}")
            raise

    def _watch(self) -> None:
        while not self._done.wait(self._interval):
            try:
                self._beat()
            except RuntimeError:
                if not self._done.wait(2 * self._interval):  # at the end of a run rank 0 may leave first
                    self._leave("the rendezvous store is gone, and rank 0 with it")
            if time.monotonic() - self._last_progress > self._patience:
                self._judge("no rank has made progress")

    def _beat(self) -> None:
        """Write this rank's counter and progress into the store."""
        self._beats += 1
        self._store.set(f"rank {self._group.rank}", json.dumps([self._beats, *self._progress, self._activity]))

    def _judge(self, otherwise: str) -> None:
        """Find the rank at fault and leave; *otherwise* is reported if no rank is."""
        with self._judging:
            try:
                verdict = self._verdict() or otherwise
                # a later rank takes over the first one's verdict
                verdict = self._store.compare_set("verdict", "", verdict).decode() or verdict
            except RuntimeError:
                verdict = "the rendezvous store is gone, and rank 0 with it"
            self._leave(verdict)

    def _verdict(self) -> str | None:
        before = self._entries()
        for _ in range(3):
            time.sleep(self._interval)
            self._beat()
        after = self._entries()
        silent = [rank for rank, entry in after.items() if entry == before.get(rank) and rank != self._group.rank]
        if silent:
            return f"no sign of life from {_names(silent)}, last {_position(after[silent[0]])}"
        least = min((entry[1], entry[2]) for entry in after.values())
        behind = [rank for rank, entry in after.items() if (entry[1], entry[2]) == least]
        if len(behind) == self._group.size:
            return None
        return f"{_names(behind)} hung: no progress for {self._patience:g} s, last {_position(after[behind[0]])}"

    def _entries(self) -> dict[int, list[object]]:
        keys = {rank: f"rank {rank}" for rank in range(self._group.size)}
        return {
            rank: json.loads(self._store.get(key)) if self._store.check([key]) else [0, 0, 0, "starting"]
            for rank, key in keys.items()
        }

    @property
    def _store(self) -> Store:
        if self._group.store is None:
            raise RuntimeError("a group of one rank has no store")
        return self._group.store

    def _leave(self, verdict: str) -> None:
        self._report(f"rank {self._group.rank} stops: {verdict}")
        # the rank that holds the store lets the others read the verdict first
        time.sleep(4 * self._interval if self._group.first else 0)
        os._exit(STOPPED)


def _names(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"


def _position(entry: list[object]) -> str:
    return f"in step {entry[1]}, {entry[3]}"
