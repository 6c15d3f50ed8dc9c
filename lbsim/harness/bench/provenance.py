"""Provenance of a measurement: hardware, software, commit, command and time."""

import os
import platform
import shlex
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import torch

from lbsim.harness.communication.process_group import ProcessGroup
from lbsim.measurements.trace import Evidence
from lbsim.version import __version__

__all__ = ["provenance"]


def provenance(group: ProcessGroup) -> Evidence:
    """Return the provenance of a trace that starts now, on this rank's machine."""
    on_gpu = group.device.type == "cuda"
    return Evidence(
        command=_command(),
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        commit=_commit(),
        host=socket.gethostname(),
        cpu=_cpu(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
        backend=group.backend,
        gpu=torch.cuda.get_device_name(group.device) if on_gpu else None,
        driver=_output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if on_gpu else None,
        cuda=torch.version.cuda if on_gpu else None,
        nccl=".".join(str(part) for part in torch.cuda.nccl.version()) if on_gpu else None,
    )


def _command() -> str:
    """Return the command line, with the launcher, quoted for a shell."""
    words = ["python", *sys.orig_argv[1:]]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        nodes, local = os.environ.get("GROUP_WORLD_SIZE", "1"), os.environ.get("LOCAL_WORLD_SIZE", "1")
        words = ["torchrun", "--nnodes", nodes, "--nproc-per-node", local, *(w for w in sys.orig_argv[1:] if w != "-u")]
    return shlex.join(words)


def _commit() -> str:
    folder = str(Path(__file__).parent)
    commit = _output("git", "-C", folder, "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return f"lbsim {__version__}"
    changed = _output("git", "-C", folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if changed else commit


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _output(*command: str) -> str | None:
    """Return the first line that *command* prints; None if it is missing, fails or prints nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().partition("\n")[0] or None
