"""Processes of the testbed's hosts: output, signals, clean exit."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType

_PATIENCE = 5.0
"""Seconds from asking a process to end until it is killed."""


_POLL = 0.05


_Handler = Callable[[int, FrameType | None], None] | signal.Handlers


Say = Callable[[str, str], None]
"""Gets each line that a process says, after the name of where it runs, such as ``host 3``."""


def _read(process: subprocess.Popen[str], where: str, lines: "SimpleQueue[tuple[str, str]]") -> None:
    if process.stdout is not None:
        with process.stdout as said:
            for line in said:
                lines.put((where, line.rstrip("\n")))


def _watch(processes: Sequence[subprocess.Popen[str]], lines: "SimpleQueue[tuple[str, str]]", say: Say) -> int:
    """Pass on what *processes* say until all have ended well or one has not."""
    while True:
        codes = [process.poll() for process in processes]
        failed = [code for code in codes if code]
        if failed:
            return 128 - failed[0] if failed[0] < 0 else failed[0]
        if None not in codes:
            return 0
        _pass_on(lines, say)


def _pass_on(lines: "SimpleQueue[tuple[str, str]]", say: Say) -> None:
    """Say what has come, until nothing has for a moment."""
    with suppress(Empty):
        while True:
            say(*lines.get(timeout=_POLL))


def _end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Ask all to end, with what they started, and kill those that have not after a while."""
    _signal([process for process in processes if process.poll() is None], signal.SIGTERM)
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and any(process.poll() is None for process in processes):
        time.sleep(_POLL)
    _signal(processes, signal.SIGKILL)
    for process in processes:
        process.wait()


def _signal(processes: Sequence[subprocess.Popen[str]], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _raise_exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise SystemExit(128 + number)


@contextmanager
def _handling(handlers: Mapping[signal.Signals, _Handler]) -> Iterator[None]:
    """Handle signals so; threads cannot, and leave it to the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ending_on_signals() -> AbstractContextManager[None]:
    return _handling({signal.SIGTERM: _raise_exit, signal.SIGHUP: _raise_exit})


def _undisturbed() -> AbstractContextManager[None]:
    """Let no signal stop the cleaning up."""
    ignored = signal.SIG_IGN
    return _handling({signal.SIGTERM: ignored, signal.SIGHUP: ignored, signal.SIGINT: ignored})
