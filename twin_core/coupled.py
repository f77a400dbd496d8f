"""Factories and the network that takes their heat, stepped together: the one place where their time advances.

    plan = CoupledPlan(network, sites)
    state = plan.initial_state(temp_k, seed=1)
    plan.step(state, 60.0, inputs)           # production first, then what it gave off, then the network

A step over [t, t + dt) in parts of at most `LONGEST_PART_S`, each of them:

    1. the factories run to the end of the part; every stream gives its exact heat Q
    2. Q warms its loop of content C:                      T = T + Q / C
    3. the network steps; the exchanger, or the heat pump, finds the loop at T and takes Q_x, as much as it can
    4. what is above the recooler's set point is thrown away as far as it can: Q_d = min(C (T - Q_x / C - T_r), P dt);
       what would warm a loop above the hottest that a model can tell (`MOST_TEMP_K`) leaves as by a relief valve
    5. T = T - (Q_x + Q_d) / C; above the alarm the factory's utility falls short, from the next part on

So Q = Q_x + Q_d + C dT, without rest. Only step 5 is late, by one part. Equations and tests: docs/models/coupling.md.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil, isfinite
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.plant.factory import MOST_TEMP_K, FactorySite, HeatLoop, shared_exchangers
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.units import HeatPump, WasteHeatExchanger
from uem.twin_core.production.heat import HeatMeter
from uem.twin_core.production.plan import FactoryPlan, FactoryRun
from uem.twin_core.thermal.network import NetworkInputs, NetworkPlan, NetworkState

Array = NDArray[np.float64]
_Exchanger: TypeAlias = WasteHeatExchanger | HeatPump

LONGEST_PART_S = 60.0
MOST_OF_CONTENT = 0.5  # of what a loop holds, that may flow through its exchanger in a part
SHORTEST_PART_S = 0.1
ROWS = 6  # numbers of a loop in the state
_MAGIC = b"UEM2"
_HEADER = struct.Struct("<4sI8s")


class _Keys(NamedTuple):
    """Commands by which a unit is told of the loop, and the result that says what it took from it."""

    temp_k: str
    flow_kg_s: str
    taken_j: str


_EXCHANGER = _Keys("stream_temp_k", "stream_flow_kg_s", "heat_j")
_HEAT_PUMP = _Keys("source_temp_k", "source_flow_kg_s", "source_heat_j")


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream that the network takes: where it stands, and the numbers of its loop."""

    site: int
    row: int  # among the streams of the site
    name: str  # factory/stream
    loop: HeatLoop
    keys: "_Keys"
    most_flow_kg_s: float  # of the loop through its exchanger
    flow_w_k: float  # heat capacity rate of that
    normal_limit: float  # of the utility that the alarm takes


class CoupledState:
    """What factories, loops and network are at one instant.

    `heat` is the state of the network, `runs` one per factory. Per stream (streams,): `temp_k` of the loop, `alarm` (0
    or 1), since the beginning `produced_j`, `taken_j`, `dumped_j`, and `limit`, what the utility that the alarm takes
    gives without it. `hall_j`, (factories,): electricity and fuel that went into no stream; of furnaces that includes
    what they hold and what parts carry away.
    """

    __slots__ = ("alarm", "dumped_j", "hall_j", "heat", "limit", "loops", "produced_j", "runs", "taken_j", "temp_k")

    def __init__(self, heat: NetworkState, runs: Sequence[FactoryRun], loops: Array, hall_j: Array) -> None:
        """`loops` (ROWS, streams) and `hall_j` are kept, not copied."""
        self.heat = heat
        self.runs = tuple(runs)
        self.loops = loops
        self.hall_j = hall_j
        self.temp_k: Array = loops[0]
        self.alarm: Array = loops[1]
        self.produced_j: Array = loops[2]
        self.taken_j: Array = loops[3]
        self.dumped_j: Array = loops[4]
        self.limit: Array = loops[5]


