"""Direct send-receive: each GPU sends to the next GPU and receives from the previous one."""

from lbsim.communication.collective import Collective, Pattern, Phase, running
from lbsim.communication.fabric import Fabric

__all__ = ["send_receive"]


def send_receive(message: float, fabric: Fabric) -> Collective:
    """Return a shift by one GPU of *message* bytes in node order, as in sendrecv_perf of nccl-tests: one step.

    One message leaves each node, and the slowest link determines the time. Two GPUs exchange their messages.
    """
    gpus = fabric.gpus
    steps, ring = min(gpus - 1, 1), Pattern("ring", gpus)
    shift = Phase("send and receive", steps, message, fabric.links(gpus), passes=2, pattern=ring)
    return Collective("direct", message, running((shift,)), operation="send_receive")
