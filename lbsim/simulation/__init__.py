"""Simulation of training steps: discrete events, per-rank clocks, metrics and predictions."""
