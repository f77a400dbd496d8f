"""Lines and assemblies of exponential machines with finite buffers, exact by the Markov chain of their states.

Conventions: blocking after service; the first machines never starve and the last is never blocked; a buffer's capacity
counts the places between machines only, and with 0 a finished part goes straight into an idle next machine; failures
come while a machine works (operation dependent), its part stays and the work goes on after repair; an assembler takes
one part from each of its buffers at the same time; a limited crew repairs first what broke first, one worker for each.
Rates per any unit of time. Sources: Hillier & Boling 1967; Gershwin & Berman 1981; Gershwin 1994 ch. 5.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic import chain
from uem.twin_core.production.analytic.checks import (
    Array,
    capacities,
    not_negative,
    positive,
    positive_vector,
    vector,
    whole,
)

STARVED: Final = 0
BUSY: Final = 1
DOWN: Final = 2
BLOCKED: Final = 3
STATES: Final = {"starved": STARVED, "busy": BUSY, "down": DOWN, "blocked": BLOCKED}
MOST_STATES: Final = 40_000

State = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # buffer levels, machine states, the order of repair


def with_state(states: tuple[int, ...], machine: int, state: int) -> tuple[int, ...]:
    """The states of all machines with one changed."""
    return (*states[:machine], state, *states[machine + 1 :])


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialLine:
    """Machines whose parts go through buffers to a last machine.

    Buffer k stands behind machine k and before machine `into[k]`: k + 1 in a line, the default; two buffers into one
    machine make it an assembler. `mu` (machines,) are service rates, `buffers` (machines - 1,) capacities.
    `failure_rate` and `repair_rate` (machines,) are left out for machines that never fail. `repair_workers`: how many
    repair at a time; None means one for each machine.

    Raises:
        InvalidInput: shapes or numbers out of range.
    """

    mu: Sequence[float]
    buffers: Sequence[int]
    into: Sequence[int] | None = None
    failure_rate: Sequence[float] | None = None
    repair_rate: Sequence[float] | None = None
    repair_workers: int | None = None
    _feeders: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        n = len(positive_vector("mu", self.mu))
        if n == 0:
            raise InvalidInput("a line needs at least one machine")
        capacities(self.buffers, n - 1)
        fails = vector("failure_rate", self.failure_rate if self.failure_rate is not None else [0.0] * n, n)
        if (fails < 0).any():
            raise InvalidInput(f"failure_rate = {fails.tolist()} must not be negative")
        if fails.any():
            positive_vector("repair_rate", self.repair_rate if self.repair_rate is not None else [], n)
        if self.repair_workers is not None:
            whole(1, repair_workers=self.repair_workers)
        into = self.destinations
        if len(into) != n - 1 or any(not k < into[k] < n for k in range(n - 1)):
            raise InvalidInput(f"into = {into} must lead from each machine but the last to a later one")
        object.__setattr__(self, "_feeders", tuple(tuple(k for k in range(n - 1) if into[k] == j) for j in range(n)))

    @property
    def machines(self) -> int:
        """How many machines there are."""
        return len(self.mu)

    @property
    def destinations(self) -> tuple[int, ...]:
        """The machine behind each buffer."""
        return tuple(range(1, self.machines)) if self.into is None else tuple(self.into)

    @property
    def reversed(self) -> "ExponentialLine":
        """The same line run backwards, which has the same throughput (Yamazaki & Sakasegawa 1975).

        Raises:
            InvalidInput: it is no line but an assembly.
        """
        if self.destinations != tuple(range(1, self.machines)):
            raise InvalidInput("an assembly cannot be reversed into an assembly")
        turned = [None if v is None else tuple(v)[::-1] for v in (self.failure_rate, self.repair_rate)]
        return ExponentialLine(
            mu=tuple(self.mu)[::-1],
            buffers=tuple(self.buffers)[::-1],
            failure_rate=turned[0],
            repair_rate=turned[1],
            repair_workers=self.repair_workers,
        )

    def settled(self, levels: Sequence[int], states: Sequence[int], queue: tuple[int, ...]) -> State:
        """What is left when every part that can move has moved."""
        level, state = list(levels), list(states)
        moved = True
        while moved:
            moved = False
            for j in range(self.machines - 1, -1, -1):
                if state[j] == BLOCKED and (j == self.machines - 1 or level[j] < self.buffers[j]):
                    if j < self.machines - 1:
                        level[j] += 1
                    state[j] = STARVED
                    moved = True
                feeders = self._feeders[j]
                if state[j] == STARVED and all(level[k] > 0 or state[k] == BLOCKED for k in feeders):
                    for k in feeders:
                        if level[k] > 0:
                            level[k] -= 1
                        else:
                            state[k] = STARVED
                    state[j] = BUSY
                    moved = True
        return tuple(level), tuple(state), queue

    def moves(self, at: State) -> Iterator[tuple[float, State, bool]]:
        """(rate, next state, whether a part leaves the line) of everything that can happen in a state."""
        levels, states, queue = at
        workers = self.repair_workers or self.machines
        for j, state in enumerate(states):
            if state == BUSY:
                done = self.settled(levels, with_state(states, j, BLOCKED), queue)
                yield self.mu[j], done, j == self.machines - 1
                if self.failure_rate is not None and self.failure_rate[j] > 0:
                    down = levels, with_state(states, j, DOWN), self._queue((*queue, j))
                    yield self.failure_rate[j], down, False
            elif state == DOWN and (self.repair_workers is None or j in queue[:workers]):
                assert self.repair_rate is not None
                up = levels, with_state(states, j, BUSY), self._queue(tuple(k for k in queue if k != j))
                yield self.repair_rate[j], up, False

    def _queue(self, queue: tuple[int, ...]) -> tuple[int, ...]:
        """Who is down in the order of breaking, as far as that matters: those under repair have no order."""
        if self.repair_workers is None:
            return ()
        c = self.repair_workers
        return (*sorted(queue[:c]), *queue[c:])


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFigures:
    """Long-run figures. Shares of the time and mean levels have shapes (machines,) and (buffers,).

    `wip_total` counts buffers and the parts on machines, whether they are worked on, broken or blocked.
    """

    throughput: float
    wip_total: float
    buffer_mean: Array
    starved: Array
    busy: Array
    down: Array
    blocked: Array
    states: int

    @property
    def mean_flow_time(self) -> float:
        """Mean time from the start on a first machine to the end on the last (Little's law)."""
        return self.wip_total / self.throughput

    def mean_power(self, *, busy: float, down: float, idle: float) -> float:
        """Mean power of all machines from their powers by state; starved and blocked are idle."""
        return float((busy * self.busy + down * self.down + idle * (self.starved + self.blocked)).sum())


@dataclass(frozen=True, slots=True)
class _StateSpace:
    chain: chain.Chain
    finishes: NDArray[np.bool_]  # by transition
    level: NDArray[np.intp]  # (states, buffers)
    state: NDArray[np.intp]  # (states, machines)


def _explore(line: ExponentialLine, start: State) -> _StateSpace:
    """All states that can follow `start`, which is the first of them."""
    number = {start: 0}
    order = [start]
    source, target, rate, finishes = [], [], [], []
    for i, at in enumerate(order):  # grows while it is walked
        for r, after, finished in line.moves(at):
            j = number.setdefault(after, len(order))
            if j == len(order):
                if j == MOST_STATES:
                    raise InvalidInput(f"the line has more than {MOST_STATES} states; use a decomposition")
                order.append(after)
            source.append(i)
            target.append(j)
            rate.append(r)
            finishes.append(finished)
    n = len(order)
    links = chain.Chain(n, np.array(source, dtype=np.intp), np.array(target, dtype=np.intp), np.array(rate))
    level = np.array([s[0] for s in order], dtype=np.intp).reshape(n, line.machines - 1)
    return _StateSpace(links, np.array(finishes, dtype=bool), level, np.array([s[1] for s in order], dtype=np.intp))


def _empty(line: ExponentialLine) -> State:
    return line.settled([0] * (line.machines - 1), [STARVED] * line.machines, ())


def line_figures(line: ExponentialLine) -> LineFigures:
    """The long-run figures of a line, exact but for rounding.

    Raises:
        InvalidInput: the chain is too large (40,000 states at most, less when no buffer cuts it well).
    """
    space = _explore(line, _empty(line))
    # Parts between two machines, on their way there or there: changes by one part at a time.
    on_the_way = [
        (state_k == BLOCKED).astype(np.intp) + level_k + ((state_to == BUSY) | (state_to == DOWN))
        for state_k, level_k, state_to in (
            (space.state[:, k], space.level[:, k], space.state[:, to]) for k, to in enumerate(line.destinations)
        )
    ]
    p = chain.stationary(space.chain, on_the_way or [np.zeros(space.chain.n, dtype=np.intp)])
    share = {name: p @ (space.state == number) for name, number in STATES.items()}
    buffer_mean = p @ space.level
    on_machines = sum(share[name].sum() for name in ("busy", "down", "blocked"))
    return LineFigures(
        throughput=float(line.mu[-1] * share["busy"][-1]),
        wip_total=float(buffer_mean.sum() + on_machines),
        buffer_mean=buffer_mean,
        states=space.chain.n,
        **share,
    )


@dataclass(frozen=True, slots=True)
class OutputDistribution:
    """How many parts leave the line within a horizon: `probability[n]` for n = 0, 1, 2, ..."""

    probability: Array

    @property
    def mean(self) -> float:
        """Expected number."""
        return float(np.arange(len(self.probability)) @ self.probability)

    @property
    def sd(self) -> float:
        """Standard deviation."""
        deviation = np.arange(len(self.probability)) - self.mean
        return math.sqrt(float(deviation**2 @ self.probability))

    def quantile(self, q: float) -> int:
        """The smallest n with P(N <= n) >= q, for q in (0, 1)."""
        if not 0.0 < q < 1.0:
            raise InvalidInput(f"q = {q} must lie between 0 and 1")
        below = np.cumsum(self.probability)
        return min(int(np.searchsorted(below, q)), len(below) - 1)

    def at_least(self, n: int) -> float:
        """P(N >= n)."""
        return math.fsum(self.probability[max(n, 0) :].tolist())


def output_distribution(
    line: ExponentialLine, horizon: float, machines: Sequence[str], levels: Sequence[int]
) -> OutputDistribution:
    """The distribution of the number of parts finished within `horizon` of a given state.

    `machines` are states by name, `starved`, `busy`, `down` or `blocked`, `levels` those of the buffers. Parts that can
    move move first. Machines that are down count as broken in the order of their numbers if a crew is limited.

    Raises:
        InvalidInput: the state is none of the line, the horizon too long or the chain too large.
    """
    not_negative(horizon=horizon)
    if len(machines) != line.machines or any(name not in STATES for name in machines):
        raise InvalidInput(f"machines = {list(machines)} must be {line.machines} of {', '.join(STATES)}")
    found = capacities(levels, line.machines - 1)
    if any(level > capacity for level, capacity in zip(found, line.buffers, strict=True)):
        raise InvalidInput(f"buffer levels {list(found)} are above the capacities {list(line.buffers)}")
    states = [STATES[name] for name in machines]
    down = tuple(j for j, state in enumerate(states) if state == DOWN)
    if down and line.repair_rate is None:
        raise InvalidInput("a machine is down, but the line has no repair_rate")
    queue = down if line.repair_workers is not None else ()
    space = _explore(line, line.settled(found, states, queue))
    return OutputDistribution(chain.transient_counts(space.chain, space.finishes, 0, horizon))


def two_machine_throughput(buffer: int, mu: float = 1.0) -> float:
    """Two equal exponential machines that never fail: mu (b + 2) / (b + 3). Hillier & Boling 1967."""
    positive(mu=mu)
    whole(0, buffer=buffer)
    return mu * (buffer + 2) / (buffer + 3)
