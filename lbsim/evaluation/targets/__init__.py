"""Accuracy targets: data in targets.toml, evaluated on the cases and traces."""
