"""Runs of a factory: `FactoryPlan` compiles it once, `FactoryRun` is its state, a `Ledger` what happened.

    plan = FactoryPlan(factory)
    run = plan.initial_run(seed=1)           # all empty, all in order; plan.inject(...) sets another state
    plan.run(run, 3600.0)                    # up to that moment; the events before it have happened
    later = plan.copy(run)                   # a fork: runs on bit by bit like the original
    found = plan.ledger(run)                 # counts, time in state, energy since the ledger began
    many = plan.replicate(1000, 7200.0, start=run)   # 1,000 futures of `run` until 7,200 s

`replicate` releases the GIL. For several threads give it the `map` of an executor: the results are the same, bit by
bit, on any number of threads.
"""

import math
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput, ModelFailure, UnknownName
from uem.twin_core.plant.production import Factory
from uem.twin_core.production import engine, furnace, heating
from uem.twin_core.production.compile import Compiler, layout_digest, stream_keys

Array = NDArray[np.float64]
STATES = engine.STATES
_BUSY = STATES.index("busy")
_MAGIC = b"UPF3"
MOST_LEVEL = 2**31 - 1  # parts that a buffer without a capacity can be said to hold
_CHUNK_BYTES = 1 << 25  # of blocks at the edges of a series
_HEADER = struct.Struct("<4sQI8s")


class Map(Protocol):
    """The builtin `map`, or that of a `ThreadPoolExecutor`."""

    def __call__(self, work: Callable[[Any], Any], items: Iterable[Any], /) -> Iterable[Any]:
        """Results of `work` for each item, in order."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Flawed parts by the machine that made them flawed, since the ledger began; shapes (n, machines).

    All that were made flawed have been found, have escaped, have gone or are still in the factory.
    """

    flawed: NDArray[np.int64]
    found: NDArray[np.int64]  # taken out because of an inspection
    escaped: NDArray[np.int64]  # left the factory
    gone: NDArray[np.int64]  # thrown away for another reason, or in an assembly that counts as flawed already
    until_known_s: Array  # mean time from flaw to result (0: that came first), of those found; NaN if none
    false_alarms: NDArray[np.int64]  # sound parts taken out, by the machine that inspected them
    refused: NDArray[np.int64]  # parts that a machine took out before it worked on them, by that machine


@dataclass(frozen=True, slots=True)
class Spent:
    """Energy of a run since its ledger began; the electricity of heated furnaces is in `energy_j` too."""

    energy_j: Array  # electricity by machine and state; (machines, states)
    furnaces: furnace.FurnaceLedger  # of one replication

    @property
    def used_j(self) -> float:
        """Electricity and fuel of all machines."""
        return float(self.energy_j.sum() + self.furnaces.fuel_j.sum())


@dataclass(frozen=True, slots=True)
class Ledger:
    """What happened since the ledger began, one row per replication (or one row for one run).

    Shapes: (n,) for elapsed; (n, machines) for counts; (n, buffers) for levels; (n, machines, states) for `time_s` and
    `energy_j`, states in the order of `STATES`. The slots of a machine are added up, so its times sum to
    `slots * elapsed_s`.
    """

    machines: tuple[str, ...]
    buffers: tuple[str, ...]
    elapsed_s: Array
    made: NDArray[np.int64]  # finished parts, scrap included
    scrapped: NDArray[np.int64]
    lost: NDArray[np.int64]
    delivered: NDArray[np.int64]  # parts that left the factory from this machine
    failures: NDArray[np.int64]
    maintained: NDArray[np.int64]  # preventive jobs that were begun
    time_s: Array
    energy_j: Array
    level: Array  # mean over the time
    level_now: NDArray[np.int64]
    level_most: NDArray[np.int64]
    entered: NDArray[np.int64]  # parts that came into the buffer
    passed: NDArray[np.int64]  # of them those that did not wait at all
    events: NDArray[np.int64]
    orders: tuple[str, ...]
    order_finished_s: Array  # moment at which the last part was delivered (or thrown away); inf: not yet; (n, orders)
    order_energy_j: Array  # electric energy of the machines at work on it, since time 0; (n, orders)
    aged: NDArray[np.int64]  # parts thrown away because they waited too long; (n, buffers)
    flow_s: Array  # mean time from birth to delivery of the parts delivered, NaN where they are not followed; (n,)
    quality: Quality
    furnaces: furnace.FurnaceLedger  # heat of the furnaces; the electricity of their heating is in `energy_j` too

    @property
    def throughput(self) -> Array:
        """Parts per second finished by each machine, scrap included; (n, machines)."""
        return np.asarray(self.made / self.elapsed_s[:, None])

    @property
    def output(self) -> NDArray[np.int64]:
        """Parts that left the factory; (n,)."""
        return np.asarray(self.delivered.sum(axis=1))

    @property
    def power_w(self) -> Array:
        """Mean power of the factory; (n,)."""
        return np.asarray(self.energy_j.sum(axis=(1, 2)) / self.elapsed_s)

    def share(self, state: str) -> Array:
        """Mean number of slots of each machine in a state (for one slot: the fraction of time); (n, machines)."""
        return np.asarray(self.time_s[:, :, STATES.index(state)] / self.elapsed_s[:, None])


