"""Accuracy: published recipes, laws of convergence, and the time to a target accuracy."""
