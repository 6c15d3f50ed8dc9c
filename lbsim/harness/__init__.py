"""The companion harness: trains for real, as the large-batch record systems did; all of torch is in here.

Start it with ``python -m lbsim.harness train ...``, or under torchrun for many processes. Nothing imports it.
"""
