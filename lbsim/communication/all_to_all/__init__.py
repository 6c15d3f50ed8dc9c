"""All-to-all algorithms, one per module; each has ``all_to_all(message, fabric) -> Collective``, without times."""
