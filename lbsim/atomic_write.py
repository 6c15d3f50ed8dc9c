"""Files that are written whole or not at all, whatever interrupts."""

import os
import tempfile
from pathlib import Path

from lbsim.errors import InputError


def write_atomically(text: str, file: Path) -> None:
    """Write *text* to *file*; what stood there before stays until all of it is on the disk."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
