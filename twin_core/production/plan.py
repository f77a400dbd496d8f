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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput, ModelFailure, UnknownName
from uem.twin_core.production import engine, furnace
from uem.twin_core.production.laws import KINDS, LAW
from uem.twin_core.production.model import OUT, Degradation, Factory, Failure, Flow, Law, Machine, flows

Array = NDArray[np.float64]
STATES = engine.STATES
_MAGIC = b"UPF2"
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
    until_known_s: Array  # mean time from the flaw to the result, of those found; NaN if none was
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
    """The state of a factory: one block of bytes. `view` shows its fields as arrays (see engine.pyx)."""

    __slots__ = ("block", "view")

    def __init__(self, block: NDArray[np.uint8], view: dict[str, NDArray[Any]]) -> None:
        self.block = block
        self.view = view

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
        self._power_w = np.array([[m.power_w.get(state, 0.0) for state in STATES] for m in factory.machines])
        for machine in factory.machines:
            for state in machine.power_w:
                if state not in STATES:
                    raise UnknownName("state", state, STATES)
        self._furnaces = tuple((m.name, m.furnace) for m in factory.machines if m.furnace is not None)
        compiled = _Compiler(factory)
        self._mode_first = [int(server["mode_first"]) for server in compiled.servers]
        self._maintains = compiled.maintains()
        self._engine = engine.Engine(
            compiled.arrays(), stream_keys(factory), len(factory.products), factory.parts_followed
        )

    # ---- runs ----

    def initial_run(self, seed: int = 0, replication: int = 0) -> FactoryRun:
        """A run that begins at 0 s: machines empty and in order, buffers as full as `initial` says."""
        block = self._engine.empty()
        run = FactoryRun(block, self._engine.view(block))
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
        return FactoryRun(block, self._engine.view(block))

    def restore(self, run: FactoryRun, snapshot: NDArray[np.uint8]) -> None:
        """Put back what `run.block.copy()` kept."""
        run.block[:] = snapshot

    def run(self, run: FactoryRun, until_s: float) -> None:
        """Handle every event before `until_s`.

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
        run = self.initial_run() if start is None else start
        begin = max(run.now_s, warmup_s)
        if count < 1 or not (np.isfinite(ends).all() and (np.diff(ends, prepend=begin) >= 0).all()):
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
        faults = list(workers(work, list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))))
        self._raise(max(faults))
        found = tuple(self._ledger(blocks[k :: len(ends)]) for k in range(len(ends)))
        return found if np.ndim(until_s) else found[0]

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
        chunk = max(1, _CHUNK_BYTES // (len(edges) * self._engine.size))
        for low in range(0, count, chunk):
            n = min(chunk, count - low)
            ledgers = self.replicate(
                n, edges.tolist(), start=start, seed=seed, first=low, workers=workers, slices=slices
            )
            totals = [
                [ledger.output for ledger in ledgers],
                [ledger.energy_j.sum(axis=1) @ split for ledger in ledgers],
                [ledger.furnaces.fuel_j for ledger in ledgers],
                [ledger.furnaces.flue_j for ledger in ledgers],
                [ledger.furnaces.flue_above_j for ledger in ledgers],
            ]
            found.append(tuple(np.diff(np.stack(total, axis=1), axis=1) for total in totals))
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
            f = self._index("furnace", name, tuple(name for name, _ in self._furnaces))
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
        return _HEADER.pack(_MAGIC, len(content), zlib.crc32(content), _layout(self.factory)) + content

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
        if not whole or size != self._engine.size or layout != _layout(self.factory):
            raise InvalidInput(f"factory {name}: the saved state is damaged or of another factory")
        block = np.frombuffer(content, np.uint8).copy()
        return FactoryRun(block, self._engine.view(block))

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
        size = int(np.prod(shape)) * dtype.itemsize
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
        rows, slots = np.indices(server.shape)
        spent[rows, slots, server["shown"]] += self._field(blocks, "head")["now"] - server["since"]
        spent[:, :, STATES.index("busy")] += server["worked"]  # see Sim.spent
        time_s = self._by_machine(spent)
        energy_j = time_s * self._power_w
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


def stream_keys(factory: Factory) -> NDArray[np.uint64]:
    """Keys of the random streams, by name and slot, so that they stay when other machines are added; (servers,)."""
    found = []
    for machine in factory.machines:
        for slot in range(machine.slots):
            digest = blake2b(f"{machine.name}\0{slot}".encode(), digest_size=8).digest()
            found.append(int.from_bytes(digest, "little") & ~3)  # room for the purposes of a machine
    return np.array(found, np.uint64)


def _layout(factory: Factory) -> bytes:
    """What numbers in a block are about, since some of them are places in tables of the plan."""
    machines = [
        (
            *(m.name, m.slots, m.batch, m.take_rule, m.give_rule, m.rejects, m.sleep is None, m.furnace is None),
            *([(flow.buffer, flow.amount) for flow in flows(side)] for side in (m.takes, m.gives)),
            [(f.kind, f.crews, f.skill) for f in m.failures],
            [(d.kind, len(d.stages), d.threshold, d.crews, d.skill) for d in m.degradations],
            [(order.name, order.product, order.quantity) for order in m.orders],
            [len(m.furnace.segments(product)) for product in factory.products] if m.furnace else [],
        )
        for m in factory.machines
    ]
    buffers = [(b.name, b.order, b.delay_s > 0, b.longest_s < math.inf) for b in factory.buffers]
    crews = [(crew.name, crew.skills, crew.calendar) for crew in factory.crews]
    calendars = [(calendar.name, len(calendar.shifts)) for calendar in factory.calendars]
    utilities = [utility.name for utility in factory.utilities]
    routes = [(route.product, [step.buffer for step in route.steps]) for route in factory.routes]
    told = (machines, buffers, crews, calendars, utilities, routes, factory.products, factory.parts_followed)
    return blake2b(repr(told).encode(), digest_size=8).digest()


class _Compiler:
    """Collects the rows of the plan; one per server, a server being a slot of a machine."""

    def __init__(self, factory: Factory) -> None:
        self.factory = factory
        self.buffer_index = {buffer.name: b for b, buffer in enumerate(factory.buffers)}
        self.crew_index = {crew.name: c for c, crew in enumerate(factory.crews)}
        self.servers: list[dict[str, float]] = []
        self.furnaces: list[tuple[int, furnace.Furnace, int]] = []
        self.takes: list[tuple[float, int, int]] = []
        self.gives: list[tuple[float, int, int]] = []
        self.modes: list[tuple[int, ...]] = []
        self.mode_crews: list[int] = []
        self.stage_laws: list[int] = []
        self.quality: list[tuple[float, ...]] = []
        self.products = factory.products
        self.product_laws: list[int] = []
        self.recipes: list[tuple[float, ...]] = []
        self.orders = 0
        self.follows = factory.parts_followed > 0
        self.calendar_index = {calendar.name: c for c, calendar in enumerate(factory.calendars)}
        self.utility_index = {utility.name: u for u, utility in enumerate(factory.utilities)}
        self.uses: list[tuple[float, int, int]] = []
        self.laws: dict[Law, int] = {}
        self.table: list[float] = []
        self.law_rows: list[tuple[float, float, float, int, int, int]] = []
        # What those who take from a buffer take from, by buffer.
        self.inputs: dict[str, set[str]] = {buffer.name: set() for buffer in factory.buffers}
        for machine in factory.machines:
            taken = [flow.buffer for flow in flows(machine.takes)]
            for name in taken:
                self.inputs[name].update(taken)
        for machine in factory.machines:
            for _ in range(machine.slots):
                self.servers.append(self._server(machine))
                self._recipes(machine)
            self.orders += len(machine.orders)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The plan in the layout of engine.pyx."""
        routes = self._routes()  # before the laws are laid out
        consumers, consumer_rows = self._neighbours("take")
        producers, producer_rows = self._neighbours("give")
        buffers = [(*consumer_rows[k], *producer_rows[k]) for k in range(len(self.factory.buffers))]
        return {
            "server_plan": self._rows(engine.SERVER_PLAN),
            "rare_plan": self._rows(engine.RARE_PLAN),
            "buffer_plan": np.array(buffers, engine.BUFFER_PLAN),
            "take": np.array(self.takes, engine.LINK),
            "give": np.array(self.gives, engine.LINK),
            "mode_plan": np.array(self.modes, engine.MODE_PLAN),
            "crew_plan": np.array(
                [
                    (crew.workers, -1 if crew.calendar is None else self.calendar_index[crew.calendar])
                    for crew in self.factory.crews
                ],
                engine.CREW_PLAN,
            ),
            "calendar_plan": self._calendars(),
            "recipe_plan": np.array(self.recipes, engine.RECIPE_PLAN),
            "product_laws": np.array(self.product_laws, np.int32),
            "queue_plan": self._queues(),
            "order_plan": np.array(
                [(o.release_s, self.products.index(o.product), o.quantity, o.priority, 0) for o in self.factory.orders],
                engine.ORDER_PLAN,
            ),
            "use": np.array(self.uses, engine.LINK),
            "utility": np.array([utility.limit for utility in self.factory.utilities], np.float64),
            "consumers": np.array(consumers, np.int32),
            "producers": np.array(producers, np.int32),
            "mode_crews": np.array(self.mode_crews, np.int32),
            "stage_laws": np.array(self.stage_laws, np.int32),
            "quality_plan": np.array(self.quality if self.factory.has_quality else [], engine.QUALITY_PLAN),
            **routes,
            "laws": np.array(self.law_rows, LAW),
            "table": np.array(self.table, np.float64),
            **furnace.tables(self.furnaces, self.products),
        }

    def _rows(self, dtype: np.dtype[np.void]) -> NDArray[Any]:
        """The fields of a plan of servers."""
        rows = [tuple(server.get(name, 0) for name in dtype.names or ()) for server in self.servers]
        return np.array(rows, dtype)

    def _calendars(self) -> NDArray[Any]:
        """Switching times go to the table: begin and end of each shift in turn."""
        rows = []
        for calendar in self.factory.calendars:
            switches = [moment for shift in calendar.shifts for moment in shift]
            rows.append((calendar.period_s, len(self.table), len(switches)))
            self.table.extend(switches)
        return np.array(rows, engine.CALENDAR_PLAN)

    def _queues(self) -> NDArray[Any]:
        rows, timers = [], 0
        for buffer in self.factory.buffers:
            timed = buffer.delay_s > 0 or buffer.longest_s < math.inf
            order = engine.QUEUE_ORDERS[buffer.order]
            rows.append((buffer.delay_s, buffer.longest_s, order, timers if timed else -1))
            timers += timed
        return np.array(rows, engine.QUEUE_PLAN)

    def _recipes(self, machine: Machine) -> None:
        """Laws and changeovers by product; orders are those of the first slot."""
        changeovers = -1
        if machine.changeover_s:
            changeovers = len(self.table)
            self.table.extend(machine.changeover_s.get((a, b), 0.0) for a in self.products for b in self.products)
        busy_w = machine.power_w.get("busy", 0.0)
        laws = len(self.product_laws), changeovers, self.orders, len(machine.orders)
        product = 0 if machine.product is None else self.products.index(machine.product)
        self.recipes.append((busy_w, *laws, machine.arrives, product))
        self.product_laws.extend(self._law(machine.recipes.get(product, machine.cycle)) for product in self.products)

    def _neighbours(self, side: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Servers that take from (or give to) each buffer, and where those of each buffer stand."""
        links = self.takes if side == "take" else self.gives
        found: list[list[int]] = [[] for _ in self.factory.buffers]
        for s, server in enumerate(self.servers):
            first = int(server[f"{side}_first"])
            rejects = int(side == "give" and server["rejects"] >= 0)  # behind the others
            for _, b, _ in links[first : first + int(server[f"n_{side}s"]) + rejects]:
                if b >= 0:
                    found[b].append(s)
        rows, at = [], 0
        for members in found:
            rows.append((at, len(members)))
            at += len(members)
        return [s for members in found for s in members], rows

    def _law(self, law: Law) -> int:
        if law not in self.laws:
            self.laws[law] = len(self.law_rows)
            self.law_rows.append((*law.parameters, KINDS.index(law.kind), law.n, len(self.table)))
            self.table.extend(law.table)
        return self.laws[law]

    def _modes(self, machine: Machine) -> None:
        """Failures, then each degradation: its wear and the job that it asks for."""
        for failure in machine.failures:
            laws = self._law(failure.to_fail), self._law(failure.to_repair)
            self.modes.append(
                (engine.MODE_KINDS[failure.kind], *laws, *self._crews(failure), failure.priority, 0, 0, -1, 0)
            )
        for wear in machine.degradations:
            stages = len(self.stage_laws)
            self.stage_laws.extend(self._law(law) for law in wear.stages)
            kind = engine.MODE_KINDS["wear" if wear.kind == "operating" else "wear_calendar"]
            repair = -1, self._law(wear.to_repair), *self._crews(wear), wear.priority
            self.modes.append((kind, *repair, len(wear.stages), stages, -1, 0))
            if wear.threshold is not None and wear.to_maintain is not None:
                job = -1, self._law(wear.to_maintain), *self._crews(wear), wear.maintain_priority
                worn = len(self.modes) - 1
                self.modes.append((engine.MODE_KINDS["condition"], *job, 0, 0, worn, wear.threshold))

    def _routes(self) -> dict[str, NDArray[Any]]:
        """Steps of all routes, and where those of each product stand."""
        by_product = {route.product: route.steps for route in self.factory.routes}
        rows: list[int] = []
        steps: list[tuple[int, int]] = []
        for product in self.products:
            found = by_product.get(product, ())
            rows += [len(steps), len(found)]
            laws = [-1 if step.cycle is None else self._law(step.cycle) for step in found]
            steps += [(self.buffer_index[step.buffer], law) for step, law in zip(found, laws, strict=True)]
        return {"route": np.array(rows, np.int32), "step_plan": np.array(steps, engine.STEP_PLAN)}

    def _rejects(self, machine: Machine) -> int:
        """The output for parts known to be bad, which must come right behind the others; -1: there is none."""
        seen = machine.inspection
        figures = (0.0, 0.0, 0.0) if seen is None else (seen.finds, seen.false_alarms, seen.delay_s)
        rejects = -1 if machine.rejects is None else self._links(self.gives, (Flow(buffer=machine.rejects),))
        self.quality.append((machine.defects, *figures, seen is not None, rejects))
        return rejects

    def _crews(self, job: Failure | Degradation) -> tuple[int, int]:
        """Where the crews stand that can do a job, and how many they are."""
        first = len(self.mode_crews)
        skilled = [crew.name for crew in self.factory.crews if job.skill in crew.skills]
        self.mode_crews.extend(self.crew_index[name] for name in job.crews or skilled)
        return first, len(self.mode_crews) - first

    def maintains(self) -> NDArray[np.int64]:
        """Which modes are preventive jobs of which server; (modes, servers)."""
        kinds = [engine.MODE_KINDS[name] for name in ("maintenance", "maintenance_calendar", "condition")]
        found = np.zeros((len(self.modes), len(self.servers)), np.int64)
        for s, server in enumerate(self.servers):
            first = int(server["mode_first"])
            for m in range(first, first + int(server["n_modes"])):
                found[m, s] = self.modes[m][0] in kinds
        return found

    def _links(self, into: list[tuple[float, int, int]], found: tuple[Flow, ...]) -> int:
        first = len(into)
        into.extend((f.weight, -1 if f.buffer == OUT else self.buffer_index[f.buffer], f.amount) for f in found)
        return first

    def _rivals(self, machine: Machine, given: str) -> bool:
        """Whether who takes what the machine gives also takes from where it takes: then who is first matters."""
        return not self.inputs[given].isdisjoint(flow.buffer for flow in flows(machine.takes))

    def _server(self, machine: Machine) -> dict[str, float]:
        takes, gives = flows(machine.takes), flows(machine.gives)
        single = machine.batch[1] == 1
        maintained = any(failure.kind.startswith("maintenance") for failure in machine.failures)
        maintained = maintained or any(wear.threshold is not None for wear in machine.degradations)
        take_plain = -1
        heated = machine.furnace is not None
        hurries = machine.batch_wait_s < math.inf
        asks = maintained or heated or hurries or bool(machine.uses) or machine.calendar is not None
        if not (asks or self.follows) and not takes:
            take_plain = engine.NOTHING_NEEDED
        elif not (asks or self.follows) and single and len(takes) == 1 and takes[0].amount == 1:
            take_plain = self.buffer_index[takes[0].buffer]
        give_plain = -1
        if single and not self.follows and not (machine.scrap or machine.loses or machine.uses or heated):
            if not gives or (len(gives) == 1 and gives[0].buffer == OUT):
                give_plain = engine.SINK
            elif len(gives) == 1 and gives[0].amount == 1 and not self._rivals(machine, gives[0].buffer):
                give_plain = self.buffer_index[gives[0].buffer]
        kind = machine.cycle.kind
        mode_first = len(self.modes)
        self._modes(machine)
        use_first = len(self.uses)
        self.uses.extend((amount, self.utility_index[name], 0) for name, amount in machine.uses.items())
        sleep = machine.sleep
        if machine.furnace is not None:
            self.furnaces.append((len(self.servers), machine.furnace, machine.batch[1]))
        return {
            "scrap": machine.scrap,
            "sleep_after": math.inf if sleep is None else sleep.after_s,
            "take_first": self._links(self.takes, takes),
            "n_takes": len(takes),
            "take_rule": engine.TAKE_RULES[machine.take_rule],
            "take_plain": take_plain,
            "give_first": self._links(self.gives, gives),
            "n_gives": len(gives),
            "rejects": self._rejects(machine),
            "give_rule": engine.GIVE_RULES[machine.give_rule],
            "give_plain": give_plain,
            "batch_wait": machine.batch_wait_s,
            "batch_least": machine.batch[0],
            "batch_most": machine.batch[1],
            "fixed": {"deterministic": machine.cycle.mean, "exponential": -machine.cycle.mean}.get(kind, -math.inf),
            "asks": asks,
            "cycle": self._law(machine.cycle),
            "warm_up": -1 if sleep is None else self._law(sleep.warm_up),
            "mode_first": mode_first,
            "n_modes": len(self.modes) - mode_first,
            "wake_at": 1 if sleep is None else sleep.parts,
            "calendar": -1 if machine.calendar is None else self.calendar_index[machine.calendar],
            "loses": machine.loses,
            "pauses": machine.pauses,
            "use_first": use_first,
            "n_uses": len(machine.uses),
            "furnace": len(self.furnaces) - 1 if heated else -1,
        }
