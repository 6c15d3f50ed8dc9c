import pytest

pytest.importorskip("torch", reason="the harness needs torch: pip install lbsim[harness]")
