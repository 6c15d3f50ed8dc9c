import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lbsim.cli.app import app, main
from lbsim.errors import InputError
from lbsim.measurements.trace import read_trace
from lbsim.testbed import processes
from lbsim.testbed.network import FRAME, PAYLOAD, burst, create_testbed, remove_stale_testbeds
from lbsim.units import DATA_RATE

LBSIM = [sys.executable, "-m", "lbsim.cli", "testbed"]
TRACES = Path(__file__).parents[2] / "traces" / "testbed"
RATE = 2.5e6
"""Bytes a second: 20 Mb/s, which the slowest machine keeps up with."""
MESSAGE = 1_000_000

RECEIVE = """
import os, socket, time
rank, size = int(os.environ["RANK"]), int(os.environ["SIZE"])
if rank == 0:
    peer = socket.create_server((os.environ["MASTER_ADDR"], 5000)).accept()[0]
else:
    for _ in range(500):
        try:
            peer = socket.create_connection((os.environ["MASTER_ADDR"], 5000))
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
if rank == int(os.environ["SENDER"]):
    peer.recv(1)
    peer.sendall(bytes(size))
    peer.recv(1)
else:
    got, start = 0, time.perf_counter()
    peer.sendall(b"!")
    while got < size:
        got += len(peer.recv(1 << 20))
    print(time.perf_counter() - start)
    peer.sendall(b".")
"""


def _why_not():
    if sys.platform != "linux" or shutil.which("ip") is None or shutil.which("tc") is None:
        return "needs Linux with iproute2"
    if os.geteuid() != 0:
        return "needs root"
    name = f"lbsim-test-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return made.stderr.strip()


WHY_NOT = _why_not()
real = pytest.mark.skipif(bool(WHY_NOT), reason=f"no network namespaces here: {WHY_NOT}")


def namespaces():
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines()}


def of(pid):
    return {name for name in namespaces() if name.startswith(f"lbsim-{pid}-")}


