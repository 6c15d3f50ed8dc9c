"""Gradient communication during the backward pass."""
