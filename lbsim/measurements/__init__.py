"""Measured numbers before any fit: traces, cases, files of other tools."""
