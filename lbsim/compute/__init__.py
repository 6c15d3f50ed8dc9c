"""Compute time and memory of one GPU."""
