"""Atomic file writes."""

import os
import tempfile
from pathlib import Path

from lbsim.errors import InputError

__all__ = ["write_atomically"]


def write_atomically(text: str, file: Path) -> None:
    """Write *text* to *file* in UTF-8 so that an interruption leaves either the old content or the new.

    The text goes to a temporary file in the same folder, which is flushed to disk and then renamed. Missing folders
    are created.

    InputError if the folder or the temporary file cannot be created.
    """
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
