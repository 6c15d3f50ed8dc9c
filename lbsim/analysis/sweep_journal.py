"""Journal of a sweep: a file to which one process at a time appends rows that are on disk at once."""

import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lbsim.errors import InputError
from lbsim.temporary_file import create_folders, remove_empty_folders, write_all

__all__ = ["SweepJournal"]


class SweepJournal:
    """Appendable *file*, locked while it is open; *on_wait* is called before waiting for another process's lock.

    Methods raise OSError if the file cannot be read or written.
    """

    def __init__(self, file: Path, on_wait: Callable[[], None]) -> None:
        self.file, self._on_wait = file, on_wait
        self._descriptor, self._locked = -1, False
        self._created: list[Path] = []

    @property
    def is_open(self) -> bool:
        """Whether rows can be appended."""
        return self._descriptor >= 0

    def open(self) -> bool:
        """Open and lock the file, which is created, with its folder; False if another process replaced it meanwhile.

        InputError if it is a device or a pipe, which cannot be read back.
        """
        self._created += create_folders(self.file.parent)
        self._descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            self._descriptor = -1
            raise InputError(f"cannot write {self.file}: not a regular file, which a sweep needs to resume")
        self._lock()
        if self._is_current():
            return True
        self.close()
        return False

    def read(self) -> bytes:
        """Return the content."""
        return self.file.read_bytes()

    def truncate(self, size: int) -> None:
        """Drop what follows the first *size* bytes."""
        os.ftruncate(self._descriptor, size)

    def append(self, data: bytes) -> None:
        """Append *data*, which is on disk when this returns; after an error the file is as before."""
        size = os.fstat(self._descriptor).st_size
        try:
            write_all(self._descriptor, data)
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                self.truncate(size)
            raise

    def close(self) -> None:
        """Unlock and close the file; remove it if it is empty, and the folders that were created for it."""
        if not self.is_open:
            return
        if self._locked and os.fstat(self._descriptor).st_size == 0 and self._is_current():
            self.file.unlink()
            remove_empty_folders(self._created)
        os.close(self._descriptor)
        self._descriptor, self._locked = -1, False

    def _lock(self) -> None:
        """Wait until no other process has the file open; a filesystem without locks is used without."""
        with suppress(OSError):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._on_wait()
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._locked = True

    def _is_current(self) -> bool:
        """Return whether the path still names the open file."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.file.stat())
        except FileNotFoundError:
            return False