@dataclass(frozen=True, slots=True)
class Series:
    """Parts and energy in bins of time, one row per replication; energy of a bin is its exact integral.

    Shapes: (bins + 1,) for `edges_s`; (n, bins) for `output`, parts that left the factory; (n, bins, sinks) for
    `energy_j`; (n, bins, furnaces) for `flue_j` and `fuel_j`, exhaust above the hall's temperature and fuel used;
    (n, bins, furnaces, levels) for `flue_above_j`, that above each of the furnace's `levels_k`.
    """

    edges_s: Array
    output: NDArray[np.int64]
    energy_j: Array
    fuel_j: Array
    flue_j: Array
    flue_above_j: Array


class FactoryRun:
    """The state of a factory: one block of bytes."""

    __slots__ = ("_see", "_view", "block")

    def __init__(self, block: NDArray[np.uint8], see: Callable[[NDArray[np.uint8]], dict[str, NDArray[Any]]]) -> None:
        self.block = block
        self._see = see
        self._view: dict[str, NDArray[Any]] | None = None

    @property
    def view(self) -> dict[str, NDArray[Any]]:
        """Its fields as arrays (see engine.pyx); most copies are only kept to be gone back to and make none."""
        if self._view is None:
            self._view = self._see(self.block)
        return self._view

    @property
    def now_s(self) -> float:
        """The moment it stands at."""
        return float(self.view["head"]["now"][0])


