"""Lines in series on their own fast ways: by the max-plus recursion, and Bernoulli lines slot by slot.

`Tandem` runs a factory that is a line of plain machines several times as fast as the event engine, with the same random
numbers and so the same parts. `bernoulli` is another model: slots, blocking before service (see slotted.pyx).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.production import OUT, Factory, Flow, Law, Machine, flows
from uem.twin_core.production import recursion, slotted
from uem.twin_core.production.compile import stream_keys
from uem.twin_core.production.laws import KINDS, LAW

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TandemLedger:
    """Counts and times of a line within [warmup_s, until_s); shapes (replications, machines)."""

    elapsed_s: float
    made: Counts
    failures: Counts
    starved_s: Array
    busy_s: Array
    blocked_s: Array
    down_s: Array

    @property
    def throughput(self) -> Array:
        """Parts per second that left the line; (replications,)."""
        return np.asarray(self.made[:, -1] / self.elapsed_s)


class Tandem:
    """A line in series: each machine one slot and at most one operation-dependent failure without a crew."""

    def __init__(self, factory: Factory) -> None:
        """InvalidInput if the factory is anything else."""
        self.factory = factory
        machines = factory.machines
        capacities = {buffer.name: buffer.capacity for buffer in factory.buffers}
        places = []
        for k, machine in enumerate(machines):
            before = () if k == 0 else flows(machines[k - 1].gives)
            last = k == len(machines) - 1
            if not _is_plain(machine) or flows(machine.takes) != before or (not last and len(machine.gives) != 1):
                raise InvalidInput(f"machine {machine.name} is not part of a line of plain machines in series")
            name = OUT if last or not machine.gives else flows(machine.gives)[0].buffer
            capacity = None if last else capacities[name]
            places.append(-1 if capacity is None else capacity)
        if any(buffer.initial for buffer in factory.buffers):
            raise InvalidInput(f"factory {factory.name}: the recursion begins with empty buffers")
        if not all(math.isfinite(machine.cycle.mean) for machine in machines):
            raise InvalidInput(f"factory {factory.name}: the recursion needs cycles that end")
        self._places = np.array(places, np.int64)
        self._table: list[float] = []
        self._laws = np.array([self._rows(machine) for machine in machines], LAW)

    def replicate(
        self, count: int, until_s: float, *, warmup_s: float = 0.0, seed: int = 0, first: int = 0
    ) -> TandemLedger:
        """`count` runs from the empty line; the same numbers as `FactoryPlan.replicate` with the same seed."""
        if count < 1 or not 0 <= warmup_s < until_s < math.inf:
            raise InvalidInput(f"factory {self.factory.name}: {count} runs from {warmup_s} s until {until_s} s")
        n = len(self.factory.machines)
        times = np.empty((count, n, len(recursion.TIMES)))
        counts = np.empty((count, n, 2), np.int64)
        keys = stream_keys(self.factory)
        table = np.array(self._table)
        recursion.replicate(self._laws, table, self._places, keys, seed, first, warmup_s, until_s, times, counts)
        by_state = {f"{state}_s": times[:, :, k] for k, state in enumerate(recursion.TIMES)}
        return TandemLedger(elapsed_s=until_s - warmup_s, made=counts[:, :, 0], failures=counts[:, :, 1], **by_state)

    def _rows(self, machine: Machine) -> list[tuple[float, float, float, int, int, int]]:
        failure = machine.failures[0] if machine.failures else None
        laws = (machine.cycle, failure.to_fail if failure else None, failure.to_repair if failure else None)
        return [self._row(law) for law in laws]

    def _row(self, law: Law | None) -> tuple[float, float, float, int, int, int]:
        if law is None:
            return 0.0, 0.0, 0.0, -1, 0, 0
        first = len(self._table)
        self._table.extend(law.table)
        return *law.parameters, KINDS.index(law.kind), law.n, first


def _is_plain(machine: Machine) -> bool:
    """Whether the recursion knows all that the machine does."""
    like = Machine(
        name=machine.name,
        cycle=machine.cycle,
        takes=machine.takes,
        gives=machine.gives,
        failures=machine.failures,
        power_w=machine.power_w,
        take_rule=machine.take_rule,
        give_rule=machine.give_rule,
    )
    simple = all(flow == Flow(buffer=flow.buffer) for flow in flows(machine.takes) + flows(machine.gives))
    plain = [f.kind == "operating" and not f.crews and f.skill is None for f in machine.failures]
    return machine == like and simple and len(plain) <= 1 and all(plain)


@dataclass(frozen=True, slots=True)
class BernoulliLedger:
    """Shares of slots, shapes (replications, machines); `level`: mean at the end of a slot, (replications, buffers)."""

    production_rate: Array  # (replications,)
    blocked: Array
    starved: Array
    level: Array


def bernoulli(
    p: Sequence[float],
    places: Sequence[int],
    *,
    count: int,
    slots: int,
    warmup: int = 1000,
    seed: int = 0,
    first: int = 0,
) -> BernoulliLedger:
    """Run a line of Bernoulli machines `count` times for `slots` cycles after `warmup`.

    Raises:
        InvalidInput: probabilities outside of (0, 1], a buffer without a place, or lists that do not belong together.
    """
    chances, limits = np.asarray(p, np.float64), np.asarray(places, np.int64)
    if len(limits) != len(chances) - 1 or not ((chances > 0) & (chances <= 1)).all() or (limits < 1).any():
        raise InvalidInput(f"Bernoulli line with p {list(p)} and places {list(places)}")
    if count < 1 or slots < 1 or warmup < 0:
        raise InvalidInput(f"{count} runs of {slots} slots after {warmup}")
    counts = np.empty((count, 4, len(chances)), np.int64)
    slotted.replicate(chances, limits, warmup, slots, seed, first, counts)
    shares = counts / slots
    return BernoulliLedger(shares[:, 0, -1], shares[:, 1], shares[:, 2], shares[:, 3, :-1])
