"""Optimizers of the large-batch record systems."""
