"""Workload files traced from torch models."""
