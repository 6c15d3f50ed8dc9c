"""Starts a function of a test on several processes, as torchrun would, and returns what each one said."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(ranks, arguments, *, timeout=120, environment=None, start=None):
    """Run ``python arguments`` on *ranks* processes (or on those in *start* alone) and return how each ended.

    *arguments* is a list, or a function from the rank to one.
    """
    shared = os.environ | {
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(CHECKOUT),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, *(str(a) for a in (arguments(rank) if callable(arguments) else arguments))],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
        )
        for rank in (range(ranks) if start is None else start)
    ]
    ended = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=timeout)
            ended.append(Ended(process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return ended


def run(ranks, script, what, *, per_rank=None, **options):
    """Run *script* with *what* as JSON (updated by ``per_rank[rank]``) on *ranks* processes; return their endings."""
    return launch(ranks, lambda rank: [script, json.dumps(what | (per_rank or {}).get(rank, {}))], **options)
