"""Processes on the testbed's hosts: reading their output, waiting, signals and termination."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType

__all__ = [
    "GRACE_PERIOD",
    "POLL_INTERVAL",
    "Lines",
    "OnLine",
    "exiting_on_signals",
    "forward",
    "ignoring_signals",
    "queue_output",
    "terminate",
    "watch",
]

GRACE_PERIOD = 5.0
"""Seconds between SIGTERM and SIGKILL when a process is terminated."""
POLL_INTERVAL = 0.05
"""Seconds between two checks of the processes."""

Lines = SimpleQueue[tuple[str, str]]
"""Queue of output lines, each with the label of its process, such as ``host 3``."""
OnLine = Callable[[str, str], None]
"""Callback that receives the label of a process and one line of its output."""

_Handler = Callable[[int, FrameType | None], None] | signal.Handlers


def queue_output(process: subprocess.Popen[str], label: str, lines: Lines) -> None:
    """Put each line that *process* prints into *lines*, with its *label*, until it closes its output."""
    if process.stdout is not None:
        with process.stdout as output:
            for line in output:
                lines.put((label, line.rstrip("\n")))


def watch(processes: Sequence[subprocess.Popen[str]], lines: Lines, on_line: OnLine) -> int:
    """Forward output until a process fails or all have ended; return the exit code, 128 + number for a signal."""
    while True:
        codes = [process.poll() for process in processes]
        failed = [code for code in codes if code]
        if failed:
            return 128 - failed[0] if failed[0] < 0 else failed[0]
        if None not in codes:
            return 0
        forward(lines, on_line)


def forward(lines: Lines, on_line: OnLine) -> None:
    """Call *on_line* for each line in the queue, until none has come for `POLL_INTERVAL`."""
    with suppress(Empty):
        while True:
            on_line(*lines.get(timeout=POLL_INTERVAL))


def terminate(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End all process groups: SIGTERM, then SIGKILL after at most `GRACE_PERIOD` seconds."""
    _signal([process for process in processes if process.poll() is None], signal.SIGTERM)
    deadline = time.monotonic() + GRACE_PERIOD
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(POLL_INTERVAL)
    _signal(processes, signal.SIGKILL)
    for process in processes:
        process.wait()


def exiting_on_signals() -> AbstractContextManager[None]:
    """Return a context in which SIGTERM and SIGHUP raise SystemExit, so that ``finally`` clauses run."""
    return _handling({signal.SIGTERM: _raise_exit, signal.SIGHUP: _raise_exit})


def ignoring_signals() -> AbstractContextManager[None]:
    """Return a context that ignores SIGTERM, SIGHUP and SIGINT, for clean-up that must finish."""
    ignored = signal.SIG_IGN
    return _handling({signal.SIGTERM: ignored, signal.SIGHUP: ignored, signal.SIGINT: ignored})


def _signal(processes: Sequence[subprocess.Popen[str]], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _raise_exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of a signal handler
    raise SystemExit(128 + number)


@contextmanager
def _handling(handlers: Mapping[signal.Signals, _Handler]) -> Iterator[None]:
    """Install *handlers*, then restore those before; does nothing outside the main thread, as Python requires."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
