"""Small tmpfs, mounted where the suite runs as root, so that a disk can be full or read-only."""

import os
import resource
import subprocess
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@contextmanager
def mounted(folder, pages):
    """Mount a tmpfs of *pages* memory pages on *folder*."""
    size = f"size={pages * resource.getpagesize()}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True, capture_output=True)
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", folder], check=True)


@cache
def can_mount():
    """Return whether this process may mount a tmpfs: root in most containers may not."""
    if os.geteuid() != 0:
        return False
    try:
        with TemporaryDirectory() as folder, mounted(folder, 4):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


needs_tmpfs = pytest.mark.skipif(not can_mount(), reason="needs root, to mount a tmpfs")
