"""Starts the harness as a user does: in processes of its own."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
LIMIT = 120
"""Seconds, on a machine that is busy with other things."""


def environment(**more):
    own = {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'tests' / 'harness'}", "OMP_NUM_THREADS": "1"}
    return os.environ | own | {name: str(value) for name, value in more.items()}


def start(ranks, *arguments, own=None, command="train", places=None):
    """Start *ranks* processes that know of each other as torchrun has them know; *own* adds arguments by rank.

    *places* are the folders in which they stand, by rank.
    """
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, "-m", "lbsim.harness", command, *map(str, arguments), *(own or {}).get(rank, [])],
            env=environment(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=ranks, MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=(places or {}).get(rank),
        )
        for rank in range(ranks)
    ]


def finish(processes, limit=LIMIT):
    """Return the exit codes and what each process said on standard error."""
    try:
        said = [process.communicate(timeout=limit)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


def train(ranks, *arguments, limit=LIMIT, **more):
    return finish(start(ranks, *arguments, **more), limit)


def column(folder, name, table="steps"):
    with (folder / f"{table}.csv").open() as file:
        return [row[name] for row in csv.DictReader(file)]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
