"""Load of double binary trees on the NICs of a node."""

__all__ = ["node_load"]


def node_load(nodes: int) -> float:
    """Return the messages that the busiest of *nodes* sends in one pass along both trees, each with half of a message.

    Half the edges of both trees that end at one node: on two nodes, one edge of each tree ends at each node, so that a
    pass carries half of the message and a tree exceeds the bus bandwidth of the NICs; on four or more nodes some node
    has three edges in one tree and one in the other. NCCL, ncclGetDtree (src/graph/trees.cc, 2.8.3).

    >>> [node_load(nodes) for nodes in (1, 2, 3, 4, 1024)]
    [0.0, 0.5, 0.75, 1.0, 1.0]
    """
    return min(1.0, nodes / 4) if nodes > 1 else 0.0
