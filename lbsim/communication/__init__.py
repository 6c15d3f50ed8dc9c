"""Collectives, tensor fusion, and the time that both take."""
