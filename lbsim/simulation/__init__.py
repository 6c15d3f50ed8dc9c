"""The discrete-event simulation of a step and its metrics."""
