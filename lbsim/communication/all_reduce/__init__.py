"""All-reduce algorithms, one a file; each has ``all_reduce(message, fabric) -> Collective`` and computes no time."""
