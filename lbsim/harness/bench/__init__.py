"""Benchmarks of steps, all-reduces and scaling, which write traces."""
