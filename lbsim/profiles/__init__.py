"""Profiles: TOML files found by name."""
