"""Gradient communication during backward."""
