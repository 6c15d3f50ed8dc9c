"""Compute: time and memory of a single GPU."""
