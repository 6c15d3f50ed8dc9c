"""Scenarios: cluster, model, software and plan of a training run."""
