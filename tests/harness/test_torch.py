"""Says, where torch is not installed, that nothing else in this folder was tested."""

import pytest


def test_torch_is_here_so_the_harness_is_tested():
    torch = pytest.importorskip("torch", reason="the harness needs torch: pip install 'lbsim[harness]'")
    assert torch.get_num_threads() == 1  # as conftest sets it
