"""Nodes and edges in the order in which water passes them, so that what a step needs one after the other lies together.

It is found before any flow is known: from sources and producers outwards, and behind the customers home to the
producers. Where water goes another way, a step takes longer and its answer is the same.
"""

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.intp]
# What grows along the water: on the way out, how far a node is from where it set out; then how much is left, negative.
Distance = tuple[bool, float]


def along_the_water(
    nodes: int, ends: Numbers, lengths: Sequence[float], outwards: Iterable[int], homewards: Iterable[int]
) -> tuple[Numbers, Numbers]:
    """Numbers of the nodes and of the edges in their new order.

    `ends` (edges, 2). `lengths`: of the first edges; the others join both sides, as customers and producers do.
    `outwards`, `homewards`: nodes where water sets out, and where it comes home.
    """
    beside: list[list[tuple[int, float]]] = [[] for _ in range(nodes)]
    for (start, end), length in zip(ends.tolist(), lengths, strict=False):
        beside[start].append((end, length))
        beside[end].append((start, length))
    far = _distances(beside, outwards, homewards)
    ways = [(a, b) if (far[a], a) <= (far[b], b) else (b, a) for a, b in ends.tolist()]
    return _followed(nodes, ways)


def _distances(
    beside: list[list[tuple[int, float]]], outwards: Iterable[int], homewards: Iterable[int]
) -> list[Distance]:
    """By Dijkstra from all given nodes at once; what none of them reaches counts from one of its own."""
    far: list[Distance | None] = [None] * len(beside)
    near = [(0.0, home, node) for home, some in ((False, outwards), (True, homewards)) for node in some]
    heapify(near)
    for first in range(len(beside) + 1):
        while near:
            distance, home, here = heappop(near)
            if far[here] is None:
                far[here] = (home, -distance if home else distance)
                for other, length in beside[here]:
                    if far[other] is None:
                        heappush(near, (distance + length, home, other))
        if first < len(beside) and far[first] is None:
            near = [(0.0, False, first)]
    return [distance for distance in far if distance is not None]


def _followed(nodes: int, ways: Sequence[tuple[int, int]]) -> tuple[Numbers, Numbers]:
    """Every node after those that its water comes from; of several the last found first, as a step takes them."""
    leaving: list[list[tuple[int, int]]] = [[] for _ in range(nodes)]
    waiting = [0] * nodes
    for edge, (origin, goal) in enumerate(ways):
        leaving[origin].append((edge, goal))
        waiting[goal] += 1
    ready = [node for node in range(nodes) if not waiting[node]]
    order: list[int] = []
    passed: list[int] = []
    while ready:
        order.append(ready.pop())
        for edge, goal in leaving[order[-1]]:
            passed.append(edge)
            waiting[goal] -= 1
            if not waiting[goal]:
                ready.append(goal)
    return np.array(order, dtype=np.intp), np.array(passed, dtype=np.intp)
