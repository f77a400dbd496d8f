"""Markov chains of moderate size: stationary distribution by block elimination, transients by uniformisation.

A chain is given as arrays of the same length: `source`, `target` and `rate` of its transitions (a probability per slot
for a chain in discrete time; where a state leads to itself does not matter).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Blocks of a chain at this limit take half a gigabyte and a quarter of a minute.
MOST_BLOCK_CELLS: Final = 60_000_000


@dataclass(frozen=True, slots=True)
class Chain:
    """Transitions of a chain of `n` states; each field of shape (transitions,)."""

    n: int
    source: Index
    target: Index
    rate: Array


def stationary(chain: Chain, levels: Sequence[Index]) -> Array:
    """The stationary distribution, shape (n,).

    Each of `levels` gives every state a number from 0 that a transition changes by at most one: the level of some
    buffer. The cheapest is taken, which makes the chain block tridiagonal, and the levels are eliminated from the
    highest down (linear level reduction, Gaver, Jacobs & Latouche 1984). Diagonals are set so that rows add up to
    nothing (Grassmann, Taksar & Heyman 1985), so no difference of near numbers is ever taken for them.

    Raises:
        InvalidInput: the blocks would be too large, or some states are never left, so that no one distribution exists.
    """
    level = min(levels, key=lambda numbers: float((np.bincount(numbers).astype(float) ** 3).sum()))
    counts = np.bincount(level)
    if float((counts.astype(float) ** 2).sum()) > MOST_BLOCK_CELLS:
        raise InvalidInput(f"a chain of {chain.n} states is too large to be solved exactly; use a decomposition")
    order = np.argsort(level, kind="stable")
    ends = np.cumsum(counts)
    place = np.empty(chain.n, dtype=np.intp)
    place[order] = np.arange(chain.n) - np.repeat(ends - counts, counts)
    blocks = _Blocks(chain, level, place, counts)
    try:
        parts = _eliminate(blocks, len(counts))
    except np.linalg.LinAlgError:
        raise InvalidInput("the chain has states that it never leaves: no one stationary distribution exists") from None
    found = np.empty(chain.n)
    found[order] = np.concatenate(parts)
    return found


class _Blocks:
    """Dense blocks between levels."""

    def __init__(self, chain: Chain, level: Index, place: Index, counts: Index) -> None:
        self._counts = counts
        self._rows, self._columns, self._rate = place[chain.source], place[chain.target], chain.rate
        moves = chain.source != chain.target
        from_level, step = level[chain.source], level[chain.target] - level[chain.source]
        self._chosen = {
            (k, d): np.flatnonzero(moves & (from_level == k) & (step == d))
            for k in range(len(counts))
            for d in (-1, 0, 1)
        }

    def block(self, k: int, step: int) -> Array:
        """Rates from level k to level k + step."""
        found = np.zeros((self._counts[k], self._counts[k + step]))
        chosen = self._chosen[k, step]
        np.add.at(found, (self._rows[chosen], self._columns[chosen]), self._rate[chosen])
        return found


def _eliminate(blocks: _Blocks, levels: int) -> list[Array]:
    ups: list[Array] = []  # from level k, expected time at the states of level k + 1 per unit of time at k
    carried: Array | None = None
    for k in range(levels - 1, -1, -1):
        within = blocks.block(k, 0)
        if carried is not None:
            within += carried
        np.fill_diagonal(within, 0.0)
        leaving = within.sum(axis=1)
        if k == 0:
            parts = [_stationary_of(within, leaving)]
            break
        down = blocks.block(k, -1)
        negative = -within
        np.fill_diagonal(negative, leaving + down.sum(axis=1))
        up = np.asarray(np.linalg.solve(negative.T, blocks.block(k - 1, 1).T).T, dtype=np.float64)
        ups.append(up)
        carried = up @ down
    for up in reversed(ups):
        parts.append(parts[-1] @ up)
    total = math.fsum(float(part.sum()) for part in parts)
    if not math.isfinite(total):
        raise np.linalg.LinAlgError
    return [part / total for part in parts]


def _stationary_of(rates: Array, leaving: Array) -> Array:
    """Stationary distribution of a small dense chain; one balance equation is replaced by the sum."""
    matrix = rates.T - np.diag(leaving)
    scale = leaving.max(initial=0.0) or 1.0
    matrix = np.vstack([matrix[1:] / scale, np.ones(len(leaving))])
    wanted = np.zeros(len(leaving))
    wanted[-1] = 1.0
    return np.asarray(np.linalg.solve(matrix, wanted), dtype=np.float64)


def transient_counts(chain: Chain, counted: NDArray[np.bool_], start: int, duration: float) -> Array:
    """The distribution of how many `counted` transitions happen within `duration` of a start in state `start`.

    Uniformisation on (state, count) (Jensen 1953): with L the fastest rate out of a state, the number of jumps is
    Poisson of L * duration and the chain of the jumps has the transitions rate / L; the Poisson sum is cut where
    less than 1e-14 is left. Returns the probabilities of 0, 1, 2, ..., which add up to 1 within that.

    Raises:
        InvalidInput: more than 100,000 jumps would have to be followed.
    """
    leaving = np.bincount(chain.source, weights=chain.rate, minlength=chain.n)
    fastest = float(leaving.max(initial=0.0))
    mean = fastest * duration
    jumps = int(mean + 9.0 * math.sqrt(mean) + 30.0)
    if jumps > 100_000:
        raise InvalidInput(f"a horizon of {duration} means {jumps} jumps to follow; 100000 are the most")
    by_target = np.argsort(chain.target, kind="stable")
    source, target = chain.source[by_target], chain.target[by_target]
    weight, steps = chain.rate[by_target] / max(fastest, 1e-300), counted[by_target]
    stay = 1.0 - leaving / max(fastest, 1e-300)
    first = np.flatnonzero(np.diff(target, prepend=-1))
    now = np.zeros((chain.n, jumps + 2))
    now[start, 0] = 1.0
    total = np.zeros(jumps + 2)
    most = 0
    for k in range(jumps + 1):
        log_poisson = k * math.log(mean) - mean - math.lgamma(k + 1) if mean > 0 else (0.0 if k == 0 else -math.inf)
        total[: most + 1] += math.exp(log_poisson) * now[:, : most + 1].sum(axis=0)
        wide = most + 2
        flow = now[source, :wide]
        flow[steps, 1:] = flow[steps, :-1]
        flow[steps, 0] = 0.0
        flow *= weight[:, None]
        following = stay[:, None] * now[:, :wide]
        if len(first):
            following[target[first]] += np.add.reduceat(flow, first, axis=0)
        now[:, :wide] = following
        while most + 1 < wide and now[:, most + 1].sum() > 1e-18:
            most += 1
        now[:, most + 1 : wide] = 0.0
    return np.trim_zeros(total[: most + 1], "b")
