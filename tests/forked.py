"""Command lines in a forked copy of this process, which has imported everything: quick to start, and to be killed."""

import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

from lbsim.cli.app import main

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Ended:
    """Exit code (negative: the signal that ended it), standard output and standard error of a command."""

    code: int
    output: str
    error: str


def ended(arguments, folder, *, output=None, stop=None, after=0.0):
    """Run ``lbsim`` with *arguments* in *folder*; *output* is a descriptor, *stop* a signal *after* some seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until the child is more than a copy of pytest
        child = _forked()
        if child == 0:
            _run(arguments, folder, out.fileno() if output is None else output, error.fileno())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if stop is not None:
            time.sleep(after)
            os.kill(child, stop)
        _, status = os.waitpid(child, 0)
        texts = []
        for stream in (out, error):
            stream.seek(0)
            texts.append(stream.read().decode())
        return Ended(os.waitstatus_to_exitcode(status), *texts)


@contextmanager
def closed_pipe():
    """Yield the descriptor of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@contextmanager
def full_device():
    """Yield the descriptor of a device that is always full."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _forked():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of numpy and pyarrow, which survive a fork
        return os.fork()


def _run(arguments, folder, output, error):
    """Be the process of the command, and end it."""
    code: str | int | None = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(folder)
        os.dup2(output, 1)
        os.dup2(error, 2)
        sys.stdout = sys.__stdout__ = _text(1)  # type: ignore[misc]  # as in a new process
        sys.stderr = sys.__stderr__ = _text(2)  # type: ignore[misc]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main([*map(str, arguments)])
    except SystemExit as stopped:
        code = stopped.code
    except BaseException:  # this process must not go on as pytest
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(int(code or 0))


def _text(descriptor):
    return open(descriptor, "w", encoding="utf-8", closefd=False)  # a descriptor has no path