class FactoryPlan:
    """A factory compiled for the engine; constant, and shared by all its runs and threads."""

    def __init__(self, factory: Factory) -> None:
        self.factory = factory
        self.machines = tuple(machine.name for machine in factory.machines)
        self.buffers = tuple(buffer.name for buffer in factory.buffers)
        self._owner = np.repeat(np.arange(len(factory.machines)), [m.slots for m in factory.machines])
        self._first = np.searchsorted(self._owner, np.arange(len(factory.machines)))
        # By machine and state, (machines, states); the heating of furnaces is not in it.
        self.power_w = np.array([[m.power_w.get(state, 0.0) for state in STATES] for m in factory.machines])
        for machine in factory.machines:
            for state in machine.power_w:
                if state not in STATES:
                    raise UnknownName("state", state, STATES)
        self._furnaces = tuple((m.name, m.furnace) for m in factory.machines if m.furnace is not None)
        self._furnace_names = tuple(name for name, _ in self._furnaces)
        compiled = Compiler(factory)
        self._mode_first = [int(server["mode_first"]) for server in compiled.servers]
        self._maintains = compiled.maintains()
        self._engine = engine.Engine(
            compiled.arrays(), stream_keys(factory), len(factory.products), factory.parts_followed
        )

    # ---- runs ----

    def initial_run(self, seed: int = 0, replication: int = 0) -> FactoryRun:
        """A run that begins at 0 s: machines empty and in order, buffers as full as `initial` says."""
        block = self._engine.empty()
        run = FactoryRun(block, self._engine.view)
        run.view["buffer"]["capacity"] = [
            engine.UNLIMITED if b.capacity is None else b.capacity for b in self.factory.buffers
        ]
        for b, buffer in enumerate(self.factory.buffers):
            self._engine.set_level(block, b, buffer.initial)
        for f, (_, built) in enumerate(self._furnaces):
            self._engine.set_temperatures(block, f, *furnace.initial_excess_k(built))
        self._engine.seed(block, seed, replication)
        return run

    def copy(self, run: FactoryRun) -> FactoryRun:
        """A fork: independent, and bit by bit the same from here on."""
        block = self._engine.blocks(1)[0]
        block[:] = run.block
        return FactoryRun(block, self._engine.view)

    def restore(self, run: FactoryRun, snapshot: NDArray[np.uint8]) -> None:
        """Put back what `run.block.copy()` kept."""
        run.block[:] = snapshot

    def run(self, run: FactoryRun, until_s: float) -> None:
        """Handle every event before `until_s`; an interrupt (Ctrl-C) stops it between two of them.

        Raises:
            InvalidInput: `until_s` is not finite or before the run's moment.
            ModelFailure: an endless chain of events at one moment.
        """
        if not run.now_s <= until_s < math.inf:
            raise InvalidInput(f"factory {self.factory.name}: from {run.now_s} s until {until_s} s")
        self._raise(self._engine.run(run.block, until_s))

    def clear_ledger(self, run: FactoryRun) -> None:
        """Counts, times and energies begin anew at the run's moment."""
        self._engine.clear_ledger(run.block)

    def ledger(self, run: FactoryRun) -> Ledger:
        """What happened in `run` since its ledger began; arrays with one row."""
        return self._ledger(run.block[None, :])

    def spent(self, run: FactoryRun) -> Spent:
        """The energy of its ledger alone, exact up to the run's moment; reading it changes nothing."""
        _, energy_j, furnaces = self._spent(run.block[None, :])
        return Spent(np.asarray(energy_j[0]), furnaces)

    def temperatures_k(self, run: FactoryRun, machine: str) -> Array:
        """Of chamber, lining and load of a furnace at the run's moment, (3,); UnknownName."""
        f = self._index("furnace", machine, self._furnace_names)
        read = self._engine.furnaces(run.block[None, :])[0, f, heating.AT["temperature"]]
        return np.asarray(read + self._furnaces[f][1].hall_k)

    def position_s(self, run: FactoryRun, machine: str) -> float:
        """How far the recipe of a furnace is, doors included; UnknownName."""
        return float(run.view["furnace"]["position"][self._index("furnace", machine, self._furnace_names)])

    def lead_on(self, run: FactoryRun, machine: str) -> None:
        """A ramp that was entered midway by `inject` goes on from where the chamber is; UnknownName.

        A ramp leads from where the chamber is when it begins: without this to where one that began there would be now.
        """
        f = self._index("furnace", machine, self._furnace_names)
        state, began_s = run.view["furnace"][f], 0.0
        product = self.factory.products[state["recipe"]]
        for target_k, until_s, kind, _ in furnace.segment_rows(self._furnaces[f][1], product):
            if state["position"] < until_s:
                if kind == heating.KINDS["ramp"]:
                    left = (until_s - state["position"]) / (until_s - began_s)
                    state["origin"] = target_k - (target_k - state["x"][0]) / left
                break
            began_s = until_s
        # What the controller made of the ramp as it was entered is begun anew.
        self.inject(run, temperatures_k={machine: self.temperatures_k(run, machine).tolist()})

    @overload
    def replicate(
        self,
        count: int,
        until_s: float,
        *,
        start: FactoryRun | None = None,
        warmup_s: float = 0.0,
        seed: int = 0,
        first: int = 0,
        workers: Map = map,
        slices: int = 1,
    ) -> Ledger: ...

    @overload
    def replicate(
        self,
        count: int,
        until_s: Sequence[float],
        *,
        start: FactoryRun | None = None,
        warmup_s: float = 0.0,
        seed: int = 0,
        first: int = 0,
        workers: Map = map,
        slices: int = 1,
    ) -> tuple[Ledger, ...]: ...

    def replicate(
        self,
        count: int,
        until_s: float | Sequence[float],
        *,
        start: FactoryRun | None = None,
        warmup_s: float = 0.0,
        seed: int = 0,
        first: int = 0,
        workers: Map = map,
        slices: int = 1,
    ) -> Ledger | tuple[Ledger, ...]:
        """`count` independent futures of `start` (default: the initial run) until `until_s`.

        Args:
            count: replications; each has random streams of its own, by (seed, first + its number, machine).
            until_s: the moment until which each runs; with several, rising ones, the ledger at each of them.
            start: copied; times in it that are NaN (unknown) are drawn by each replication.
            warmup_s: the ledger begins anew at this moment.
            seed: the same seed gives the same numbers; two factories with the same seed and machine names see the
                same random numbers (common random numbers for a what-if).
            first: number of the first replication.
            workers: `map`, or the `map` of a ThreadPoolExecutor to use its threads on `slices` parts of the work.
            slices: into how many parts to cut the work.

        Returns:
            Ledger with one row per replication; a tuple of them when `until_s` is a sequence.
        """
        ends = np.atleast_1d(np.asarray(until_s, np.float64))
        blocks = self._replicated(count, ends, start, warmup_s, seed, first, workers, slices)
        found = tuple(self._ledger(blocks[k :: len(ends)]) for k in range(len(ends)))
        return found if np.ndim(until_s) else found[0]

    def chunks(
        self,
        count: int,
        ends_s: Sequence[float],
        *,
        start: FactoryRun | None = None,
        seed: int = 0,
        workers: Map = map,
        slices: int = 1,
    ) -> Iterator[Ledger]:
        """Like `replicate` at several rising ends, some replications after the others, in bounded memory.

        Each ledger has a row for each end of its first replication, then for each of its second, and so on.
        """
        ends = np.asarray(ends_s, np.float64)
        most = max(1, _CHUNK_BYTES // (len(ends) * self._engine.size))
        for low in range(0, count, most):
            n = min(most, count - low)
            yield self._ledger(self._replicated(n, ends, start, 0.0, seed, low, workers, slices))

    def _replicated(
        self,
        count: int,
        ends: Array,
        start: FactoryRun | None,
        warmup_s: float,
        seed: int,
        first: int,
        workers: Map,
        slices: int,
    ) -> NDArray[np.uint8]:
        """The blocks of each replication at each end, (count * ends, size)."""
        run = self.initial_run() if start is None else start
        begin = max(run.now_s, warmup_s)
        if count < 1 or not (np.isfinite(ends).all() and (np.diff(ends, prepend=begin) >= 0).all()):
            until_s = ends[0] if len(ends) == 1 else ends.tolist()
            raise InvalidInput(f"factory {self.factory.name}: {count} replications from {begin} s until {until_s} s")
        blocks = self._engine.blocks(count * len(ends))
        base = run.block.copy()
        if warmup_s <= run.now_s:
            self._engine.clear_ledger(base)

        def work(bounds: tuple[int, int]) -> int:
            low, high = bounds
            part = blocks[low * len(ends) : high * len(ends)]
            return self._engine.replicate(base, seed, first + low, warmup_s, ends, part, True)

        edges = np.linspace(0, count, min(slices, count) + 1).astype(int)
        self._raise(max(list(workers(work, list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))))))
        return blocks

    def series(
        self,
        count: int,
        edges_s: Sequence[float],
        *,
        start: FactoryRun | None = None,
        shares: Array | None = None,
        seed: int = 0,
        workers: Map = map,
        slices: int = 1,
    ) -> Series:
        """Like `replicate`, in bins between rising `edges_s`, the first of which is not before `start`.

        `shares`, (states, sinks), says which part of the energy of a state goes to which sink: temperature levels of
        waste heat, say. Without it there is one sink, electricity.
        """
        edges = np.asarray(edges_s, np.float64)
        split = np.ones((len(STATES), 1)) if shares is None else np.asarray(shares, np.float64)
        if edges.ndim != 1 or len(edges) < 2 or split.shape[0] != len(STATES):
            raise InvalidInput(f"factory {self.factory.name}: edges {edges.shape} and shares {split.shape} of a series")
        found: list[tuple[NDArray[Any], ...]] = []
        for ledger in self.chunks(count, edges.tolist(), start=start, seed=seed, workers=workers, slices=slices):
            totals = (
                ledger.output,
                ledger.energy_j.sum(axis=1) @ split,
                ledger.furnaces.fuel_j,
                ledger.furnaces.flue_j,
                ledger.furnaces.flue_above_j,
            )
            found.append(
                tuple(
                    np.diff(total.reshape(len(total) // len(edges), len(edges), *total.shape[1:]), axis=1)
                    for total in totals
                )
            )
        return Series(edges, *(np.concatenate(chunks) for chunks in zip(*found, strict=True)))

    # ---- states from outside ----

    def forget(self, run: FactoryRun) -> None:
        """Make unknown what nobody sees in a plant: when machines will fail, how long repairs and random cycles last.

        A forecast draws them anew as if they began now, which is exact for exponential times.
        """
        view, servers = run.view, len(self._owner)
        server = view["server"][:servers]
        random = np.array([machine.cycle.kind != "deterministic" for machine in self.factory.machines])[self._owner]
        view["mode_due"][:] = np.nan
        server["left"][random & (server["phase"] == engine.PHASES["work"])] = np.nan
        repaired = np.isin(server["shown"], [STATES.index("down"), STATES.index("maintenance")])
        server["until"][repaired] = np.nan
        view["head"]["awake"] = 0

    def inject(
        self,
        run: FactoryRun,
        *,
        levels: Mapping[str, int] | None = None,
        machines: Mapping[str, str] | None = None,
        left_s: Mapping[str, float] | None = None,
        parts: Mapping[str, int] | None = None,
        temperatures_k: Mapping[str, Sequence[float]] | None = None,
        stages: Mapping[str, int] | None = None,
    ) -> None:
        """Set what is known of the plant at the run's moment; what is not told stays as it is.

        Args:
            run: changed in place.
            levels: parts by buffer.
            machines: state by machine (every slot of it): "starved", "busy", "blocked" or "down". A machine that is
                down holds the part that it worked on, as operation-dependent failures leave it.
            left_s: seconds left of the cycle (busy) or of the repair (down) by machine; drawn anew where not told.
            parts: of the batch on a machine that is busy, blocked or down; where not told, as many as before, or one.
            temperatures_k: of chamber, lining and load by furnace. A batch that a furnace is told to be busy with comes
                in as cold as `brought_k` unless its temperature is told.
            stages: how far the first degradation of a machine (every slot of it) has come; the rest of the stage is
                drawn anew.
        """
        for name, level in (levels or {}).items():
            b = self._index("buffer", name, self.buffers)
            capacity = self.factory.buffers[b].capacity
            if not 0 <= level <= (MOST_LEVEL if capacity is None else capacity):
                raise InvalidInput(f"buffer {name}: {level:g} parts, capacity {capacity}")
            self._engine.set_level(run.block, b, level)
        for name, state in (machines or {}).items():
            m = self._index("machine", name, self.machines)
            left = (left_s or {}).get(name, math.nan)
            if state not in ("starved", "busy", "blocked", "down"):
                raise InvalidInput(f"machine {name}: state {state!r} is none of starved, busy, blocked, down")
            if state == "down" and not (self.factory.machines[m].failures or self.factory.machines[m].degradations):
                raise InvalidInput(f"machine {name} has no failures, so it cannot be down")
            batch, most = (parts or {}).get(name, 0), self.factory.machines[m].batch[1]
            if not 0 <= batch <= most:
                raise InvalidInput(f"machine {name}: a batch of {batch} parts; it takes at most {most}")
            for s in np.flatnonzero(self._owner == m).tolist():
                self._engine.set_state(run.block, s, state, left, batch)
        for name, stage in (stages or {}).items():
            self._set_stage(run, name, stage)
        for name, found_k in (temperatures_k or {}).items():
            f = self._index("furnace", name, self._furnace_names)
            if len(found_k) != 3 or not all(0 < t < math.inf for t in found_k):
                raise InvalidInput(f"furnace {name}: temperatures {found_k} of chamber, lining and load in K")
            hall_k = self._furnaces[f][1].hall_k
            self._engine.set_temperatures(run.block, f, *(t - hall_k for t in found_k))

    def _set_stage(self, run: FactoryRun, name: str, stage: int) -> None:
        m = self._index("machine", name, self.machines)
        machine = self.factory.machines[m]
        most = len(machine.degradations[0].stages) if machine.degradations else 0
        if not 0 <= stage < most:
            raise InvalidInput(f"machine {name}: stage {stage} of wear; it has {most} stages")
        for s in np.flatnonzero(self._owner == m).tolist():
            worn = self._mode_first[s] + len(machine.failures)
            run.view["mode"]["stage"][worn] = stage
            run.view["mode_due"][worn] = np.nan
        run.view["head"]["awake"] = 0

    def stop(self, run: FactoryRun, machine: str, failure: int) -> None:
        """A machine fails now, in every slot, by that failure of its list, which must be one of kind `calendar`.

        A slot that is down already fails so as soon as it is repaired.
        """
        for mode, s in self._modes(machine, failure):
            down = run.view["server"]["mode"][s] >= 0  # then clocks of failures stand still and hold what is left
            run.view["mode_due"][mode] = 0.0 if down else run.now_s
        run.view["head"]["awake"] = 0

    def resume(self, run: FactoryRun, machine: str, failure: int) -> None:
        """What `stop` stopped goes on where it was; nothing where it did not."""
        for mode, s in self._modes(machine, failure):
            if run.view["server"]["mode"][s] == mode:
                run.view["server"]["until"][s] = run.now_s
            else:
                run.view["mode_due"][mode] = math.inf
        run.view["head"]["awake"] = 0

    def _modes(self, machine: str, failure: int) -> Iterable[tuple[int, int]]:
        """(mode, server) of a failure in every slot of a machine."""
        m = self._index("machine", machine, self.machines)
        failures = self.factory.machines[m].failures
        if not (0 <= failure < len(failures) and failures[failure].kind == "calendar"):
            raise InvalidInput(f"machine {machine} has no failure {failure} of kind 'calendar'")
        return [(self._mode_first[s] + failure, s) for s in np.flatnonzero(self._owner == m).tolist()]

    def set_limit(self, run: FactoryRun, utility: str, limit: float) -> None:
        """What a utility can give from now on; if it is too little, machines stop, the last one of the list first.

        Raises:
            InvalidInput: `limit` is negative or NaN.
            UnknownName: there is no such utility.
        """
        if not limit >= 0:
            raise InvalidInput(f"utility {utility}: limit {limit} must not be negative")
        u = self._index("utility", utility, tuple(utility.name for utility in self.factory.utilities))
        self._engine.set_limit(run.block, u, limit)

    # ---- bytes ----

    def to_bytes(self, run: FactoryRun) -> bytes:
        """The state as bytes; `from_bytes` turns them back bit by bit."""
        content = run.block.tobytes()
        return _HEADER.pack(_MAGIC, len(content), zlib.crc32(content), layout_digest(self.factory)) + content

    def from_bytes(self, data: bytes) -> FactoryRun:
        """The run that `to_bytes` wrote; InvalidInput if it is damaged or of another factory.

        One whose times, powers and limits alone are others is none: its state fits.
        """
        name = self.factory.name
        if len(data) < _HEADER.size or data[:4] != _MAGIC:
            raise InvalidInput(f"factory {name}: these bytes are not the state of a factory")
        _, size, checksum, layout = _HEADER.unpack_from(data)
        content = data[_HEADER.size :]
        whole = size == len(content) and zlib.crc32(content) == checksum
        if not whole or size != self._engine.size or layout != layout_digest(self.factory):
            raise InvalidInput(f"factory {name}: the saved state is damaged or of another factory")
        block = np.frombuffer(content, np.uint8).copy()
        return FactoryRun(block, self._engine.view)

    # ---- inside ----

    def _index(self, kind: str, name: str, names: tuple[str, ...]) -> int:
        if name not in names:
            raise UnknownName(kind, name, names)
        return names.index(name)

    def _raise(self, fault: int) -> None:
        if fault & 4:
            raise ModelFailure(f"factory {self.factory.name}: a part's next step is none of the outputs of its machine")
        if fault & 2:
            room = self.factory.parts_followed
            raise ModelFailure(f"factory {self.factory.name}: more than {room} parts at once; give it more `room`")
        if fault:
            raise ModelFailure(f"factory {self.factory.name}: events at one moment without end; a cycle time of 0?")

    def _field(self, blocks: NDArray[np.uint8], name: str) -> NDArray[Any]:
        """A field of every block; shape (n, ...)."""
        at, dtype, shape = self._engine.fields[name]
        size = math.prod(shape) * dtype.itemsize
        return np.ascontiguousarray(blocks[:, at : at + size]).view(dtype).reshape(len(blocks), *shape)

    def _by_machine(self, values: NDArray[Any]) -> NDArray[Any]:
        """Slots added up."""
        return np.asarray(np.add.reduceat(values, self._first, axis=1))

    def _quality(self, blocks: NDArray[np.uint8]) -> Quality:
        found = self._field(blocks, "quality")
        if not self.factory.has_quality:
            found = np.zeros((len(blocks), len(self._owner)), found.dtype)
        names = ("flawed", "found", "escaped", "gone", "alarms", "refused", "until_known")
        by_name = {name: self._by_machine(found[name]) for name in names}
        with np.errstate(invalid="ignore"):
            until_known_s = by_name.pop("until_known") / by_name["found"]
        return Quality(until_known_s=until_known_s, false_alarms=by_name.pop("alarms"), **by_name)

    def _spent(self, blocks: NDArray[np.uint8]) -> tuple[Array, Array, furnace.FurnaceLedger]:
        """Time and energy by state, (n, machines, states), and the furnaces, whose electricity is in the energy."""
        server = self._field(blocks, "server")[:, : len(self._owner)]
        spent = self._field(blocks, "spent").copy()
        rows, slots = np.arange(len(server))[:, None], np.arange(len(self._owner))
        spent[rows, slots, server["shown"]] += self._field(blocks, "head")["now"] - server["since"]
        spent[:, :, _BUSY] += server["worked"]  # see Sim.spent
        time_s = self._by_machine(spent)
        energy_j = time_s * self.power_w
        furnaces = furnace.ledger(self._furnaces, self._engine.furnaces(blocks), self._field(blocks, "furnace"))
        for f, (name, _) in enumerate(self._furnaces):
            if furnaces.electric[f]:
                energy_j[:, self.machines.index(name)] += furnaces.heating_j[:, f]
        return time_s, energy_j, furnaces

    def _ledger(self, blocks: NDArray[np.uint8]) -> Ledger:
        head = self._field(blocks, "head")[:, 0]
        server = self._field(blocks, "server")[:, : len(self._owner)]  # behind them stand the calendars
        buffer = self._field(blocks, "buffer")
        now, elapsed = head["now"], head["now"] - head["began"]
        time_s, energy_j, furnaces = self._spent(blocks)
        area = buffer["area"] + buffer["level"] * now[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            level = area / elapsed[:, None]
            flow_s = head["flow_s"] / head["flows"]
        no_parts = np.zeros(buffer.shape, np.int64)
        counts = {k: self._by_machine(server[k]) for k in ("made", "scrapped", "lost", "delivered", "failures")}
        return Ledger(
            machines=self.machines,
            buffers=self.buffers,
            elapsed_s=elapsed,
            time_s=time_s,
            energy_j=energy_j,
            level=level,
            level_now=buffer["level"].copy(),
            level_most=buffer["most"].copy(),
            entered=buffer["entered"].copy(),
            passed=buffer["passed"].copy(),
            events=head["events"].copy(),
            orders=tuple(order.name for order in self.factory.orders),
            order_finished_s=self._field(blocks, "order")["finished"].copy(),
            order_energy_j=self._field(blocks, "order")["energy_j"].copy(),
            aged=self._field(blocks, "queue")["aged"].copy() if self.factory.parts_followed else no_parts,
            flow_s=flow_s,
            furnaces=furnaces,
            quality=self._quality(blocks),
            maintained=self._by_machine(self._field(blocks, "mode")["jobs"] @ self._maintains),
            **counts,
        )
