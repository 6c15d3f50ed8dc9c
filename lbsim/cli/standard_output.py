"""Standard output of the process: a write that fails is reported in one line.

Everything that is printed passes here, whether a table, JSON, or typer's help.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from lbsim.errors import InputError

__all__ = ["checked_output", "discard"]


class _OutputError(Exception):
    """A write to standard output failed; not an OSError, which typer would handle."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _CheckedFile(io.FileIO):
    """Open file whose failed writes raise `_OutputError`."""

    def write(self, data: Any, /) -> int:
        """Write *data*, a bytes-like object, and return how many bytes were written."""
        try:
            return super().write(data)
        except OSError as error:
            raise _OutputError(error) from None


@contextmanager
def checked_output() -> Iterator[None]:
    """Replace sys.stdout, if it is the process's own, until the end of the context, by which all is written.

    Characters that its encoding lacks are printed as escapes.

    InputError if standard output cannot be written to, and BrokenPipeError if its reader has closed it.
    """
    stream = sys.stdout
    if sys.__stdout__ is None or stream is not sys.__stdout__:  # closed, or captured by who called main
        yield
        return
    stream.flush()
    sys.stdout = checked = _checked(stream)
    try:
        try:
            yield
        finally:
            checked.flush()
    except _OutputError as error:
        discard(checked)
        raise _reported(error.reason) from None
    finally:
        sys.stdout = stream


def discard(stream: TextIO) -> None:
    """Send what *stream* still holds, and all that follows, to /dev/null, so that no later flush fails."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
    with suppress(OSError, ValueError):
        stream.flush()


def _checked(stream: TextIO) -> TextIO:
    buffered = io.BufferedWriter(_CheckedFile(stream.fileno(), "wb", closefd=False))
    return io.TextIOWrapper(buffered, stream.encoding, "backslashreplace", line_buffering=stream.isatty())


def _reported(reason: OSError) -> Exception:
    if isinstance(reason, BrokenPipeError):
        return reason
    from lbsim.atomic_write import cannot_write  # noqa: PLC0415 - late, for start-up time

    error: InputError = cannot_write("standard output", reason)
    return error
