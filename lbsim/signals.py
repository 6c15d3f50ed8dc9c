"""Signals of this process: turned into exceptions, ignored, or deferred while a few statements run.

Each context does nothing outside the main thread, as Python requires, and restores the handlers before it.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType

__all__ = ["deferring_signals", "end_on_interrupt", "exiting_on_signals", "ignoring_signals"]

_Handler = Callable[[int, FrameType | None], None] | signal.Handlers

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""Signals that ask a process to end."""


def exiting_on_signals() -> AbstractContextManager[None]:
    """Return a context in which SIGTERM and SIGHUP raise SystemExit, so that ``finally`` clauses run.

    The exit code is 128 plus the number of the signal, as in a shell. A signal that the parent process made ignored,
    as nohup does, stays ignored.
    """
    numbers = (number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN)
    return _handling(dict.fromkeys(numbers, _raise_exit))


def ignoring_signals() -> AbstractContextManager[None]:
    """Return a context that ignores SIGTERM, SIGHUP and SIGINT, for clean-up that must finish."""
    return _handling(dict.fromkeys(_ENDING, signal.SIG_IGN))


def end_on_interrupt() -> None:
    """Let SIGINT end the process without a traceback from now on, while Python exits."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def deferring_signals() -> Iterator[None]:
    """Delay SIGTERM, SIGHUP and SIGINT until the end of the context, for statements that belong together."""
    received: list[int] = []
    deferred = dict.fromkeys(_ENDING, lambda number, _: received.append(number))
    try:
        with _handling(deferred):
            yield
    finally:
        for number in received[:1]:
            signal.raise_signal(number)


def _raise_exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of a signal handler
    raise SystemExit(128 + number)


@contextmanager
def _handling(handlers: Mapping[signal.Signals, _Handler]) -> Iterator[None]:
    """Install *handlers*, then restore those before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
