"""Who is still there: a rank that dies or hangs makes the others stop, with a line that names it.

Each rank tells the store, from a thread of its own, how often it has told and how far its training has come. Only a
rank that has not moved for its patience looks at the others. Whoever no longer tells has died, or was stopped; else
whoever has come least far is the one that hangs, for the rest wait for it. The first to find out writes it into the
store, so that all say the same.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from torch.distributed.distributed_c10d import Store

from lbsim.harness.communication.process_group import Ranks

STOPPED = 1
"""The exit code of a rank that stops because of another."""


class Presence:
    """Watches over the ranks from `__enter__` to `__exit__`; call `moved` wherever the training moves."""

    def __init__(self, ranks: Ranks, patience: float, tell: Callable[[str], None]) -> None:
        self._ranks, self._patience, self._tell = ranks, patience, tell
        self._interval = min(1.0, patience / 8)
        self._done = threading.Event()
        self._judging = threading.Lock()
        self._progress = (0, 0)
        self._doing = "starting"
        self._last_move = time.monotonic()
        self._told = 0
        self._thread = threading.Thread(target=self._watch, name="presence", daemon=True)

    def __enter__(self) -> Self:
        if self._ranks.store is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()

    def moved(self, step: int, phase: int, doing: str) -> None:
        """Say that this rank has come to *phase* of *step*; later phases have larger numbers."""
        self._progress, self._doing, self._last_move = (step, phase), doing, time.monotonic()

    def stop(self, reason: str) -> None:
        """End this process because communication failed; *reason* is said if no rank is to blame."""
        if self._ranks.store is not None:
            self._judge(reason)

    def _watch(self) -> None:
        while not self._done.wait(self._interval):
            try:
                self._tell_others()
            except RuntimeError:
                if not self._done.wait(2 * self._interval):  # at the end, rank 0 may be the first to go
                    self._leave("the rendezvous is gone, and rank 0 with it")
            if time.monotonic() - self._last_move > self._patience:
                self._judge("no rank has moved")

    def _tell_others(self) -> None:
        self._told += 1
        news = json.dumps([self._told, *self._progress, self._doing])
        self._store.set(f"rank {self._ranks.rank}", news)

    def _judge(self, otherwise: str) -> None:
        """Find the rank to blame, and leave."""
        with self._judging:
            try:
                verdict = self._verdict() or otherwise
                # whoever comes later takes over the first one's words
                verdict = self._store.compare_set("verdict", "", verdict).decode() or verdict
            except RuntimeError:
                verdict = "the rendezvous is gone, and rank 0 with it"
            self._leave(verdict)

    def _verdict(self) -> str | None:
        before = self._news()
        for _ in range(3):
            time.sleep(self._interval)
            self._tell_others()
        after = self._news()
        silent = [rank for rank, news in after.items() if news == before.get(rank) and rank != self._ranks.rank]
        if silent:
            return f"no sign of life from {_names(silent)}, last {_place(after[silent[0]])}"
        least = min((news[1], news[2]) for news in after.values())
        behind = [rank for rank, news in after.items() if (news[1], news[2]) == least]
        if len(behind) == self._ranks.size:
            return None
        return f"{_names(behind)} hung: no move for {self._patience:g} s, last {_place(after[behind[0]])}"

    def _news(self) -> dict[int, list[object]]:
        keys = {rank: f"rank {rank}" for rank in range(self._ranks.size)}
        return {
            rank: json.loads(self._store.get(key)) if self._store.check([key]) else [0, 0, 0, "starting"]
            for rank, key in keys.items()
        }

    @property
    def _store(self) -> Store:
        if self._ranks.store is None:
            raise RuntimeError("a process alone has no store")
        return self._ranks.store

    def _leave(self, verdict: str) -> None:
        self._tell(f"rank {self._ranks.rank} stops: {verdict}")
        # whoever holds the store lets the others read the verdict first
        time.sleep(4 * self._interval if self._ranks.first else 0)
        os._exit(STOPPED)


def _names(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"


def _place(news: list[object]) -> str:
    return f"in step {news[1]}, {news[3]}"
