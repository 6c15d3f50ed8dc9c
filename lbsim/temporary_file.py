"""Temporary file of an atomic write, in the folder of the file that it replaces.

On Linux it has no name until it is complete (``O_TMPFILE``), so that a process that is killed leaves nothing. On
filesystems without such files it has a hidden name and is locked; the next write of the same file removes those that
no process locks.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2s
from pathlib import Path

from lbsim.signals import deferring_signals

__all__ = ["OPEN_FILES", "TemporaryFile", "create_folders", "remove_empty_folders", "temporary_file", "write_all"]

OPEN_FILES = Path("/proc/self/fd")
"""Links to the open files of this process, by which an unnamed file is given a name."""
_NEW_FILE = 0o666
"""Permissions of a new file, from which the kernel subtracts the umask."""
_NO_UNNAMED_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
"""Errors of ``O_TMPFILE`` on a filesystem or kernel without it."""


class TemporaryFile:
    """Open temporary file that can replace *file*, whose path without symbolic links is *target*."""

    def __init__(self, file: Path, target: Path) -> None:
        self.file, self.target = file, target
        self.path = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
        """Hidden name, unpredictable, of the temporary file when it has one."""
        self.replaced = False
        self._descriptor, self._named = -1, False
        self._data = b""
        self._old: os.stat_result | None = None

    def open(self) -> None:
        """Create the file, with the permissions and the owner of the target."""
        self._old = _old_file(self.target)
        if not self._create_unnamed():
            self._create_named()

    def write(self, data: bytes) -> None:
        """Write all of *data* and flush it to disk."""
        self._data = data
        write_all(self._descriptor, data)
        os.fsync(self._descriptor)

    def replace(self) -> None:
        """Rename to the target."""
        if not self._named:
            self._give_name()
        self.path.replace(self.target)
        self.replaced = True

    def close(self) -> None:
        """Close the file, and remove it unless it has replaced the target."""
        if not self.replaced:
            self.path.unlink(missing_ok=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _create_unnamed(self) -> bool:
        """Create a file without a name; return whether the system can."""
        if not hasattr(os, "O_TMPFILE") or not OPEN_FILES.is_dir():
            return False
        try:
            self._descriptor = os.open(self.target.parent, os.O_TMPFILE | os.O_RDWR, self._mode())
        except OSError as error:
            if error.errno in _NO_UNNAMED_FILES:
                return False
            raise
        self._secure()
        return True

    def _create_named(self) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW
        self._descriptor, self._named = os.open(self.path, flags, self._mode()), True
        self._secure()
        if os.fstat(self._descriptor).st_nlink == 0:  # removed, as stale, before it was locked
            os.close(self._descriptor)
            self._create_named()

    def _give_name(self) -> None:
        """Link the hidden name to the file; without that operation, as on some containers, write a named file."""
        source = OPEN_FILES / str(self._descriptor)
        try:
            os.link(source, self.path, src_dir_fd=self._descriptor, follow_symlinks=True)  # linkat, which follows
        except OSError:
            os.close(self._descriptor)
            self._create_named()
            self.write(self._data)

    def _mode(self) -> int:
        return _NEW_FILE if self._old is None else stat.S_IMODE(self._old.st_mode) & _NEW_FILE

    def _secure(self) -> None:
        """Lock the file, and give it the owner and all permissions of the target."""
        with suppress(OSError):  # a filesystem without locks: no other process removes the file
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        if self._old is not None:
            with suppress(PermissionError):
                os.fchown(self._descriptor, self._old.st_uid, self._old.st_gid)
            with suppress(PermissionError):
                os.fchmod(self._descriptor, stat.S_IMODE(self._old.st_mode))


@contextmanager
def temporary_file(file: Path) -> Iterator[TemporaryFile]:
    """Yield a temporary file for *file*, whose folder is created; if it does not replace it, nothing is left."""
    target = Path(os.path.realpath(file))
    temporary, created = TemporaryFile(file, target), list[Path]()
    try:
        created += create_folders(target.parent)
        _remove_stale(target)
        temporary.open()
        yield temporary
    finally:
        with deferring_signals():
            temporary.close()
            if not temporary.replaced:
                remove_empty_folders(created)


def create_folders(folder: Path) -> list[Path]:
    """Create *folder* and its parents where they are missing, and return those, the deepest first.

    OSError if one cannot be created; none is left then.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
    except BaseException:
        remove_empty_folders(missing)
        raise
    return missing


def remove_empty_folders(folders: Iterable[Path]) -> None:
    """Remove each of *folders*, in their order, that is there and empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of *data* to the open file *descriptor*; OSError if that fails."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _old_file(target: Path) -> os.stat_result | None:
    """Return the status of the file at *target*, None if there is none; OSError if it may not be written to."""
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_NONBLOCK))
    except FileNotFoundError:
        return None
    return target.stat()


def _prefix(target: Path) -> str:
    """Return the beginning of the names of temporary files of *target*; as short for a long name."""
    return f".lbsim-{blake2s(os.fsencode(target.name), digest_size=8).hexdigest()}-"


def _remove_stale(target: Path) -> None:
    """Remove temporary files of *target* that no process locks: their processes were killed."""
    prefix = _prefix(target)
    with os.scandir(target.parent) as entries:
        stale = [entry.path for entry in entries if entry.name.startswith(prefix)]
    for path in stale:
        with suppress(OSError):  # in use, or another user's
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(path).unlink()
            finally:
                os.close(descriptor)
