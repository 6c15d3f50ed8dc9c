"""Several hosts on one machine: Linux network namespaces, joined by links of a chosen rate.

Each host is a namespace with one interface, ``eth0``, a veth pair whose other end is a port of a bridge; the bridge
has a namespace of its own, so nothing shows up in the machine's own network, and to delete the namespaces is to delete
everything. Programs on the hosts meet over real TCP.

How a link keeps its rate: a token bucket (``tc-tbf(8)``) on each end of each pair, so both what a host sends and what
it receives is held to the rate, as a port of a switch does.

- *Burst*, the bytes that may pass at once after a pause: one millisecond's worth, so that a timer that wakes late
  loses no tokens, and at least two frames, as the bucket passes no frame larger than itself. They are free bytes: a
  message that follows a pause of a millisecond or more is that much shorter.
- *Limit*, the bytes that may queue: 64 MiB, more than all receive windows together, so that nothing is dropped. A
  lost packet costs a retransmission timeout of 200 ms, which no lossless cluster pays and no prediction contains.
- Frames of 9000 bytes, as clusters use, need a sixth of the processor time of those of 1500; of a frame's 9014
  bytes on the wire that the bucket counts 8948 are payload.
- TCP's congestion control is Reno with its window kept over pauses: without losses it never holds a sender back,
  while BBR, the default of some machines, paces by its own estimate of the rate.

The hosts share the machine's processors. That is what bounds hosts times rate, and what makes the time of a small
message grow with the hosts.
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
from queue import SimpleQueue

from lbsim.errors import InputError
from lbsim.testbed.processes import (
    _PATIENCE,
    _POLL,
    Say,
    _end,
    _ending_on_signals,
    _pass_on,
    _read,
    _undisturbed,
    _watch,
)

FRAME = 9014
"""Bytes on the wire, as the token bucket counts them: an MTU of 9000 and the Ethernet header."""
PAYLOAD = 8948
"""Bytes of it that are a message's: less IP's 20, TCP's 20 and its timestamps' 12."""
MOST_HOSTS = 250
_LIMIT = 64 * 2**20
_PORT = 29500  # torchrun's default; the hosts' own network has nobody else on it
_NAMESPACE = re.compile(r"lbsim-(\d+)-(\d+)-[0-9a-f]+-\w+")
_SETTINGS = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv4/tcp_congestion_control": "reno",
    "ipv4/tcp_slow_start_after_idle": "0",
    "ipv4/tcp_rmem": "4096 131072 1048576",
    "ipv4/tcp_no_metrics_save": "1",
}
"""Of each host, under /proc/sys/net."""


@dataclass(frozen=True)
class Testbed:
    """Hosts that are up."""

    name: str
    """What the names of its namespaces begin with."""
    hosts: int
    rate: float
    """Bytes a second of each host's link, in each direction."""

    __test__ = False  # no test, whatever pytest thinks of the name

    def namespace(self, host: int) -> str:
        """Return the name of the namespace of *host*."""
        return f"{self.name}-{host}"

    def run(self, command: Sequence[str], say: Say, processes_per_host: int = 1) -> int:
        """Run *command* on every host and return its exit code, the first that is not 0; then the others are ended."""
        processes, readers, lines = [], [], SimpleQueue[tuple[str, str]]()
        try:
            for rank in range(self.hosts * processes_per_host):
                process = self._start(command, rank, processes_per_host)
                processes.append(process)
                host, local = divmod(rank, processes_per_host)
                where = f"host {host}" + (f".{local}" if processes_per_host > 1 else "")
                readers.append(threading.Thread(target=_read, args=(process, where, lines), daemon=True))
                readers[-1].start()
            return _watch(processes, lines, say)
        finally:
            with _undisturbed():
                _end(processes)
                for reader in readers:
                    reader.join(_PATIENCE)
            _pass_on(lines, say)

    def _start(self, command: Sequence[str], rank: int, processes_per_host: int) -> subprocess.Popen[str]:
        host, local = divmod(rank, processes_per_host)
        place = {
            "RANK": rank,
            "WORLD_SIZE": self.hosts * processes_per_host,
            "LOCAL_RANK": local,
            "LOCAL_WORLD_SIZE": processes_per_host,
            "MASTER_ADDR": _address(0),
            "MASTER_PORT": _PORT,
        }
        environment = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | os.environ
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace(host), *command],
            env=environment | {"GLOO_SOCKET_IFNAME": "eth0"} | {name: str(value) for name, value in place.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # what it starts ends with it, and Ctrl-C reaches us alone
        )


