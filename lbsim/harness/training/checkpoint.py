"""Checkpoints that survive: written whole or not at all, checked when read, the last two kept.

A file is a line ``lbsim checkpoint 1 <SHA-256 of the rest>`` and what torch.save makes of the state. It is written
beside its place, flushed to the disk and renamed, so that a kill at any moment leaves the checkpoints before it.
"""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lbsim.errors import InputError

State = dict[str, Any]
_HEADER = b"lbsim checkpoint 1 "
_KEPT = 2


def write(folder: Path, step: int, state: State) -> Path:
    """Write the *state* after *step* into *folder*, and remove all but the last two."""
    file = folder / f"checkpoint-{step:09d}.pt"
    replace_with(file, packed(state))
    for old in _newest_first(folder)[_KEPT:]:
        old.unlink(missing_ok=True)
    return file


def packed(state: State) -> bytes:
    """Return *state* as the bytes of a checkpoint."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    return _HEADER + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def unpacked(content: bytes, name: str = "checkpoint") -> State:
    """Return the state in *content*, or raise InputError if it is damaged."""
    header, _, payload = content.partition(b"\n")
    if not header.startswith(_HEADER):
        raise InputError(f"{name}: not a checkpoint of lbsim, or its beginning is lost")
    if hashlib.sha256(payload).hexdigest().encode() != header.removeprefix(_HEADER):
        raise InputError(f"{name}: damaged: its content does not have the checksum that it was written with")
    state: State = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return state


def newest(folder: Path, tell: Callable[[str], None]) -> State | None:
    """Return the newest state in *folder* that is whole; *tell* of each that is damaged; None if there is none."""
    files = _newest_first(folder)
    for file in files:
        try:
            return unpacked(file.read_bytes(), str(file))
        except InputError as error:
            tell(f"{error}; trying the one before")
    if files:
        raise InputError(f"{folder}: no checkpoint is whole; remove them to start anew")
    return None


def replace_with(file: Path, content: bytes) -> None:
    """Make *content* the whole of *file*, at once and for good."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(file.name + ".new")
    with beside.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the renaming itself
    finally:
        os.close(folder)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)
