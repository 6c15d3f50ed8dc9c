"""Communication trees: a chain, and NCCL's two complementary binary trees."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tree", "chain", "double_binary"]


@dataclass(frozen=True)
class Tree:
    """Rooted tree of the members 0, 1, ..."""

    parent: NDArray[np.intp]
    """Parent of each member; the root is its own parent."""
    levels: tuple[NDArray[np.intp], ...]
    """Members at each distance from the root, starting with the root."""

    @property
    def depth(self) -> int:
        """Hops from the root to the farthest member."""
        return len(self.levels) - 1

    @classmethod
    def of(cls, parent: NDArray[np.intp]) -> "Tree":
        """Return the tree with the given *parent* of each member."""
        distance = np.zeros(len(parent), dtype=np.intp)
        ancestor = np.arange(len(parent))
        while (higher := parent[ancestor]).tolist() != ancestor.tolist():
            distance += higher != ancestor
            ancestor = higher
        return cls(parent, tuple(np.flatnonzero(distance == level) for level in range(int(distance.max()) + 1)))


@lru_cache(maxsize=64)
def chain(members: int) -> Tree:
    """Return the tree in which the parent of each member is the previous member."""
    return Tree.of(np.maximum(np.arange(members) - 1, 0))


@lru_cache(maxsize=64)
def double_binary(members: int) -> tuple[Tree, Tree]:
    """Return two binary trees; the second is the first mirrored, or shifted by one if *members* is odd.

    As NCCL's ncclGetBtree and ncclGetDtree build them (src/graph/trees.cc, 2.8.3).

    >>> [tree.parent.tolist() for tree in double_binary(4)]
    [[0, 2, 0, 2], [1, 3, 1, 3]]
    """
    first = np.array([_parent(member, members) for member in range(members)])
    ranks = np.arange(members)
    other = members - 1 - ranks if members % 2 == 0 else (ranks - 1) % members
    back = np.empty_like(other)
    back[other] = ranks
    return Tree.of(first), Tree.of(back[first[other]])


def _parent(member: int, members: int) -> int:
    """Return the parent of *member*: the lowest set bit moves up by one, or is cleared if there is no such member."""
    lowest = member & -member
    up = (member ^ lowest) | (lowest << 1)
    return up if 0 < up < members else member ^ lowest
