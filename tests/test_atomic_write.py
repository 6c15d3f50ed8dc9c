"""Atomic writes on real filesystems: small tmpfs where the suite runs as root, and this machine's own."""

import errno
import fcntl
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from lbsim.atomic_write import cannot_write, check_writable, write_all_atomically, write_atomically
from lbsim.errors import InputError
from lbsim.signals import deferring_signals
from tests.tmpfs import needs_tmpfs

OLD, NEW = "as it was\n", "new, and longer than it was\n" * 40


@pytest.fixture
def file(tmp_path):
    """Return a file with old content, in a folder of its own."""
    file = tmp_path / "folder" / "file.txt"
    file.parent.mkdir()
    file.write_text(OLD)
    return file


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def largest_file(size):
    """Let no write of this process go beyond byte *size* of a file, as a full disk does, but to the byte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def message_of(content, file):
    """Write, and return the message of the error, empty if there is none."""
    try:
        write_atomically(content, file)
    except InputError as error:
        return str(error)
    return ""


@pytest.fixture(params=["unnamed", "named", "unlinkable"])
def kind(request, monkeypatch):
    """Take each of the three routes: O_TMPFILE, a system without it, and one where such a file gets no name."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    if request.param == "unlinkable":

        def link(*_, **__):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(os, "link", link)
    return request.param


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("content", [NEW, NEW.encode(), "", "µs\n"])
def test_the_content_replaces_the_old_and_nothing_else_is_left(file, content):
    write_atomically(content, file)
    assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0])
def test_a_new_file_has_0666_minus_the_umask_and_an_old_one_keeps_its_mode(mask, file):
    with umask(mask):
        write_atomically(NEW, file.with_name("new"))
        for mode in (0o600, 0o640, 0o755, 0o666):
            file.chmod(mode)
            write_atomically(NEW, file)
            assert stat.S_IMODE(file.stat().st_mode) == mode
    assert stat.S_IMODE(file.with_name("new").stat().st_mode) == 0o666 & ~mask


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_an_old_file_keeps_its_owner(file):
    os.chown(file, 1234, 1235)
    write_atomically(NEW, file)
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 1235)


@pytest.mark.usefixtures("kind")
def test_a_symbolic_link_stays_one_and_its_target_is_written(file):
    link = file.with_name("link")
    link.symlink_to(file.name)
    write_atomically(NEW, link)
    assert link.is_symlink()
    assert file.read_text() == NEW
    link.unlink()
    link.symlink_to("there is none yet")
    write_atomically(NEW, link)
    assert (file.parent / "there is none yet").read_text() == NEW


def test_missing_folders_are_created_and_removed_again_if_the_file_cannot_be(tmp_path):
    write_atomically(NEW, tmp_path / "a" / "b" / "file")
    assert (tmp_path / "a" / "b" / "file").read_text() == NEW
    with pytest.raises(InputError, match="File name too long"):
        write_atomically(NEW, tmp_path / "c" / "d" / ("n" * 300))
    check_writable(tmp_path / "c" / "file")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_the_longest_name_that_a_filesystem_takes_is_taken(tmp_path):
    write_atomically(NEW, tmp_path / ("n" * 255))
    assert (tmp_path / ("n" * 255)).read_text() == NEW


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("folder", "Is a directory; choose the name of a file, not of a folder"),
        ("folder/file.txt/below", "Not a directory; choose a path whose folders are not files"),
        ("folder/file.txt/below/deeper", "Not a directory; choose a path whose folders are not files"),
        ("n" * 256, "File name too long; choose a shorter name"),
        ("loop", "Too many levels of symbolic links; write elsewhere"),
    ],
)
@pytest.mark.parametrize("write", [lambda file: write_atomically(NEW, file), check_writable])
def test_what_cannot_be_written_is_one_short_line(write, name, error, file, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError) as raised:
        write(tmp_path / name)
    message = str(raised.value)
    assert message.startswith("cannot write ")
    assert message.endswith(f": {error}")
    assert len(message) < 400
    assert file.read_text() == OLD
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["file.txt", "folder", "loop"]


def test_a_write_protected_file_is_refused_to_who_may_not_write_it(file):
    if os.geteuid() == 0:  # root may write to any
        return
    file.chmod(0o444)
    with pytest.raises(InputError, match="Permission denied"):
        write_atomically(NEW, file)
    assert file.read_text() == OLD


def test_devices_pipes_and_open_files_are_written_to_and_not_replaced(file, tmp_path):
    write_atomically(NEW, Path("/dev/null"))
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(InputError, match="cannot write /dev/full: No space left on device"):
        write_atomically(NEW, Path("/dev/full"))
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_atomically(NEW, tmp_path / "pipe")
    reader.join()
    assert received == [NEW]
    with file.open("ab") as stream:
        write_atomically(NEW, Path(f"/dev/fd/{stream.fileno()}"))
    assert file.read_text() == OLD + NEW
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(InputError, match="No such device or address"):
            write_atomically(NEW, tmp_path / "socket")