@contextmanager
def put_up(hosts: int, rate: float) -> Iterator[Testbed]:
    """Put up *hosts* hosts with links of *rate* bytes a second, and take them down whatever happens.

    SIGTERM and SIGHUP raise SystemExit meanwhile, as Ctrl-C raises KeyboardInterrupt. What others that were killed
    left behind is taken down too. InputError if this machine or this user cannot.
    """
    _check(hosts)
    clean()
    bed = Testbed(f"lbsim-{os.getpid()}-{_born(os.getpid())}-{secrets.token_hex(2)}", hosts, rate)
    with _ending_on_signals():
        try:
            _build(bed)
            yield bed
        finally:
            with _undisturbed():
                _take_down(name for name in _namespaces() if name.startswith(f"{bed.name}-"))


def clean() -> int:
    """Take down what testbeds that no longer run left behind, and return how many namespaces that were."""
    _check_machine()
    left = [name for name in _namespaces() if (match := _NAMESPACE.fullmatch(name)) and not _runs(match)]
    _take_down(left)
    return len(left)


def burst(rate: float) -> int:
    """Return the bytes of the token bucket of a link of *rate* bytes a second.

    >>> burst(12.5e6), burst(125e6)
    (18028, 125000)
    """
    return max(2 * FRAME, round(rate / 1e3))


def _check(hosts: int) -> None:
    if not 2 <= hosts <= MOST_HOSTS:
        raise InputError(f"--hosts: {hosts}; a testbed has 2 to {MOST_HOSTS} hosts")
    _check_machine()


def _check_machine() -> None:
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        raise InputError(f"no '{missing[0]}' on this machine; a testbed needs Linux with iproute2")
    if os.geteuid() != 0:
        raise InputError("a testbed makes network namespaces, which only root may; run it as root, e.g. with sudo")


def _build(bed: Testbed) -> None:
    bridge = f"{bed.name}-bridge"
    hosts = range(bed.hosts)
    spaces = [bridge, *map(bed.namespace, hosts)]
    _tool(["ip", "-batch", "-"], [f"netns add {space}" for space in spaces])
    pairs = [f"link add eth0 netns {bed.namespace(h)} type veth peer name host{h} netns {bridge}" for h in hosts]
    _tool(["ip", "-batch", "-"], pairs)
    ports = [f"link set host{h} mtu 9000 master switch up" for h in hosts]
    _tool(["ip", "-n", bridge, "-batch", "-"], ["link add switch mtu 9000 type bridge", "link set switch up", *ports])
    bucket = f"root tbf rate {round(bed.rate)}Bps burst {burst(bed.rate)} limit {_LIMIT}"
    _tool(["tc", "-n", bridge, "-batch", "-"], [f"qdisc add dev host{h} {bucket}" for h in hosts])
    for host in hosts:
        space = bed.namespace(host)
        up = ["link set lo up", f"address add {_address(host)}/24 dev eth0", "link set eth0 mtu 9000 up"]
        _tool(["ip", "-n", space, "-batch", "-"], up)
        _tool(["tc", "-n", space, "-batch", "-"], [f"qdisc add dev eth0 {bucket}"])
        settings = [f"echo '{value}' > /proc/sys/net/{name}" for name, value in _SETTINGS.items()]
        _tool(["ip", "netns", "exec", space, "sh", "-c", " && ".join(settings)])


def _address(host: int) -> str:
    return f"10.0.0.{host + 1}"


def _tool(command: Sequence[str], lines: Sequence[str] = ()) -> str:
    """Run one of iproute2's, with *lines* to read, and return what it prints; InputError if it cannot."""
    done = subprocess.run(
        command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False, start_new_session=True
    )
    if done.returncode:
        why = done.stderr.strip().partition("\n")[0] or f"exit code {done.returncode}"
        raise InputError(f"the testbed cannot be put up: {command[0]} says '{why}'")
    return done.stdout


def _namespaces() -> list[str]:
    listed = (line.split() for line in _tool(["ip", "netns", "list"]).splitlines())
    return [words[0] for words in listed if words and words[0].startswith("lbsim-")]


def _take_down(namespaces: Iterable[str]) -> None:
    for space in namespaces:
        for _ in range(100):  # a process may start another one while it is killed
            found = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False)
            if not (pids := found.stdout.split()):
                break
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(_POLL / 5)
        subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)


def _runs(match: re.Match[str]) -> bool:
    """Return whether the process that a namespace is named after still runs, and is not another with its number."""
    return match[2] == _born(int(match[1]))


def _born(pid: int) -> str:
    """Return when the process *pid* started, in the kernel's ticks; nothing if there is none. See proc(5), stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
