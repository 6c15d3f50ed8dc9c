"""All-reduce algorithms, one per module; each has ``all_reduce(message, fabric) -> Collective``, without times."""
