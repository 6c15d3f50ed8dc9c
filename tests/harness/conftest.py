"""Skips the harness's tests as a whole where torch is not installed."""

import pytest

torch = pytest.importorskip("torch", reason="the harness needs torch: pip install 'lbsim[harness]'")

torch.set_num_threads(1)
