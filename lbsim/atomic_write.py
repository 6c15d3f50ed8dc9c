"""Atomic file writes, for every file that lbsim writes.

Content goes to a temporary file in the target's folder, which is flushed to disk and then renamed to the target.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lbsim.errors import InputError
from lbsim.signals import deferring_signals
from lbsim.temporary_file import OPEN_FILES, TemporaryFile, temporary_file, write_all

__all__ = ["cannot_write", "check_writable", "write_all_atomically", "write_atomically"]

_SHOWN = 200
"""Characters of a path that an error message shows."""
_CORRECTIONS = {
    errno.ENOSPC: "free some space there or write elsewhere",
    errno.EDQUOT: "free some space there or write elsewhere",
    errno.EFBIG: "raise the limit (ulimit -f) or write elsewhere",
    errno.EROFS: "choose a folder that you may write to",
    errno.EACCES: "choose a file and a folder that you may write to",
    errno.EPERM: "choose a file and a folder that you may write to",
    errno.ENOTDIR: "choose a path whose folders are not files",
    errno.EISDIR: "choose the name of a file, not of a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def write_atomically(content: str | bytes, file: Path) -> None:
    """Write *content*, text in UTF-8, to *file* so that an interruption leaves either the old file or the new.

    Missing folders are created. An existing file keeps its permissions, and its owner if this user may set it; a
    symbolic link stays a link. A device, pipe or socket is written to directly.

    InputError if the file cannot be written; the old file is then unchanged.
    """
    write_all_atomically({file: content})


def write_all_atomically(contents: Mapping[Path, str | bytes]) -> None:
    """Write each file of *contents*, as `write_atomically` does, after the temporary files of all are complete.

    Files are replaced in the order of *contents*. Signals are deferred until the last is replaced.

    InputError if one cannot be written; the old files are then unchanged.
    """
    with ExitStack() as stack:
        written = [one for file, content in contents.items() for one in _written(stack, file, content)]
        with deferring_signals():
            for temporary in written:
                with _reporting(temporary.file):
                    temporary.replace()
        for folder in {temporary.target.parent for temporary in written}:
            _flush_folder(folder)


def _written(stack: ExitStack, file: Path, content: str | bytes) -> Iterator[TemporaryFile]:
    """Yield a temporary file for *file*, complete and open until *stack* ends; none for a stream, which is written."""
    data = content.encode() if isinstance(content, str) else content
    with _reporting(file):
        if _is_stream(file):
            _write_stream(file, data)
            return
        temporary = stack.enter_context(temporary_file(file))
        temporary.write(data)
    yield temporary


def check_writable(file: Path) -> None:
    """Raise the InputError of `write_atomically` now if *file* cannot be created or replaced, before long work."""
    with _reporting(file):
        if not _is_stream(file):
            with temporary_file(file):
                pass


def cannot_write(what: object, error: OSError) -> InputError:
    """Return the error for *what*, a path or stream, that cannot be written because of *error*.

    >>> import errno, os
    >>> print(cannot_write("a.json", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    cannot write a.json: No space left on device; free some space there or write elsewhere
    """
    shown = str(what)
    if len(shown) > _SHOWN:
        shown = f"{shown[: _SHOWN // 2]}...{shown[-_SHOWN // 2 :]}"
    correction = _CORRECTIONS.get(error.errno or 0, "write elsewhere")
    return InputError(f"cannot write {shown}: {error.strerror or error}; {correction}")


@contextmanager
def _reporting(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(file, error) from None


def _is_stream(file: Path) -> bool:
    """Return whether *file* is a device, pipe, socket or open file (/dev/stdout), which no rename may replace."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return False
    return _own_descriptor(file) is not None or not (stat.S_ISDIR(mode) or stat.S_ISREG(mode))


def _own_descriptor(file: Path) -> int | None:
    """Return the descriptor that /dev/stdout, /dev/fd/1 or the like names; None for another *file*."""
    if file.parent == Path("/dev") and file.is_symlink():
        file = file.readlink()
    is_open_file = file.name.isdecimal() and file.parent.resolve() == OPEN_FILES.resolve()
    return int(file.name) if is_open_file else None


def _write_stream(file: Path, data: bytes) -> None:
    own = _own_descriptor(file)
    descriptor = os.open(file, os.O_WRONLY) if own is None else os.dup(own)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Flush the entries of *folder* to disk, which makes a rename durable, where the filesystem can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
