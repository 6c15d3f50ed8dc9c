"""Checkpoints: atomic writes, a checksum, and the last two kept.

A file is the line ``lbsim checkpoint 1 <SHA-256 of the rest>`` followed by torch.save's bytes of the state. It is
written to a temporary file, flushed to the disk and renamed, so that a kill at any moment leaves the earlier
checkpoints intact.
"""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lbsim.atomic_write import write_atomically
from lbsim.errors import InputError

__all__ = ["State", "deserialize", "load_newest", "save", "serialize"]

State = dict[str, Any]
_HEADER = b"lbsim checkpoint 1 "
_KEPT = 2


def save(folder: Path, step: int, state: State) -> Path:
    """Write the *state* after *step* into *folder*, and remove all checkpoints but the last two; return the file."""
    file = folder / f"checkpoint-{step:09d}.pt"
    write_atomically(serialize(state), file)
    for old in _newest_first(folder)[_KEPT:]:
        old.unlink(missing_ok=True)
    return file


def serialize(state: State) -> bytes:
    """Return the bytes of a checkpoint of *state*."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    return _HEADER + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def deserialize(content: bytes, name: str = "checkpoint") -> State:
    """Return the state in the bytes *content*; InputError, with *name*, if they are damaged."""
    header, _, payload = content.partition(b"\n")
    if not header.startswith(_HEADER):
        raise InputError(f"{name}: not a checkpoint of lbsim, or its first line is damaged")
    if hashlib.sha256(payload).hexdigest().encode() != header.removeprefix(_HEADER):
        raise InputError(f"{name}: damaged: its checksum is wrong")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for bytes that it has not written
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(f"{name}: damaged: torch cannot read it ({type(error).__name__}: {reason})") from None
    if not isinstance(state, dict):
        raise InputError(f"{name}: damaged: it holds {type(state).__name__}, not the state of a run")
    return state


def load_newest(
    folder: Path, report: Callable[[str], None], check: Callable[[State, int], None] = lambda _state, _step: None
) -> State | None:
    """Return the newest intact state in *folder*; None if there are no checkpoints.

    *check* raises InputError for a state that is not one of the given step, the one in the file's name. *report*
    receives a message for each damaged or invalid file. Raises InputError if all are.
    """
    files = _newest_first(folder)
    for file in files:
        try:
            state = deserialize(file.read_bytes(), str(file))
        except (InputError, OSError) as error:
            report(f"{error}; trying the one before")
            continue
        try:
            check(state, _step(file))
        except InputError as error:
            report(f"{file}: invalid: {error}; trying the one before")
            continue
        return state
    if files:
        raise InputError(f"{folder}: all checkpoints are damaged; remove them to start from the first step")
    return None


def _step(file: Path) -> int:
    number = file.stem.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() else -1


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)
