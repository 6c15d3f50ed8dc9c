"""Profiles of hardware and software: TOML files found by name."""
