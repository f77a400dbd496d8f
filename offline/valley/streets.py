"""Streets of a valley and the heat lines in them: a crooked grid along a river, lines to all customers, rings.

Lines follow streets. They begin as a short tree (Takahashi and Matsuyama 1980, Math. Japonica 24: the nearest customer
that is not joined is joined by the shortest way); then ways that cut the longest detours are added until there are as
many rings as wanted. Lengths in m.
"""

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from random import Random

ALONG, ACROSS = 24, 7  # crossings
BLOCK_ALONG_M, BLOCK_ACROSS_M = 330.0, 250.0
JITTER = 0.22  # of a block, by which crossings are off
CLOSED = 0.10  # of the streets: no line may lie there (railway, motorway, private ground)
DETOUR = 1.8  # a ring is worth it where the way along the lines is so many times as long

Way = tuple[int, int]
Position = tuple[float, float]


@dataclass(frozen=True)
class Streets:
    """Crossings, and the length of the street to each neighbour."""

    at: list[Position]
    beside: list[dict[int, float]]


def streets(rng: Random) -> Streets:
    """A grid along a river that winds, with crossings moved and some streets closed; every crossing can be reached."""
    at = []
    for i in range(ALONG):
        for j in range(ACROSS):
            along = BLOCK_ALONG_M * (i + JITTER * rng.uniform(-1.0, 1.0))
            across = BLOCK_ACROSS_M * (j + JITTER * rng.uniform(-1.0, 1.0))
            bend = 420.0 * math.sin(along / 2600.0)
            at.append((across + bend, along))
    beside: list[dict[int, float]] = [{} for _ in at]
    for here in range(len(at)):
        for other in (here + ACROSS, here + 1):
            if other < len(at) and (other == here + ACROSS or other % ACROSS):
                beside[here][other] = beside[other][here] = math.dist(at[here], at[other])
    for a, b in [(one, other) for one in range(len(at)) for other in beside[one] if one < other]:
        length = beside[a][b]
        if rng.random() < CLOSED:
            del beside[a][b], beside[b][a]
            if b not in distances(beside, a):  # the only way there
                beside[a][b] = beside[b][a] = length
    return Streets(at, beside)


def centres(rng: Random) -> list[Position]:
    """Three towns in the valley: shares of its length and width."""
    return [(rng.uniform(0.2, 0.8), share + rng.uniform(-0.06, 0.06)) for share in (0.18, 0.5, 0.82)]


def density(at: Position, towns: Iterable[Position]) -> float:
    """How densely it is built at a place: towns, and some houses between them."""
    length, width = BLOCK_ALONG_M * ALONG, BLOCK_ACROSS_M * ACROSS
    found = 0.12
    for across, along in towns:
        far = math.hypot(at[0] - width * across - 420.0 * math.sin(at[1] / 2600.0), at[1] - length * along)
        found += math.exp(-((far / 900.0) ** 2))
    return found


def lines(grid: Streets, root: int, customers: Iterable[int], rings: int) -> dict[Way, float]:
    """Ways with lines, each with its length: all customers joined to `root`, with `rings` rings."""
    found: dict[Way, float] = {}
    joined, left = {root}, set(customers) - {root}
    while left:
        path = _shortest(grid.beside, joined, left)
        for a, b in pairwise(path):
            found[min(a, b), max(a, b)] = grid.beside[a][b]
        joined.update(path)
        left -= joined
    for _ in range(rings):
        way = _best_ring(grid, found, joined)
        if way is None:
            break
        found[way] = grid.beside[way[0]][way[1]]
    return found


def distances(beside: list[dict[int, float]], root: int) -> dict[int, float]:
    """Length of the shortest way from `root` to every crossing."""
    found: dict[int, float] = {}
    queue = [(0.0, root)]
    while queue:
        far, here = heapq.heappop(queue)
        if here not in found:
            found[here] = far
            for other, length in beside[here].items():
                heapq.heappush(queue, (far + length, other))
    return found


def _shortest(beside: list[dict[int, float]], begins: set[int], ends: set[int]) -> list[int]:
    """The shortest way from one of `begins` to one of `ends`; there is one."""
    came: dict[int, int] = {}
    queue = [(0.0, begin, begin) for begin in sorted(begins)]
    heapq.heapify(queue)
    while queue:
        far, here, before = heapq.heappop(queue)
        if here in came:
            continue
        came[here] = before
        if here in ends:
            path = [here]
            while came[path[-1]] != path[-1]:
                path.append(came[path[-1]])
            return path
        for other, length in beside[here].items():
            if other not in came:
                heapq.heappush(queue, (far + length, other, here))
    return []


def _best_ring(grid: Streets, found: dict[Way, float], joined: set[int]) -> Way | None:
    """The street between two crossings with lines that saves most of the way along the lines."""
    beside: list[dict[int, float]] = [{} for _ in grid.at]
    for (a, b), length in found.items():
        beside[a][b] = beside[b][a] = length
    best, most = None, 0.0
    for a in sorted(joined):
        far = distances(beside, a)
        for b, length in grid.beside[a].items():
            if a < b and b in joined and (a, b) not in found:
                saved = far[b] - length
                if saved > most and far[b] > DETOUR * length:
                    best, most = (a, b), saved
    return best
