"""Lock of an output folder: two runs must not write into the same one.

The lock is ``flock(2)`` on a file that names host and process. The kernel releases it when the process ends, however it
ends, so a file that a killed run left behind does not block the next one.
"""

import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Self

from lbsim.errors import InputError

__all__ = ["OutputLock"]

_NAME = "run.lock"


class OutputLock:
    """Holds the lock of *folder* from its construction until `release`; InputError if another run holds it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / _NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = self._acquired()
        except BlockingIOError:
            raise InputError(
                f"--output {folder}: another run writes into it ({_owner(self._file)}); wait for it, stop it, or give "
                "another --output"
            ) from None
        except OSError as error:
            raise InputError(f"--output {folder}: {error.strerror or error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Remove the file and release the lock."""
        if self._descriptor >= 0:
            self._file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def _acquired(self) -> int:
        """Return the descriptor of the locked file."""
        while True:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_current(descriptor, self._file):
                    owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, owner.encode())
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # the previous holder has removed the file that was opened


def _is_current(descriptor: int, file: Path) -> bool:
    """Return whether *file* is still the file that *descriptor* has opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _owner(file: Path) -> str:
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its owner is not known"
