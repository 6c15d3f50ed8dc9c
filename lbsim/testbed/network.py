"""Hosts on one machine: Linux network namespaces, connected by links of a chosen rate.

Each host is a namespace with one interface, ``eth0``, which is one end of a veth pair; the other end is a port of a
bridge. The bridge has a separate namespace, so nothing appears in the machine's network configuration, and deleting the
namespaces deletes everything. Programs on the hosts communicate over real TCP.

A token bucket (``tc-tbf(8)``) on each end of each pair limits the rate at which a host sends and the rate at which it
receives, as the port of a switch does. Its settings:

- *Burst*, the bytes that may pass at once after a pause: the bytes of one millisecond, so that a timer that fires late
  loses no tokens, and at least two frames, because the bucket passes no frame larger than itself. These bytes are not
  delayed: a message that follows a pause of a millisecond or more is shorter by that much.
- *Limit*, the bytes that may queue: 64 MiB, more than all receive windows together, so that nothing is dropped. A
  lost packet costs a retransmission timeout of 200 ms, which no lossless cluster pays and no prediction contains.
- Frames of 9000 bytes, as clusters use, need a sixth of the processor time of frames of 1500 bytes. The bucket counts
  9014 bytes on the wire for each frame, of which 8948 are payload.
- TCP's congestion control is Reno, with the window kept over pauses: without losses it never limits a sender, while
  BBR, the default of some machines, limits the rate by its own estimate.

The hosts share the machine's processors. This bounds hosts times rate, and makes the time of a small message grow
with the number of hosts.
"""

import os
import re
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lbsim.errors import InputError
from lbsim.signals import exiting_on_signals, ignoring_signals
from lbsim.testbed.processes import (
    GRACE_PERIOD,
    POLL_INTERVAL,
    Lines,
    OnLine,
    forward,
    queue_output,
    terminate,
    watch,
)

__all__ = ["FRAME", "MOST_HOSTS", "PAYLOAD", "Testbed", "burst", "create_testbed", "remove_stale_testbeds"]

FRAME = 9014
"""Bytes of a frame on the wire, as the token bucket counts them: an MTU of 9000 and the Ethernet header."""
PAYLOAD = 8948
"""Bytes of a frame that carry a message: without 20 of IP, 20 of TCP and 12 of TCP timestamps."""
MOST_HOSTS = 250
"""Largest number of hosts of a testbed: one /24 network."""
_LIMIT = 64 * 2**20
"""Bytes that may queue at a token bucket."""
_PORT = 29500
"""Port of torch's rendezvous; torchrun's default, which nothing else uses on the hosts' network."""
_NAMESPACE = re.compile(r"lbsim-(\d+)-(\d+)-[0-9a-f]+-\w+")
_SETTINGS = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv4/tcp_congestion_control": "reno",
    "ipv4/tcp_slow_start_after_idle": "0",
    "ipv4/tcp_rmem": "4096 131072 1048576",
    "ipv4/tcp_no_metrics_save": "1",
}
"""Kernel settings of each host, under /proc/sys/net."""


@dataclass(frozen=True)
class Testbed:
    """A testbed that is running."""

    name: str
    """Prefix of the names of its namespaces."""
    hosts: int
    """Number of hosts."""
    rate: float
    """Bytes per second of each host's link, in each direction."""

    __test__ = False  # pytest would collect a class of this name

    def namespace(self, host: int) -> str:
        """Return the name of the namespace of *host*."""
        return f"{self.name}-{host}"

    def run(self, command: Sequence[str], on_line: OnLine, processes_per_host: int = 1) -> int:
        """Run *command* on every host and return the first exit code that is not 0, else 0.

        When a process fails, the others are terminated. *on_line* receives the output line by line. Each process gets
        torch's environment variables: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
        """
        processes: list[subprocess.Popen[str]] = []
        readers: list[threading.Thread] = []
        lines = Lines()
        try:
            for rank in range(self.hosts * processes_per_host):
                processes.append(self._start(command, rank, processes_per_host))
                host, local_rank = divmod(rank, processes_per_host)
                label = f"host {host}" + (f".{local_rank}" if processes_per_host > 1 else "")
                readers.append(threading.Thread(target=queue_output, args=(processes[-1], label, lines), daemon=True))
                readers[-1].start()
            return watch(processes, lines, on_line)
        finally:
            with ignoring_signals():
                terminate(processes)
                for reader in readers:
                    reader.join(GRACE_PERIOD)
            forward(lines, on_line)

    def _start(self, command: Sequence[str], rank: int, processes_per_host: int) -> subprocess.Popen[str]:
        host, local_rank = divmod(rank, processes_per_host)
        launch = {
            "RANK": rank,
            "WORLD_SIZE": self.hosts * processes_per_host,
            "LOCAL_RANK": local_rank,
            "LOCAL_WORLD_SIZE": processes_per_host,
            "MASTER_ADDR": _address(0),
            "MASTER_PORT": _PORT,
        }
        environment = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | os.environ
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace(host), *command],
            env=environment | {"GLOO_SOCKET_IFNAME": "eth0"} | {name: str(value) for name, value in launch.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that its children end with it, and Ctrl-C reaches only this process
        )


