"""Processes on the testbed's hosts: reading their output, waiting, signals and termination."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

__all__ = [
    "GRACE_PERIOD",
    "POLL_INTERVAL",
    "Lines",
    "OnLine",
    "forward",
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


def _signal(processes: Sequence[subprocess.Popen[str]], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
