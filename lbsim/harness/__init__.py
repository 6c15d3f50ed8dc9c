"""What really runs on torch: the extra ``harness``. Nothing outside imports it, save commands, late."""
