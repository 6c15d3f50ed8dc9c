"""Skips all of the harness, its doctests and its tests, where torch is not installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest


class _NeedsTorch(pytest.Directory):
    def collect(self) -> list[pytest.Item]:
        """Skip the folder before anything in it is imported."""
        pytest.skip("the harness needs torch: pip install 'lbsim[harness]'")


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a folder called harness as one that is skipped, if there is no torch."""
    if path.name != "harness" or find_spec("torch") is not None:
        return None
    return _NeedsTorch.from_parent(parent, path=path)
