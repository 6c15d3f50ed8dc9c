"""Reduce-scatter algorithms, one per module.

Each has ``reduce_scatter(message, fabric) -> Collective``, without times.
"""
