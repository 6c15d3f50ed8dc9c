"""Every command that writes, on a disk that is full or read-only, and stopped by signals.

A new option ``--out`` or ``--figure``, and a new command, must be added to the tables here: a test compares them with
the application.
"""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main

from lbsim import Scenario
from lbsim.cli.app import app, main
from lbsim.errors import InputError
from lbsim.report import Report, ReportScenarios, labelled, write
from tests.forked import closed_pipe, ended, full_device
from tests.tmpfs import needs_tmpfs

CHECKOUT = Path(__file__).parents[1]
SMALL = ["--gpus", "8", "--cluster", "mn-1"]
OLD = "as it was\n"
PREFIX = ".lbsim-"
"""Beginning of the names of temporary files."""


@dataclass(frozen=True)
class Writer:
    """A command that writes *file*, a path in the folder in which it runs."""

    arguments: tuple[str, ...]
    option: str
    file: str
    needs: str = "typer"
    """Package that the command imports."""
    resumes: bool = False
    """Whether the file grows row by row, and an interrupted command goes on."""
    slow: bool = False

    @property
    def command(self):
        return [*self.arguments, self.option, self.file]


TRACE = CHECKOUT / "traces" / "nccl-tests" / "polaris-32-a100.txt"
CASES = CHECKOUT / "traces" / "published" / "jia2018.toml"
SWEEP = ("sweep", "gpus", "8", "16", "24", "batch_per_gpu", "8", "16", "--cluster", "mn-1", "--workers", "1")
WRITERS = {
    "timeline": Writer(("timeline", *SMALL), "--out", "step.json"),
    "plan": Writer(("plan", "--target", "75%", "--gpus", "8"), "--figure", "plan.png"),
    "validate": Writer(("validate", "--cases", str(CASES), "--only", "JIA-005"), "--figure", "parity.png"),
    "calibrate": Writer(
        ("calibrate", str(TRACE), "--cluster", "polaris", "--vary", "cluster.inter_node.latency"), "--out", "mine.toml"
    ),
    "workload trace": Writer(
        ("workload", "trace", "torch.nn:ReLU", "--input", "3"), "--out", "net.json", needs="torch"
    ),
    "sweep": Writer(SWEEP, "--out", "results.csv", resumes=True),
    "sweep, Parquet": Writer(SWEEP, "--out", "results.parquet", needs="pyarrow", resumes=True),
    "report": Writer(("report", *SMALL), "--out", "report", slow=True),
}
PRINTERS = {
    "predict": ["predict", *SMALL],
    "explain": ["explain", *SMALL],
    "collective": ["collective", *SMALL, "--message", "1 MB"],
    "compare": ["compare", "scenario.toml", "scenario.toml"],
    "tune": ["tune", "--gpus", "2", "--cluster", "mn-1"],
    "profiles list": ["profiles", "list"],
    "profiles show": ["profiles", "show", "mn-1"],
    "profiles check": ["profiles", "check", "clusters/mine.toml"],
    "testbed": ["testbed", "--clean"],
}
FILES = {
    "scenario.toml": '[scenario]\ncluster = "mn-1"\n[scenario.plan]\ngpus = 8\n',
    "clusters/mine.toml": 'extends = "mn-1"\nname = "mine"\n',
}


def every(*, slow=True):
    """Return the writers as parameters; those that take seconds are marked."""
    return [
        pytest.param(
            writer,
            id=name,
            marks=[pytest.mark.skipif(find_spec(writer.needs) is None, reason=f"needs {writer.needs}")]
            + ([pytest.mark.slow] if writer.slow and slow else []),
        )
        for name, writer in WRITERS.items()
    ]


def commands(command=None, name=""):
    """Yield the name and the command of each command of the application."""
    command = command or typer.main.get_command(app)
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for word, subcommand in (inner or {}).items():
        yield from commands(subcommand, f"{name} {word}".strip())


