"""Shipped models, one per module; each has ``build() -> Workload``."""
