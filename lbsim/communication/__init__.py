"""Communication: collectives, tensor fusion and their times."""
