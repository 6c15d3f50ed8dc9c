"""Benchmarks that write traces."""
