"""Synchronous lines, one part per slot and machine: Bernoulli machines and geometric failures, exact by their chains.

Conventions. Bernoulli: a machine is up in each slot with its probability, drawn anew; it works if its buffer held a
part at the beginning of the slot and it is not blocked, which it is (before service) when the next buffer was full and
the next machine does not take a part in this slot. Geometric: an up machine that could work fails with probability `p`,
a down one is repaired with probability `r`, both at the beginning of a slot; then it works if it is up, its buffer held
a part and the next one a free place at the beginning of the slot. First machines never starve, last ones are never
blocked. Sources: Li & Meerkov, Production Systems Engineering, ch. 4; Buzacott 1967; Gershwin & Schick 1983; Gershwin
1994 ch. 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic import chain
from uem.twin_core.production.analytic.checks import Array, capacities, positive_vector, probabilities, whole

MOST_MOVES: Final = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BernoulliFigures:
    """Long-run figures; arrays of shape (machines,) and (buffers,).

    `starved`: up with an empty buffer before it; `blocked`: up with a full one behind it that gives no part away.
    """

    production_rate: float
    buffer_mean: Array
    blocked: Array
    starved: Array


def bernoulli_line(p: ArrayLike, buffers: Sequence[int] | ArrayLike) -> BernoulliFigures:
    """Exact figures of a line of Bernoulli machines: `p` (machines,) in (0, 1], `buffers` (machines - 1,) at least 1.

    Raises:
        InvalidInput: shapes or numbers out of range, or too many states.
    """
    up = probabilities("p", positive_vector("p", p))
    capacity = capacities(buffers, len(up) - 1, least=1)
    _small_enough(math.prod(n + 1 for n in capacity) * 2 ** len(up))
    level = _grid([n + 1 for n in capacity])
    strides = _strides([n + 1 for n in capacity])
    n, k = len(level), len(up)
    full = level == np.array(capacity, dtype=np.intp)
    parts, blocked_given, starved_given = [], np.zeros((n, k)), np.zeros((n, k))
    for pattern in _patterns(k):
        weight = float(np.prod(np.where(pattern, up, 1.0 - up)))
        if weight == 0.0:
            continue
        works = np.zeros((n, k), dtype=bool)
        for j in range(k - 1, -1, -1):
            fed = level[:, j - 1] > 0 if j else np.ones(n, dtype=bool)
            room = ~full[:, j] | works[:, j + 1] if j < k - 1 else np.ones(n, dtype=bool)
            works[:, j] = pattern[j] & fed & room
            starved_given[:, j] += weight * (pattern[j] & ~fed)
            blocked_given[:, j] += weight * (pattern[j] & ~room)
        after = level + works[:, :-1] - works[:, 1:]
        parts.append((np.arange(n), after @ strides, np.full(n, weight)))
    found = chain.stationary(_chain(n, parts), list(level.T) or [np.zeros(n, dtype=np.intp)])
    starved = found @ starved_given
    return BernoulliFigures(
        production_rate=float(up[-1] - starved[-1]),
        buffer_mean=found @ level,
        blocked=found @ blocked_given,
        starved=starved,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFigures:
    """Long-run figures per slot: parts, mean levels (buffers,), and how often each buffer is empty or full."""

    efficiency: float
    buffer_mean: Array
    empty: Array
    full: Array


def transfer_line(p: ArrayLike, r: ArrayLike, buffers: Sequence[int] | ArrayLike) -> TransferFigures:
    """Exact figures of a transfer line: failure and repair probabilities (machines,), levels 0 to `buffers`, each >= 1.

    Raises:
        InvalidInput: shapes or numbers out of range, no machine that ever fails, or too many states.
    """
    fail, repair, capacity = checked_transfer_line(p, r, buffers)
    k = len(fail)
    _small_enough(math.prod(n + 1 for n in capacity) * 4**k)
    sizes = [*(n + 1 for n in capacity), *([2] * k)]
    grid, strides = _grid(sizes), _strides(sizes)
    level, up = grid[:, : k - 1], grid[:, k - 1 :].astype(bool)
    n = len(grid)
    fed = np.hstack([np.ones((n, 1), dtype=bool), level > 0])
    room = np.hstack([level < np.array(capacity, dtype=np.intp), np.ones((n, 1), dtype=bool)])
    able = fed & room
    goes_up = np.where(up, np.where(able, 1.0 - fail, 1.0), repair)  # (states, machines)
    parts = []
    for pattern in _patterns(k):
        weight = np.where(pattern, goes_up, 1.0 - goes_up).prod(axis=1)
        source = np.flatnonzero(weight > 0.0)
        works = pattern & able[source]
        after = np.hstack([level[source] + works[:, :-1] - works[:, 1:], np.tile(pattern, (len(source), 1))])
        parts.append((source, after @ strides, weight[source]))
    found = chain.stationary(_chain(n, parts), list(level.T) or [np.zeros(n, dtype=np.intp)])
    return TransferFigures(
        efficiency=float(found @ (goes_up[:, -1] * able[:, -1])),
        buffer_mean=found @ level,
        empty=found @ ~fed[:, 1:],
        full=found @ ~room[:, :-1],
    )


def checked_transfer_line(p: ArrayLike, r: ArrayLike, buffers: ArrayLike) -> tuple[Array, Array, tuple[int, ...]]:
    """The numbers of a transfer line, or InvalidInput."""
    fail = probabilities("p", p)
    repair = probabilities("r", positive_vector("r", r, len(fail)))
    if not len(fail) or not fail.any() or (fail == 1.0).any():
        raise InvalidInput(f"p = {fail.tolist()} must be below 1, and one machine must be able to fail")
    return fail, repair, capacities(buffers, len(fail) - 1, least=1)


def buzacott_limits(p: ArrayLike, r: ArrayLike) -> tuple[float, float]:
    """Efficiency of a transfer line without buffers, 1 / (1 + sum p / r), and with infinite ones, that of the worst.

    Buzacott 1967. Shapes (machines,).

    Raises:
        InvalidInput: shapes or numbers out of range.
    """
    fail = probabilities("p", p)
    repair = probabilities("r", positive_vector("r", r, len(fail)))
    ratio = fail / repair
    return float(1.0 / (1.0 + ratio.sum())), float((1.0 / (1.0 + ratio)).min())


@dataclass(frozen=True, slots=True)
class TwoMachines:
    """Long-run figures of two machines and one buffer."""

    efficiency: float
    buffer_mean: float
    empty: float
    full: float


def two_machine_transfer(p: ArrayLike, r: ArrayLike, buffer: int) -> TwoMachines:
    """Two machines with geometric failures in closed form: interior C X^n Y1^a1 Y2^a2, Gershwin & Schick 1983.

    As `transfer_line`, in a time that does not depend on the buffer's size. Both machines must be able to fail; below a
    buffer of 4 the closed form has no interior and the chain is solved.

    Raises:
        InvalidInput: numbers out of range.
    """
    (p1, p2), (r1, r2), (n,) = checked_transfer_line(p, r, [buffer])
    u1, u2 = r1 + r2 - r1 * r2 - r1 * p2, r1 + r2 - r1 * r2 - p1 * r2
    v1, v2 = p1 + p2 - p1 * p2 - p1 * r2, p1 + p2 - p1 * p2 - r1 * p2
    if n < 4 or min(p1, p2, u1, u2, v1, v2) <= 0.0:
        found = transfer_line([p1, p2], [r1, r2], [n])
        return TwoMachines(found.efficiency, *(float(v[0]) for v in (found.buffer_mean, found.empty, found.full)))
    y1, y2 = u1 / v1, u2 / v2
    log_x = math.log(y2) - math.log(y1)
    level = np.arange(n + 1)
    # Powers of X relative to the largest, so that neither end overflows.
    power = np.exp(level * log_x - max(log_x, (n - 1) * log_x))
    mass = power * (1.0 + y1) * (1.0 + y2)
    mass[0] = power[1] * u1 / (r1 * p2)
    mass[1] = power[1] * (1.0 + y2 + u1 / (p2 * v2))
    mass[n - 1] = power[n - 1] * (1.0 + y1 + u2 / (p1 * v1))
    mass[n] = power[n - 1] * u2 / (p1 * r2)
    mass /= mass.sum()
    empty, full = float(mass[0]), float(mass[n])
    return TwoMachines((1.0 - empty) * r2 / (r2 + p2), float(level @ mass), empty, full)


def _small_enough(moves: int) -> None:
    if moves > MOST_MOVES:
        raise InvalidInput("the line has too many states to be solved exactly; use a decomposition")


def _grid(sizes: Sequence[int]) -> NDArray[np.intp]:
    """All combinations of numbers below `sizes`, shape (combinations, sizes)."""
    if not sizes:
        return np.zeros((1, 0), dtype=np.intp)
    return np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)


def _strides(sizes: Sequence[int]) -> NDArray[np.intp]:
    return np.array([math.prod(sizes[k + 1 :]) for k in range(len(sizes))], dtype=np.intp)


def _patterns(machines: int) -> NDArray[np.bool_]:
    return _grid([2] * machines).astype(bool)


def _chain(n: int, parts: list[tuple[NDArray[np.intp], NDArray[np.intp], Array]]) -> chain.Chain:
    source, target, rate = (np.concatenate(column) for column in zip(*parts, strict=True))
    return chain.Chain(n, source, target, rate)


def bernoulli_two_machine_rate(p1: float, p2: float, buffer: int) -> float:
    """Production rate of two Bernoulli machines in closed form, p2 (1 - P(empty)). Li & Meerkov ch. 4."""
    probabilities("p", positive_vector("p", [p1, p2]))
    whole(1, buffer=buffer)
    return p2 * (1.0 - bernoulli_empty(p1, p2, int(buffer)))


def bernoulli_empty(p1: float, p2: float, buffer: int) -> float:
    """How often the buffer between two Bernoulli machines is empty (the function Q of Li & Meerkov)."""
    if p1 == 1.0:
        return 0.0
    weight = np.zeros(buffer + 1)  # logarithms, of a birth-death process
    if p2 == 1.0:
        # a part that is there is taken in every slot: level 0 or 1 only
        return 1.0 - p1
    ratio = math.log(p1) + math.log1p(-p2) - math.log(p2) - math.log1p(-p1)
    weight[1:] = math.log(p1) - math.log(p2) - math.log1p(-p1) + ratio * np.arange(buffer)
    weight -= weight.max()
    return float(np.exp(weight[0]) / np.exp(weight).sum())