def contents(folder):
    """Return the content of each file in *folder*, by its path there; the date of a calibration is left out."""
    return {
        str(file.relative_to(folder)): re.sub(rb'(?m)^date = ".*"$', b"", file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }


def with_old(writer, folder):
    """Put what an earlier run would have written into *folder*, and return its content."""
    if writer.resumes:
        return contents(folder)
    old = folder / writer.file / "index.html" if writer.slow else folder / writer.file
    old.parent.mkdir(exist_ok=True)
    old.write_text(OLD)
    return contents(folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a function of a writer: the content of its files, and the seconds that it takes in a forked process."""
    known = {}

    def run(writer):
        if writer not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            with chdir(folder):
                assert main(writer.command) == 0  # here, so that what it imports is there in forked processes
            begin = time.perf_counter()
            assert ended(writer.command, folder).code == 0
            known[writer] = contents(folder), time.perf_counter() - begin
        return known[writer]

    return run


@contextmanager
def largest_file(size):
    """Let no write of this process go beyond byte *size* of a file, as a full disk does, but to the byte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def is_whole(writer, folder, old, new, stop=None):
    """Return whether *folder* has the old files or the new; of a sweep, which grows, old rows and some new."""
    found = contents(folder)
    if found in (old, new):
        return True
    if stop is signal.SIGKILL and any(Path(name).name.startswith(PREFIX) for name in found):
        return is_whole_without_temporary(writer, folder, old, new)
    return writer.resumes and goes_on(writer, folder, new)


def is_whole_without_temporary(writer, folder, old, new):
    """Return whether the next run removes the temporary file, which a process had when it was killed."""
    left = [name for name in contents(folder) if Path(name).name.startswith(PREFIX)]
    rest = {name: content for name, content in contents(folder).items() if name not in left}
    assert rest in (old, new) or writer.resumes
    return len(left) == 1 and goes_on(writer, folder, new)


def goes_on(writer, folder, new):
    return ended(writer.command, folder).code == 0 and contents(folder) == new


def test_every_option_that_names_an_output_and_every_command_is_in_the_tables():
    outputs = {
        (name, option)
        for name, command in commands()
        for parameter in command.params
        for option in parameter.opts
        if option in {"--out", "--output", "--figure"}
    }
    tested = {(name.partition(",")[0], writer.option) for name, writer in WRITERS.items()}
    assert tested == outputs
    assert {name for name, _ in commands()} == {name for name, _ in tested} | set(PRINTERS)


@pytest.mark.parametrize("writer", every())
def test_the_output_is_complete_and_nothing_else_is_left(writer, tmp_path, undisturbed):
    new, _ = undisturbed(writer)
    with_old(writer, tmp_path)
    assert ended(writer.command, tmp_path).code == 0
    assert contents(tmp_path) == new
    assert any(name.startswith(writer.file) for name in new)


@pytest.mark.parametrize("writer", every(slow=False))
def test_a_path_that_cannot_be_is_one_line_before_any_work(writer, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text(OLD)
    target = Path("folder") / writer.file
    (target / "index.html" if writer.slow else target).mkdir(parents=True)
    long = Path("n" * 250 + Path(writer.file).suffix + ("x" * 9 if writer.slow else ""))
    long = long if writer.slow else Path("n" * 256 + Path(writer.file).suffix)
    before = sorted(Path().rglob("*"))
    for path, reason in (
        (Path("file") / writer.file, "Not a directory; choose a path whose folders are not files"),
        (target, "Is a directory; choose the name of a file, not of a folder"),
        (long, "File name too long; choose a shorter name"),
    ):
        assert main([*writer.arguments, writer.option, str(path)]) == 2
        output, error = capsys.readouterr()
        assert output == ""
        assert error.startswith("lbsim: cannot write ")
        assert error.endswith(f": {reason}\n")
        assert error.count("\n") == 1
        assert len(error) < 500
    assert sorted(Path().rglob("*")) == before
    assert Path("file").read_text() == OLD


@needs_tmpfs
@pytest.mark.parametrize("writer", every(slow=False))
def test_a_read_only_disk_is_one_line(writer, small_disk, capsys, monkeypatch):
    with small_disk(64) as folder:
        old = with_old(writer, folder)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            assert main(writer.command) == 2
        output, error = capsys.readouterr()
        assert output == ""
        assert error.startswith(f"lbsim: cannot write {writer.file}")
        assert error.endswith(": Read-only file system; choose a folder that you may write to\n")
        assert contents(folder) == old


def fill(file):
    """Write to *file* until the disk is full."""
    with suppress(OSError), file.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(1024))


@needs_tmpfs
@pytest.mark.parametrize("writer", every())
def test_a_full_disk_is_one_line_and_leaves_the_old_file(writer, small_disk, undisturbed):
    new, _ = undisturbed(writer)
    with small_disk(12 if writer.slow else 2) as folder:
        old = with_old(writer, folder)
        fill(folder / "what fills it")
        done = ended(writer.command, folder)
        (folder / "what fills it").unlink()
        assert (done.code, done.output) == (2, "")
        assert done.error.startswith(f"lbsim: cannot write {writer.file}")
        assert done.error.endswith(": No space left on device; free some space there or write elsewhere\n")
        assert done.error.count("\n") == 1
        assert contents(folder) == old
    assert new != old


def failing_at(writer, folder, sizes, new):
    """Run *writer* with writes that fail at each of *sizes* bytes; return how often it was refused."""
    refused = 0
    for size in sizes:
        old = with_old(writer, folder)
        with largest_file(size):
            done = ended(writer.command, folder)
        assert (done.code, done.error.count("\n")) in {(0, 0), (2, 1)}, done
        assert not done.code or "File too large; raise the limit (ulimit -f)" in done.error
        found = contents(folder)
        assert found == (old if done.code else new) or writer.resumes
        if writer.resumes:
            assert goes_on(writer, folder, new)
        for name in contents(folder):
            (folder / name).unlink()
        refused += done.code == 2
    return refused


@pytest.mark.parametrize("writer", every())
def test_a_write_that_fails_at_any_range_of_bytes_leaves_the_old_file(writer, tmp_path, undisturbed):
    new, _ = undisturbed(writer)
    last = max(map(len, new.values()))
    sizes = [50, last // 2, last - 1]  # the messages on standard error are files here, of less than 50 bytes, or cut
    assert failing_at(writer, tmp_path, [size + 200 for size in sizes[:2]], new) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("writer", every())
def test_a_write_that_fails_at_each_of_many_ranges_leaves_the_old_file(writer, tmp_path, undisturbed):
    new, _ = undisturbed(writer)
    last = max(map(len, new.values()))
    ranges = 4 if writer.slow else 64
    sizes = [200 + (last + 400) * step // ranges for step in range(ranges)]
    assert failing_at(writer, tmp_path, sizes, new) > ranges // 2


@needs_tmpfs
@pytest.mark.parametrize("pages", [4, 20])  # full at the first file, and at a later one: about 25 pages are needed
def test_a_report_for_which_the_disk_is_full_leaves_the_old_one(pages, small_disk):
    scenarios = ReportScenarios(labelled([Scenario.of(gpus=8, cluster="mn-1")], []))
    report = Report("A title", scenarios, "a command", only=("step-time",))
    with small_disk(pages) as folder:
        for name in ("index.html", "numbers.csv"):
            (folder / name).write_text(OLD)
        old = contents(folder)
        with pytest.raises(InputError, match=f"cannot write {folder}/.*: No space left on device; free some"):
            write(report, folder)
        assert contents(folder) == old


def killed(writer, folder, stop, moment, undisturbed):
    """Stop *writer* at *moment*, a share of the time that it takes, and check what it leaves."""
    new, seconds = undisturbed(writer)
    for name in contents(folder):
        (folder / name).unlink()
    old = with_old(writer, folder)
    done = ended(writer.command, folder, stop=stop, after=moment * seconds)
    codes = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15}, signal.SIGINT: {130, -2}}[stop]
    assert done.code in codes | {0}, done
    assert done.error.count("\n") <= 1
    # one that ended before the signal may have printed its own note
    assert done.code == 0 or done.error == "" or "run it again to resume" in done.error
    left = [name for name in contents(folder) if Path(name).name.startswith(PREFIX)]
    assert not left or stop is signal.SIGKILL
    assert is_whole(writer, folder, old, new, stop), (done, sorted(contents(folder)))
    return done.code != 0, bool(left)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("writer", every())
def test_a_signal_at_any_moment_leaves_the_old_file_or_the_new(writer, stop, tmp_path, undisturbed):
    random.seed(f"{writer.command} {stop}")
    for _ in range(2):
        killed(writer, tmp_path, stop, random.random(), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sweep", "sweep, Parquet", "report", "calibrate", "plan", "timeline"])
def test_a_hundred_kills_lose_nothing_and_leave_nothing(name, tmp_path, undisturbed, capsys):
    if find_spec(WRITERS[name].needs) is None:
        pytest.skip(f"needs {WRITERS[name].needs}")
    random.seed(name)
    early = left = 0
    for _ in range(100):
        # half of them at the end, where it writes
        moment = random.random() if random.random() < 0.5 else random.uniform(0.85, 1.05)
        stopped, has_left = killed(WRITERS[name], tmp_path, signal.SIGKILL, moment, undisturbed)
        early, left = early + stopped, left + has_left
    with capsys.disabled():
        print(f"\n{name}: 100 kills, {early} before the end, {left} temporary files left until the next run")
    assert early > 30


@pytest.mark.parametrize("arguments", [*PRINTERS.values(), *([*name.split(), "--help"] for name, _ in commands())])
def test_output_that_cannot_be_written_is_one_line(arguments, tmp_path):
    (tmp_path / "clusters").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    check_output(arguments, tmp_path)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["predict", *SMALL, "--format", "json"]])
def test_help_version_and_json_that_cannot_be_written_are_one_line(arguments, tmp_path):
    check_output(arguments, tmp_path)


@pytest.mark.parametrize("writer", every())
def test_a_file_is_complete_where_standard_output_cannot_be_written(writer, tmp_path, undisturbed):
    new, _ = undisturbed(writer)
    check_output(writer.command, tmp_path)
    assert contents(tmp_path) == new


def check_output(arguments, folder):
    with full_device() as full:
        done = ended(arguments, folder, output=full)
    assert (done.code, done.error) == (
        2,
        "lbsim: cannot write standard output: No space left on device; free some space there or write elsewhere\n",
    )
    with closed_pipe() as pipe:
        done = ended(arguments, folder, output=pipe)
    assert (done.code, done.error) == (1, "")


def test_a_process_of_its_own_does_the_same(tmp_path):
    """Start Python as a shell does: its exit flushes standard output once more, and must not fail."""
    command = [sys.executable, "-m", "lbsim.cli", "predict", *SMALL]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    for redirection, code, error in (
        ("> /dev/full", 2, "lbsim: cannot write standard output: No space left on device; "),
        ("2> /dev/full --modle", 2, ""),
        (">&-", 0, ""),
    ):
        words = ["bash", "-c", f'"$@" {redirection}', "bash", *command]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
        assert done.returncode == code, (redirection, done)
        assert done.stderr.startswith(error)
        assert done.stderr.count("\n") == bool(error)


def test_two_sweeps_at_once_into_one_file_give_what_one_gives(tmp_path, undisturbed):
    """The second waits for the first, and predicts what that has left."""
    writer = WRITERS["sweep"]
    new, _ = undisturbed(writer)
    command = [sys.executable, "-m", "lbsim.cli", *writer.command]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    both = [subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    assert contents(tmp_path) == new