def run(*words):
    return subprocess.run([*LBSIM, *words], capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def sleeping(marker):
    """Yield a testbed of another process, whose hosts sleep, once all of them do; *marker* is what they sleep."""
    launcher = subprocess.Popen([*LBSIM, "--", "sleep", marker], stdout=subprocess.PIPE)
    try:
        until = time.monotonic() + 30
        while running(marker) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert running(marker) == 2
        yield launcher
    finally:
        launcher.kill()
        launcher.communicate()
        remove_stale_testbeds()


def running(marker):
    """Return how many processes sleep for *marker* seconds."""
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            commands.append(file.read_bytes())
    return commands.count(f"sleep\0{marker}\0".encode())


DUE = MESSAGE / PAYLOAD * FRAME / RATE
"""Seconds that a message takes at the rate asked for."""


def transfer(sender, monkeypatch):
    """Return the seconds in which the other host receives a message of *sender*."""
    monkeypatch.setenv("SIZE", str(MESSAGE))
    monkeypatch.setenv("SENDER", str(sender))
    said = []
    with create_testbed(2, RATE) as bed:
        assert bed.run([sys.executable, "-c", RECEIVE], lambda *line: said.append(line)) == 0
    [(where, seconds)] = said
    assert where == f"host {1 - sender}"
    return float(seconds)


@real
@pytest.mark.parametrize("sender", [0, 1])
def test_a_link_is_no_faster_than_the_rate_asked_for_both_ways(sender, monkeypatch):
    free = 2 * burst(RATE) / RATE  # two full buckets, one on each end of the link
    assert transfer(sender, monkeypatch) >= DUE - free


@real
@pytest.mark.slow  # wall-clock time: a loaded machine is late
@pytest.mark.parametrize("sender", [0, 1])
def test_a_link_is_no_slower_than_the_rate_asked_for_both_ways(sender, monkeypatch):
    assert transfer(sender, monkeypatch) <= 1.5 * DUE


@real
def test_each_rank_is_told_where_it_is_and_speaks_under_its_hosts_name():
    told = "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT $GLOO_SOCKET_IFNAME"
    done = run("--hosts", "2", "--processes-per-host", "2", "--", "sh", "-c", told)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == [
        "host 0.0: 0 4 0 2 10.0.0.1 29500 eth0",
        "host 0.1: 1 4 1 2 10.0.0.1 29500 eth0",
        "host 1.0: 2 4 0 2 10.0.0.1 29500 eth0",
        "host 1.1: 3 4 1 2 10.0.0.1 29500 eth0",
    ]


@real
def test_a_command_that_fails_on_one_host_ends_the_others_and_passes_its_code_on():
    done = run("--", "sh", "-c", "test $RANK = 0 || { echo gone; exit 7; }; exec sleep 1007")
    assert done.returncode == 7
    assert done.stdout == "host 1: gone\n"
    assert running("1007") == 0


@real
def test_one_that_ignores_being_asked_to_end_is_killed(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_PERIOD", 0.2)
    with create_testbed(2, RATE) as bed:
        stubborn = "test $RANK = 1 && sleep 0.5 && exit 3; trap '' TERM; while true; do sleep 0.1; done"
        assert bed.run(["sh", "-c", stubborn], lambda *_: None) == 3
        assert not subprocess.run(["ip", "netns", "pids", bed.namespace(0)], capture_output=True, check=True).stdout


@real
def test_an_exception_takes_the_testbed_down():
    before = namespaces()
    with pytest.raises(ZeroDivisionError), create_testbed(2, RATE):
        assert 1 / (len(of(os.getpid()) - before) - 3)
    assert not of(os.getpid()) - before


@real
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_takes_it_down(number, code):
    marker = f"{2000 + number}"
    with sleeping(marker) as launcher:
        launcher.send_signal(number)
        assert launcher.wait(30) == code
        assert running(marker) == 0
        assert not of(launcher.pid)


@real
def test_what_a_killed_one_leaves_is_cleaned_and_what_runs_is_left_alone():
    with sleeping("3001") as dead, sleeping("3002") as alive:
        dead.kill()
        dead.wait()
        assert len(of(dead.pid)) == 3
        done = run("--clean")
        assert done.returncode == 0
        assert "removed 3 namespaces" in done.stdout
        assert not of(dead.pid)
        assert (running("3001"), running("3002"), len(of(alive.pid))) == (0, 2, 3)


@real
def test_two_testbeds_of_one_process_do_not_meet(monkeypatch):
    monkeypatch.setattr(processes, "POLL_INTERVAL", 0.01)
    with create_testbed(2, RATE) as one, create_testbed(3, RATE) as other:
        assert one.name != other.name
        codes = []
        threads = [
            threading.Thread(target=lambda bed=bed: codes.append(bed.run(["sleep", "0.1"], print)))
            for bed in (one, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes == [0, 0]


@real
def test_a_command_that_is_not_there_is_its_exit_code():
    done = run("--", "no-such-command")
    assert done.returncode not in (0, 2)  # ip-netns's own
    assert "no-such-command" in done.stdout


@pytest.mark.skipif(not TRACES.is_dir(), reason="traces of testbeds are in the repository, in no package")
def test_what_was_measured_is_there_for_every_number_of_hosts_and_rate():
    seen = set()
    for file in TRACES.glob("*x*.json"):
        trace = read_trace(file)
        seen.add((trace.measured, trace.gpus, trace.settings["bandwidth"]))
        if trace.measured == "scaling":
            ranks = {observation.subject for observation in trace.observations}
            assert len(ranks) == trace.gpus
    rates = [DATA_RATE.parse(text) for text in ("40 Mb/s", "80 Mb/s", "120 Mb/s")]
    assert seen == set(product(("all-reduce", "scaling"), (2, 4, 8, 16), rates))


@real
@pytest.mark.slow
def test_the_harness_reduces_over_it(tmp_path):
    pytest.importorskip("torch")
    file = tmp_path / "trace.json"
    bench = f"{sys.executable} -m lbsim.harness bench all-reduce --cpu --repeats 3 --out {file} --sizes".split()
    done = run("--rate", "20 Mb/s", "--", *bench, "512 KiB")
    assert done.returncode == 0, done.stdout
    [observation] = read_trace(file).observations
    due = 512 * 1024 / PAYLOAD * FRAME / RATE  # a ring of two sends the message once each way
    assert observation.median == pytest.approx(due, rel=0.1)  # a latency of milliseconds on a busy machine


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root can become nobody")
@pytest.mark.skipif(shutil.which("ip") is None or shutil.which("tc") is None, reason="asked for before root is")
def test_who_is_not_root_is_told_so():
    # asked for what cannot be first, so that all is imported: nobody may not be let into the folder
    where = """import os, sys, lbsim.testbed.network
from lbsim.cli.app import main
main(["testbed", "--hosts", "0", "--", "true"])
os.setuid(65534)
sys.exit(main(sys.argv[1:]))"""
    done = subprocess.run(
        [sys.executable, "-c", where, "testbed", "--", "true"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    first, told = done.stderr.splitlines()
    assert "a testbed has 2 to 250 hosts" in first
    assert "which needs root; run it as root" in told


def test_without_iproute2_it_says_what_it_needs(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert main(["testbed", "--", "true"]) == 2
    assert capsys.readouterr().err == "lbsim: no 'ip' on this machine; a testbed needs Linux with iproute2\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no command to run on the hosts"),
        (["--rate", "200", "--", "true"], "--rate: 200 has no unit"),
        (["--rate", "1 b/s", "--", "true"], "--rate: '1 b/s' is out of range"),
        (["--hosts", "1", "--", "true"], "--hosts: 1; a testbed has 2 to 250 hosts"),
        (["--hosts", "1000", "--", "true"], "--hosts: 1000; a testbed has 2 to 250 hosts"),
        (["--processes-per-host", "0", "--", "true"], "processes-per-host"),
    ],
)
def test_what_makes_no_sense_is_one_line(words, told, capsys):
    assert main(["testbed", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_options_after_the_command_are_the_commands():
    outcome = CliRunner().invoke(app, ["testbed", "--hosts", "1", "--", "sh", "-c", "--hosts 3"])
    assert isinstance(outcome.exception, InputError)
    assert "--hosts: 1;" in str(outcome.exception)
