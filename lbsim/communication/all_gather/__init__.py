"""All-gather algorithms, one per module; each has ``all_gather(message, fabric) -> Collective``, without times."""