@pytest.mark.usefixtures("kind")
def test_a_write_that_fails_at_any_byte_leaves_the_old_file(file):
    data = bytes(range(256))
    for size in range(len(data) + 1):
        with largest_file(size):
            if size < len(data):
                with pytest.raises(InputError, match=r"File too large; raise the limit \(ulimit -f\)"):
                    write_atomically(data, file)
            else:
                write_atomically(data, file)
        assert file.read_bytes() == (OLD.encode() if size < len(data) else data)
        assert list(file.parent.iterdir()) == [file]


@needs_tmpfs
@pytest.mark.usefixtures("kind")
def test_a_disk_that_is_full_after_any_page_leaves_the_old_file(small_disk):
    pages = 24
    data = os.urandom(pages * resource.getpagesize() - 5)
    refused = 0
    for size in range(2, pages + 8):
        with small_disk(size) as folder:
            file = folder / "file"
            file.write_text(OLD)
            message = message_of(data, file)
            if message:
                assert message.startswith(f"cannot write {file}: No space left on device; free some space")
            refused += bool(message)
            assert file.read_bytes() == (OLD.encode() if message else data)
            assert list(folder.iterdir()) == [file]
    assert pages - 2 <= refused < pages + 4


@needs_tmpfs
def test_a_read_only_disk_is_one_line(small_disk):
    with small_disk(16) as folder:
        (folder / "file").write_text(OLD)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        for name in ("file", "new", "new/new"):
            for write in (check_writable, lambda file: write_atomically(NEW, file)):
                with pytest.raises(InputError, match=f"cannot write {folder / name}: Read-only file system; choose a"):
                    write(folder / name)
        assert [one.read_text() for one in folder.iterdir()] == [OLD]


def test_of_several_files_all_are_written_or_none(file):
    others = [file.with_name(name) for name in ("a", "b")]
    with pytest.raises(InputError, match="Is a directory"):
        write_all_atomically({file: NEW, others[0]: NEW, file.parent: NEW})
    assert file.read_text() == OLD
    assert list(file.parent.iterdir()) == [file]
    write_all_atomically(dict.fromkeys([*others, file], NEW))
    assert {one.name: one.read_text() for one in file.parent.iterdir()} == dict.fromkeys(["a", "b", "file.txt"], NEW)


def test_temporary_files_of_dead_processes_are_removed_and_those_of_living_ones_stay(file, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    code = (
        "import os, sys, time; from pathlib import Path; from lbsim.temporary_file import temporary_file\n"
        "del os.O_TMPFILE\n"
        "with temporary_file(Path(sys.argv[1])):\n print('ready', flush=True)\n time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        other = file.with_name(".lbsim-0123456789abcdef-of another file.tmp")
        other.touch()
        write_atomically(NEW, file)
        assert len(list(file.parent.iterdir())) == 3  # the writer lives
        writer.kill()
        writer.wait()
        assert len(list(file.parent.iterdir())) == 3
        write_atomically(NEW, file)
        assert set(file.parent.iterdir()) == {file, other}


def test_names_of_temporary_files_cannot_be_guessed(file, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    names: set[str] = set()

    def interrupted(_):
        names.update(one.name for one in file.parent.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    for _ in range(8):
        with pytest.raises(KeyboardInterrupt):
            write_atomically(NEW, file)
    assert len(names - {file.name}) == 8
    assert list(file.parent.iterdir()) == [file]


def test_a_lock_that_another_process_holds_is_waited_for(file, monkeypatch):
    """A cleaner locks a new file for a moment before it finds that its writer lives."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    flock = fcntl.flock
    taken: list[Path] = []

    def slow(descriptor, operation):
        if not taken:
            taken.append(Path(f"/proc/self/fd/{descriptor}").resolve())
            taken[0].unlink()  # as a cleaner does that came before the lock
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    write_atomically(NEW, file)
    assert file.read_text() == NEW
    assert list(file.parent.iterdir()) == [file]


def test_signals_wait_for_the_end_of_statements_that_belong_together():
    done = []

    def statements():
        with deferring_signals():
            signal.raise_signal(signal.SIGINT)
            done.append("after the signal")

    with pytest.raises(KeyboardInterrupt):
        statements()
    assert done == ["after the signal"]


def test_every_error_has_a_correction():
    for number in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO):
        message = str(cannot_write("standard output", OSError(number, os.strerror(number))))
        assert message.startswith(f"cannot write standard output: {os.strerror(number)}; ")
