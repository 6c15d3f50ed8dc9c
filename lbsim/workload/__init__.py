"""Workloads: models as lists of layers."""
