"""Skips all of the harness, its doctests and its tests, where torch is not installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore = [] if find_spec("torch") else ["tests/benchmarks/lars.py"]
collect_ignore_glob = [] if find_spec("torchvision") else ["*/image_folder.py"]

if find_spec("torch"):
    import torch

    torch.set_num_threads(1)  # tests run several processes on few cores


class _NeedsTorch(pytest.Directory):
    def collect(self) -> list[pytest.Item]:
        """Skip the folder before anything in it is imported."""
        pytest.skip("the harness needs torch: pip install 'lbsim[harness]'")


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a folder called harness as one that is skipped, if there is no torch."""
    if path.name != "harness" or find_spec("torch") is not None:
        return None
    return _NeedsTorch.from_parent(parent, path=path)
