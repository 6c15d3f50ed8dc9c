"""Commands run on a pseudo-terminal, for what a program prints only there."""

import os
import pty
import subprocess
import sys
from pathlib import Path

__all__ = ["run_on_terminal"]


def run_on_terminal(*arguments, folder, **changes):
    """Run lbsim in *folder* with standard output and error on a terminal; return exit code and what it received.

    *changes* are environment variables.
    """
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "TERM": "xterm-256color"} | changes
    command = [sys.executable, "-m", "lbsim.cli", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=folder) as process:
        os.close(theirs)
        received = bytearray()
        while chunk := _read(ours):
            received += chunk
        os.close(ours)
    return process.returncode, received.decode("utf-8", "replace")


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux reports the end of a terminal as an error
        return b""
