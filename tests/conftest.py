"""Settings of the test suite: hypothesis without a deadline and with fixed examples; SIGINT; ``--update-goldens``.

A golden is a committed file of lbsim's own output. It proves nothing but that the output is unchanged; tests of it are
marked ``golden``. After a change that is meant, write every golden again, and read the diff::

    pytest -m golden --update-goldens
"""

import signal
from functools import partial

import pytest
from hypothesis import settings

from tests.tmpfs import mounted

settings.register_profile("lbsim", deadline=None, derandomize=True, max_examples=60)  # times on a shared machine vary
settings.load_profile("lbsim")


def pytest_addoption(parser):
    parser.addoption("--update-goldens", action="store_true", help="write goldens again instead of comparing them")


@pytest.fixture(scope="session")
def update_goldens(request):
    """Return whether a test marked ``golden`` is to write its file instead of comparing it."""
    return request.config.getoption("--update-goldens")


@pytest.fixture(autouse=True)
def _default_sigint():
    """Set Python's default handler of SIGINT before each test, and the one that was there after it.

    A shell without job control starts ``command &`` with SIGINT ignored. Child processes inherit an ignored signal, so
    the tests that send SIGINT to a child would wait for an end that does not come. A handler is not inherited.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def small_disk(tmp_path):
    """Return a context that mounts a tmpfs of a number of memory pages, and yields its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return partial(mounted, folder)
