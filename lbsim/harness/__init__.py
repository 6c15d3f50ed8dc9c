"""The companion harness: real large-batch training on real processes, and the measurements that lbsim is calibrated on."""
