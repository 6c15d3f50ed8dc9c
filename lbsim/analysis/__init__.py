"""Analyses of many predictions: sweeps, explanations and tuning."""
