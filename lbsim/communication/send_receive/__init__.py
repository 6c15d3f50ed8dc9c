"""Send-receive algorithms, one per module; each has ``send_receive(message, fabric) -> Collective``, without times."""
