"""Fit of the compute law to single-GPU rates, and its cross-validation."""