@contextmanager
def create_testbed(hosts: int, rate: float) -> Iterator[Testbed]:
    """Create *hosts* hosts with links of *rate* bytes per second, and remove them when the context ends.

    Inside the context SIGTERM and SIGHUP raise SystemExit, as Ctrl-C raises KeyboardInterrupt, so that a signal removes
    the hosts too. Testbeds that a killed process left behind are removed first.

    Raises InputError without iproute2, without root, or for a number of hosts outside 2 to `MOST_HOSTS`.
    """
    _check_hosts(hosts)
    remove_stale_testbeds()
    bed = Testbed(f"lbsim-{os.getpid()}-{_start_time(os.getpid())}-{secrets.token_hex(2)}", hosts, rate)
    with exiting_on_signals():
        try:
            _build(bed)
            yield bed
        finally:
            with ignoring_signals():
                _delete(name for name in _namespaces() if name.startswith(f"{bed.name}-"))


def remove_stale_testbeds() -> int:
    """Remove the namespaces of testbeds whose process has ended; return the number of namespaces removed."""
    _check_machine()
    stale = [name for name in _namespaces() if (match := _NAMESPACE.fullmatch(name)) and not _is_running(match)]
    _delete(stale)
    return len(stale)


def burst(rate: float) -> int:
    """Return the size in bytes of the token bucket of a link of *rate* bytes per second.

    >>> burst(12.5e6), burst(125e6)
    (18028, 125000)
    """
    return max(2 * FRAME, round(rate / 1e3))


def _check_hosts(hosts: int) -> None:
    if not 2 <= hosts <= MOST_HOSTS:
        raise InputError(f"--hosts: {hosts}; a testbed has 2 to {MOST_HOSTS} hosts")
    _check_machine()


def _check_machine() -> None:
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        raise InputError(f"no '{missing[0]}' on this machine; a testbed needs Linux with iproute2")
    if os.geteuid() != 0:
        raise InputError("a testbed creates network namespaces, which needs root; run it as root, e.g. with sudo")


def _build(bed: Testbed) -> None:
    bridge = f"{bed.name}-bridge"
    hosts = range(bed.hosts)
    namespaces = [bridge, *map(bed.namespace, hosts)]
    _run_tool(["ip", "-batch", "-"], [f"netns add {namespace}" for namespace in namespaces])
    pairs = [f"link add eth0 netns {bed.namespace(h)} type veth peer name host{h} netns {bridge}" for h in hosts]
    _run_tool(["ip", "-batch", "-"], pairs)
    ports = [f"link set host{h} mtu 9000 master switch up" for h in hosts]
    _run_tool(
        ["ip", "-n", bridge, "-batch", "-"], ["link add switch mtu 9000 type bridge", "link set switch up", *ports]
    )
    bucket = f"root tbf rate {round(bed.rate)}Bps burst {burst(bed.rate)} limit {_LIMIT}"
    _run_tool(["tc", "-n", bridge, "-batch", "-"], [f"qdisc add dev host{h} {bucket}" for h in hosts])
    for host in hosts:
        namespace = bed.namespace(host)
        up = ["link set lo up", f"address add {_address(host)}/24 dev eth0", "link set eth0 mtu 9000 up"]
        _run_tool(["ip", "-n", namespace, "-batch", "-"], up)
        _run_tool(["tc", "-n", namespace, "-batch", "-"], [f"qdisc add dev eth0 {bucket}"])
        settings = [f"echo '{value}' > /proc/sys/net/{name}" for name, value in _SETTINGS.items()]
        _run_tool(["ip", "netns", "exec", namespace, "sh", "-c", " && ".join(settings)])


def _address(host: int) -> str:
    return f"10.0.0.{host + 1}"


def _run_tool(command: Sequence[str], lines: Sequence[str] = ()) -> str:
    """Run a tool of iproute2 with *lines* as its input and return its output; InputError if it fails."""
    done = subprocess.run(
        command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False, start_new_session=True
    )
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0] or f"exit code {done.returncode}"
        raise InputError(f"cannot create the testbed: {command[0]} failed: {reason}")
    return done.stdout


def _namespaces() -> list[str]:
    listed = (line.split() for line in _run_tool(["ip", "netns", "list"]).splitlines())
    return [words[0] for words in listed if words and words[0].startswith("lbsim-")]


def _delete(namespaces: Iterable[str]) -> None:
    """Kill the processes in *namespaces* and delete them."""
    for namespace in namespaces:
        for _ in range(100):  # a process may start another one while it is killed
            listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
            if not (pids := listed.stdout.split()):
                break
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(POLL_INTERVAL / 5)
        subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def _is_running(match: re.Match[str]) -> bool:
    """Return whether the process that named a namespace still runs; a reused pid has another start time."""
    return match[2] == _start_time(int(match[1]))


def _start_time(pid: int) -> str:
    """Return the start time of process *pid* in clock ticks since boot, empty if there is none: proc(5), stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
