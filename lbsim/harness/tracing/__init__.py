"""Tracing of torch models into workload files."""