class CoupledPlan:
    """A network and the factories whose heat it takes; constant, shared by all states."""

    def __init__(self, network: Network, sites: Sequence[FactorySite], fidelity: str = "full") -> None:
        """Streams to other networks are not followed.

        InvalidInput where a loop holds too little to be stepped, or two of them go to one exchanger.
        """
        for problem in shared_exchangers(sites):
            raise InvalidInput(f"network {network.name}: {problem}")
        self.network = NetworkPlan(network, fidelity=fidelity)
        self.sites = tuple(sites)
        self.factories = tuple(FactoryPlan(site.factory) for site in sites)
        self._meters = tuple(HeatMeter(plan, site.heat) for plan, site in zip(self.factories, self.sites, strict=True))
        exchangers = {unit.name: unit for unit in network.units if isinstance(unit, (WasteHeatExchanger, HeatPump))}
        self._streams = tuple(
            _Stream(
                site=s,
                row=k,
                name=f"{site.name}/{stream.name}",
                loop=stream.loop,
                keys=_HEAT_PUMP if isinstance(unit, HeatPump) else _EXCHANGER,
                most_flow_kg_s=_most_flow_kg_s(unit),
                flow_w_k=_flow_w_k(unit),
                normal_limit=next((u.limit for u in site.factory.utilities if u.name == stream.loop.utility), 0.0),
            )
            for s, site in enumerate(self.sites)
            for k, stream in enumerate(site.heat)
            if stream.loop is not None and stream.loop.network == network.name
            for unit in [_exchanger(exchangers, stream.loop)]
        )
        self.streams = tuple(stream.name for stream in self._streams)
        self._content_j_k = np.array([stream.loop.content_j_k for stream in self._streams])
        parts = [MOST_OF_CONTENT * s.loop.content_j_k / s.flow_w_k for s in self._streams if s.flow_w_k > 0]
        self.longest_part_s = min([LONGEST_PART_S, *parts])
        if self.longest_part_s < SHORTEST_PART_S:
            raise InvalidInput(
                f"network {network.name}: a heat loop holds what flows in {self.longest_part_s / MOST_OF_CONTENT:.2g} s"
                f" only; at least {SHORTEST_PART_S / MOST_OF_CONTENT:g} s are needed: give it more content_m3"
            )

    def inputs(self) -> NetworkInputs:
        """Inputs of the network; what exchangers of loops are told of their streams is filled by `step`."""
        return self.network.inputs()

    def initial_state(self, temp_k: float | Sequence[float] | Array, seed: int = 0) -> CoupledState:
        """All machines empty, loops as their sites say, the network at `temp_k` (see `NetworkPlan.initial_state`)."""
        loops = np.zeros((ROWS, len(self._streams)))
        loops[0] = [stream.loop.temp_k for stream in self._streams]
        loops[5] = [stream.normal_limit for stream in self._streams]
        runs = [plan.initial_run(seed=seed) for plan in self.factories]
        return CoupledState(self.network.initial_state(temp_k), runs, loops, np.zeros(len(self.sites)))

    def stored_j(self, state: CoupledState) -> Array:
        """Heat in each loop above its beginning, (streams,): produced - taken - dumped."""
        return np.asarray(self._content_j_k * (state.temp_k - [stream.loop.temp_k for stream in self._streams]))

    def parts(self, dt_s: float) -> int:
        """Into how many equal parts a step is cut, so that none moves too much of what a loop holds."""
        return ceil(dt_s / self.longest_part_s * (1.0 - 1e-12))

    def step(self, state: CoupledState, dt_s: float, inputs: NetworkInputs) -> None:
        """Advance everything by `dt_s`, during which `inputs` hold.

        Raises:
            InvalidInput, NotConverged, ModelFailure: as the steps of network and factories; `state` is as it was.
        """
        if not (isfinite(dt_s) and dt_s > 0.0):
            raise InvalidInput(f"network {self.network.name}: step of {dt_s} s; it must be positive")
        self._check_flows(inputs)
        before = self.copy(state)
        parts = self.parts(dt_s)
        begins = [run.now_s for run in state.runs]
        try:
            for part in range(parts):
                moments = [begin + dt_s * (part + 1) / parts for begin in begins]
                self._part(state, moments, dt_s / parts, inputs)
        except Exception:
            self.restore(state, before)
            raise

    def _check_flows(self, inputs: NetworkInputs) -> None:
        """A part in which more flows than planned could take more heat out of a loop than it holds."""
        for stream in self._streams:
            flow_kg_s = float(inputs.unit_commands[stream.loop.unit][stream.keys.flow_kg_s].max())
            if flow_kg_s > stream.most_flow_kg_s:
                raise InvalidInput(
                    f"network {self.network.name}, unit {stream.loop.unit}: {stream.keys.flow_kg_s} {flow_kg_s:g} is"
                    f" more than the {stream.most_flow_kg_s:g} kg/s that the loop of {stream.name} is stepped for:"
                    f" change the unit's own flow"
                )

    def set_limit(self, state: CoupledState, factory: str, utility: str, limit: float) -> None:
        """A shortage of electricity, steam, ... or its end, as an event at the state's moment; see `FactoryPlan`.

        An alarm that takes the same utility goes on; a shortage is still there when the alarm ends.

        Raises:
            UnknownName: there is no such factory or utility.
            InvalidInput: the limit is negative.
        """
        s = self._site(factory)
        mine = [k for k, stream in enumerate(self._streams) if stream.site == s and stream.loop.utility == utility]
        self.factories[s].set_limit(state.runs[s], utility, self._left(state, mine, limit))
        state.limit[mine] = limit

    def _left(self, state: CoupledState, streams: Sequence[int], limit: float) -> float:
        """What a utility gives, of `limit`, with the alarms of `streams` as they are."""
        return min([limit, *(self._streams[k].loop.alarm_limit for k in streams if state.alarm[k])])

    def _part(self, state: CoupledState, until_s: Sequence[float], dt_s: float, inputs: NetworkInputs) -> None:
        given = []
        for s, (plan, meter) in enumerate(zip(self.factories, self._meters, strict=True)):
            before = plan.spent(state.runs[s])
            plan.run(state.runs[s], until_s[s])
            after = plan.spent(state.runs[s])
            streams_j = meter.given_j(before, after)
            given.append(streams_j)
            state.hall_j[s] += after.used_j - before.used_j - streams_j.sum()
        for s, utility, limit in self.take(state, given, dt_s, inputs):
            self.factories[s].set_limit(state.runs[s], utility, limit)

    def take(
        self, state: CoupledState, given_j: Sequence[Array], dt_s: float, inputs: NetworkInputs
    ) -> list[tuple[int, str, float]]:
        """Loops and network take what factories gave over `dt_s`: by factory its streams, in J. Runs are not touched.

        Returns what follows for the factories: (number of the factory, utility, what it can give from now on).
        """
        produced_j = np.array([given_j[stream.site][stream.row] for stream in self._streams])
        state.temp_k += produced_j / self._content_j_k
        for k, stream in enumerate(self._streams):
            inputs.unit_commands[stream.loop.unit][stream.keys.temp_k][:] = state.temp_k[k]
        self.network.step(state.heat, dt_s, inputs)
        results = self.network.unit_results(state.heat)
        taken_j = np.array([results[stream.loop.unit][stream.keys.taken_j][0] for stream in self._streams])
        state.temp_k -= taken_j / self._content_j_k
        dumped_j = np.zeros(len(self._streams))
        for k, stream in enumerate(self._streams):
            above_j = self._content_j_k[k] * (state.temp_k[k] - stream.loop.recool_temp_k)
            vented_j = self._content_j_k[k] * (state.temp_k[k] - MOST_TEMP_K)
            dumped_j[k] = max(min(max(above_j, 0.0), stream.loop.recool_w * dt_s), vented_j)
        state.temp_k -= dumped_j / self._content_j_k
        state.produced_j += produced_j
        state.taken_j += taken_j
        state.dumped_j += dumped_j
        return list(self._watch(state))

    def _watch(self, state: CoupledState) -> Iterator[tuple[int, str, float]]:
        """Alarms of loops come and go; they are events of their factories."""
        for k, stream in enumerate(self._streams):
            loop = stream.loop
            is_on = state.temp_k[k] > (loop.clear_temp_k if state.alarm[k] else loop.alarm_temp_k)
            if is_on == bool(state.alarm[k]):
                continue
            state.alarm[k] = is_on
            if loop.utility:
                sharing = [i for i, other in enumerate(self._streams) if _share_a_utility(other, stream)]
                yield stream.site, loop.utility, self._left(state, sharing, float(state.limit[k]))

    def _site(self, factory: str) -> int:
        names = [site.name for site in self.sites]
        if factory not in names:
            raise UnknownName("factory", factory, names)
        return names.index(factory)

    # ---- copies ----

    def copy(self, state: CoupledState) -> CoupledState:
        """A fork: independent, and bit by bit the same from here on."""
        runs = [plan.copy(run) for plan, run in zip(self.factories, state.runs, strict=True)]
        return CoupledState(state.heat.copy(), runs, state.loops.copy(), state.hall_j.copy())

    def restore(self, state: CoupledState, snapshot: CoupledState) -> None:
        """Become what `snapshot`, a copy of a state of this plan, is."""
        state.heat.restore(snapshot.heat)
        for plan, run, kept in zip(self.factories, state.runs, snapshot.runs, strict=True):
            plan.restore(run, kept.block)
        state.loops[:] = snapshot.loops
        state.hall_j[:] = snapshot.hall_j

    def to_bytes(self, state: CoupledState) -> bytes:
        """Every number, bit exact; `state_from_bytes` reads it."""
        runs = [plan.to_bytes(run) for plan, run in zip(self.factories, state.runs, strict=True)]
        pieces = [state.heat.to_bytes(), *runs, state.loops.tobytes(), state.hall_j.tobytes()]
        body = b"".join(len(piece).to_bytes(8, "little") + piece for piece in pieces)
        return _HEADER.pack(_MAGIC, zlib.crc32(body), self._layout()) + body

    def state_from_bytes(self, data: bytes) -> CoupledState:
        """The state that `to_bytes` wrote; InvalidInput if it is damaged or of another network or factories."""
        name = self.network.name
        if len(data) < _HEADER.size or data[:4] != _MAGIC:
            raise InvalidInput(f"network {name}: these bytes are no state of it and its factories")
        _, checksum, layout = _HEADER.unpack_from(data)
        body = data[_HEADER.size :]
        if zlib.crc32(body) != checksum:
            raise InvalidInput(f"network {name}: the saved state of network and factories is damaged")
        if layout != self._layout():
            raise InvalidInput(f"network {name}: the saved state is of other factories or heat")
        pieces, at = [], 0
        while at < len(body):
            size = int.from_bytes(body[at : at + 8], "little")
            pieces.append(body[at + 8 : at + 8 + size])
            at += 8 + size
        runs = [plan.from_bytes(piece) for plan, piece in zip(self.factories, pieces[1:-2], strict=True)]
        loops = np.frombuffer(pieces[-2]).reshape(ROWS, -1).copy()
        return CoupledState(self.network.state_from_bytes(pieces[0]), runs, loops, np.frombuffer(pieces[-1]).copy())

    def _layout(self) -> bytes:
        """Which factories and loops the numbers are of, and how many each has."""
        loops = [(stream.name, stream.loop.unit, stream.loop.utility) for stream in self._streams]
        told = ([site.name for site in self.sites], loops, ROWS)
        return blake2b(repr(told).encode(), digest_size=8).digest()


def _share_a_utility(one: _Stream, other: _Stream) -> bool:
    return one.site == other.site and one.loop.utility == other.loop.utility


def _exchanger(exchangers: Mapping[str, _Exchanger], loop: HeatLoop) -> _Exchanger:
    if loop.unit not in exchangers:
        raise UnknownName("waste-heat exchanger or heat pump", loop.unit, exchangers)
    return exchangers[loop.unit]


def _most_flow_kg_s(unit: _Exchanger) -> float:
    """The most that may go through the exchanger; parts are as short as it asks for."""
    if isinstance(unit, HeatPump):
        return unit.source_flow_kg_s
    return max(unit.stream_flow_kg_s or 0.0, unit.nominal_stream_flow_kg_s)


def _flow_w_k(unit: _Exchanger) -> float:
    """Heat capacity rate of that."""
    if isinstance(unit, HeatPump):
        return _most_flow_kg_s(unit) * unit.source_heat_capacity_j_kgk
    return _most_flow_kg_s(unit) * unit.stream_heat_capacity_j_kgk
