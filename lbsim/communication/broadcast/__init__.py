"""Broadcast algorithms, one per module; each has ``broadcast(message, fabric) -> Collective``, without times."""
