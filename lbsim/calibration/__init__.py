"""Fits of parameters to measurements."""
