"""The companion harness: real large-batch training on real processes, measured for lbsim's calibration."""
