"""A heat network as a compiled plan, its state as arrays, and the step from one to the next.

The plan knows the shape of the network, the state is nothing but numbers, the inputs belong to the caller and are used
again for every step. All arrays are float64 in SI units; the last axis is the member of the ensemble. Edges stand in
the order pipes, valves, pumps, units, each as in the network.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from enum import StrEnum
from itertools import count
from math import ceil, isfinite, prod
from typing import Final, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uem.twin_core.errors import InvalidInput, ModelFailure, NotConverged, UnknownName
from uem.twin_core.plant.network import Edge, Network, NodeKind, Pipe, PipeClass
from uem.twin_core.thermal import lanes, water
from uem.twin_core.thermal.geometry import PipeGeometry, pipe_geometry
from uem.twin_core.thermal.graph import NO_FLOWS_FOUND, PRODUCERS, Arrays, Graph, InputArrays, Units, Work
from uem.twin_core.thermal.hydraulic_network import hydraulic_graph
from uem.twin_core.thermal.hydraulics import HydraulicPlan
from uem.twin_core.thermal.lanes import LaneGraph
from uem.twin_core.thermal.numbering import along_the_water
from uem.twin_core.thermal.pipes import MAX_CELLS_OF_A_PIPE, Pipes
from uem.twin_core.thermal.rings import Rings
from uem.twin_core.thermal.run import Columns, Courses, Records, Slot, chosen, courses
from uem.twin_core.thermal.units.compile import CompiledUnit, compile_unit

Array = NDArray[np.float64]

LONGEST_STEP_S: Final = 7 * 24 * 3600.0
FLOW_RANGE_KG_S: Final = (-1e5, 1e5)
PRESSURE_RANGE_PA: Final = (1.0, 1e8)
STANDARD_PRESSURE_PA: Final = 101_325.0
SPEED_RANGE: Final = (0.0, 10.0)
LARGEST_COMMAND: Final = 1e12
AMBIENT_RANGE_K: Final = (173.15, 423.15)
# What inputs may be: what they are called, of what, the allowed values and their unit, as in InputArrays.
ALLOWED: Final = (
    ("supply temperature", "node", water.TEMP_RANGE_K, "K"),
    ("demand", "node", FLOW_RANGE_KG_S, "kg/s"),
    ("pressure", "node", PRESSURE_RANGE_PA, "Pa"),
    ("opening", "valve", (0.0, 1.0), ""),
    ("flow", "valve", (0.0, FLOW_RANGE_KG_S[1]), "kg/s"),
    ("speed", "pump", SPEED_RANGE, "of nominal"),
    ("pressure rise", "pump", (0.0, PRESSURE_RANGE_PA[1]), "Pa"),
    ("ambient temperature", "", AMBIENT_RANGE_K, "K"),
    ("", "", (-LARGEST_COMMAND, LARGEST_COMMAND), ""),
)
# Results of units with these endings add up over a step, others are means.
SUMMED: Final = ("_j", "_kg", "_s")
_HEADER = struct.Struct("<8s13QI")
_MAGIC = b"uemheat7"


class Fidelity(StrEnum):
    """How much of a pipe is followed."""

    FULL = "full"
    PLANNING = "planning"


# Longer steps are cut into equal parts of at most this, so that what mixes at a node arrives at the next one in time.
# With 5 s a step of 1 s and one of 900 s tell the same (docs/models/network.md); planning, and steps of many hours that
# nobody would look at so closely, are quicker in longer parts.
SHORTEST_INNER_STEP_S: Final = 5.0
LONGEST_INNER_STEP_S: Final = 60.0
MOST_SHORT_PARTS: Final = 180
# So many pipes of members take about a quarter of a second.
MEMBER_PIPES_OF_A_PIECE: Final = 6_000_000


@dataclass(frozen=True, slots=True)
class _Shape:
    """How many there are of everything in a state.

    `row`, `record`, `result`: numbers of one member in plugs and walls, beside them, and in what units tell; `state`:
    those of units at the end of a record; `memo`: of one pipe in what can be worked out again. `layout`: checksum of
    what stands where among them. `lanes`: members that stand side by side.
    """

    nodes: int
    pipes: int
    valves: int
    pumps: int
    units: int
    members: int
    row: int
    record: int
    state: int
    result: int
    memo: int
    layout: int
    lanes: int

    @property
    def edges(self) -> int:
        return self.pipes + self.valves + self.pumps + self.units

    @property
    def block(self) -> int:
        """Numbers of members side by side: of one alone its row, of several all but the states of units."""
        return self.row if self.lanes == 1 else (self.row + self.record - self.state) * self.lanes

    @property
    def beside(self) -> int:
        """Numbers of a member beside those."""
        return self.record if self.lanes == 1 else self.state

    def parts(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the arrays of a state, as they follow each other in its block."""
        m, blocks = self.members, -(-self.members // self.lanes)
        return (
            (blocks, self.block),
            (m, self.beside),
            (m,),
            (4, m),
            (4, m),
            (self.nodes, m),
            (self.nodes, m),
            (self.nodes, m),
            (self.edges, m),
            (self.pipes, m),
            (m, max(self.result, 1)),
        )


class NetworkInputs:
    """What the surroundings do during a step. The caller fills the arrays in place; they can not be replaced.

    node_supply_temp_k (nodes, members): of water that comes in at a node: at a source, or where a demand is negative
    node_demand_kg_s (nodes, members): taken out (negative: fed in); a source's row is not used
    fixed_pressure_pa (nodes, members): used where the network holds a pressure
    valve_opening, valve_flow_kg_s (valves, members): used by kind; 0 to 1, 0 is closed; what kind FLOW holds
    pump_speed, pump_pressure_rise_pa (pumps, members): used by control; of nominal, 0 stands
    unit_commands: by name of the unit and of the command, views (members,); what there is: docs/models/units.md
    units_with: by name of the command the names of the units that have it, in the order of `set_commands`
    ambient_temp_k (members,)
    """

    __slots__ = (
        "_arrays",
        "_columns",
        "_commands",
        "_evenly",
        "_of_one",
        "_shape",
        "_side_by_side",
        "ambient_temp_k",
        "fixed_pressure_pa",
        "node_demand_kg_s",
        "node_supply_temp_k",
        "pump_pressure_rise_pa",
        "pump_speed",
        "unit_commands",
        "units_with",
        "valve_flow_kg_s",
        "valve_opening",
    )

    def __init__(
        self, network: Network, units: Sequence[CompiledUnit], members: int, side_by_side: bool = False
    ) -> None:
        """What the network begins with. `units`: as their commands stand; `side_by_side`: for members in vectors."""

        def rows(values: Iterable[float]) -> Array:
            column = np.array([*values], dtype=np.float64)[:, None]
            return np.array(np.broadcast_to(column, (len(column), members)), order="C")

        self.node_supply_temp_k = rows(node.supply_temp_k for node in network.nodes)
        self.node_demand_kg_s = rows(node.demand_kg_s for node in network.nodes)
        self.fixed_pressure_pa = rows(node.pressure_pa or STANDARD_PRESSURE_PA for node in network.nodes)
        self.valve_opening = rows(valve.opening for valve in network.valves)
        self.valve_flow_kg_s = rows(valve.flow_kg_s for valve in network.valves)
        self.pump_speed = rows(pump.speed for pump in network.pumps)
        self.pump_pressure_rise_pa = rows(pump.pressure_rise_pa for pump in network.pumps)
        self.ambient_temp_k: Array = np.full(members, network.ambient_temp_k)
        # One member after the other, as the kernels of units read them, or (commands, members) as vectors do; never
        # without a number, to be a proper array.
        row = np.concatenate([np.zeros(0), *(unit.command for unit in units)]) if units else np.zeros(1)
        self._side_by_side = side_by_side
        self._commands: Array = np.repeat(row[:, None], members, axis=1) if side_by_side else np.tile(row, (members, 1))
        self._of_one = self._commands.reshape(-1) if members == 1 else None  # numpy is quicker with one dimension
        order = [unit.name for unit in network.units]
        self.unit_commands = _columns(self._by_member, {unit.name: unit.command_names for unit in units}, order)
        column = {(unit.name, name): k for k, (unit, name) in enumerate((u, n) for u in units for n in u.command_names)}
        having: dict[str, list[str]] = {}
        for unit in order:
            for name in self.unit_commands[unit]:
                having.setdefault(name, []).append(unit)
        self.units_with = {name: tuple(some) for name, some in having.items()}
        self._columns = {name: np.array([column[unit, name] for unit in some]) for name, some in having.items()}
        self._evenly = {name: _every(columns) for name, columns in self._columns.items()}
        values = self._values()
        self._shape = tuple(value.shape for value in values)
        self._arrays = InputArrays(values, [bounds for _, _, bounds, _ in ALLOWED])

    def set_commands(self, name: str, values: float | Sequence[float] | Array) -> None:
        """Set a command of all units that have it, much quicker than one after the other.

        `values`: one number, or per unit of `units_with[name]` (units,) or (units, members).

        Raises:
            UnknownName: no unit has such a command.
            InvalidInput: another shape.
        """
        columns = self._columns.get(name)
        if columns is None:
            raise UnknownName("command", name, self._columns)
        rows = np.asarray(values, dtype=np.float64)
        if rows.shape not in ((), (len(columns),), (len(columns), len(self._by_member))):
            raise InvalidInput(f"command {name} of shape {rows.shape}; {len(columns)} units have it")
        if self._of_one is not None:
            self._of_one[self._evenly[name]] = rows.reshape(-1) if rows.ndim else rows
        else:
            self._by_member[:, self._evenly[name]] = rows.T

    @property
    def _by_member(self) -> Array:
        """A view of the commands (members, commands)."""
        return self._commands.T if self._side_by_side else self._commands

    def _slots(self, nodes: tuple[str, ...], valves: tuple[str, ...], pumps: tuple[str, ...]) -> dict[str, Slot]:
        """What may change from step to step, by name."""
        arrays = (
            ("node_supply_temp_k", nodes),
            ("node_demand_kg_s", nodes),
            ("fixed_pressure_pa", nodes),
            ("valve_opening", valves),
            ("valve_flow_kg_s", valves),
            ("pump_speed", pumps),
            ("pump_pressure_rise_pa", pumps),
        )
        found = {name: Slot(k, (), things) for k, (name, things) in enumerate(arrays) if things}
        found["ambient_temp_k"] = Slot(len(arrays), (), ())
        for name, columns in self._columns.items():
            found[name] = Slot(len(arrays) + 1, tuple(columns.tolist()), self.units_with[name])
        return found

    def _copy(self, network: Network, units: Sequence[CompiledUnit]) -> "NetworkInputs":
        """Inputs of their own with the same numbers."""
        copy = NetworkInputs(network, units, len(self.ambient_temp_k), self._side_by_side)
        for mine, theirs in zip(copy._values(), self._values(), strict=True):
            mine[:] = theirs
        return copy

    def _take_step(self, courses: Courses, step: int) -> None:
        """Become what they are in a step of a run."""
        arrays = self._values()
        for number, columns, values in courses:
            if columns is None:
                arrays[number][:] = values[step]
            else:
                self._by_member[:, columns] = values[step].T

    def _values(self) -> tuple[Array, ...]:
        """In the order of `ALLOWED`, each with the members last but the commands."""
        return (
            self.node_supply_temp_k,
            self.node_demand_kg_s,
            self.fixed_pressure_pa,
            self.valve_opening,
            self.valve_flow_kg_s,
            self.pump_speed,
            self.pump_pressure_rise_pa,
            self.ambient_temp_k[None, :],
            self._commands,
        )

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, "_arrays"):
            raise InvalidInput(f"inputs: {name} is filled in place, {name}[:] = ..., not replaced")
        object.__setattr__(self, name, value)


def _every(columns: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """The same, as a slice where it can be one: numpy is quicker with it."""
    step = int(columns[1] - columns[0]) if len(columns) > 1 else 1
    evenly = range(int(columns[0]), int(columns[-1]) + 1, step)
    return slice(evenly.start, evenly.stop, step) if columns.tolist() == [*evenly] else columns


def _columns(rows: Array, names: Mapping[str, Sequence[str]], order: Iterable[str]) -> dict[str, dict[str, Array]]:
    """Views of the columns of `rows`, by their names under the name of the unit, in the `order` of the units."""
    column = count()
    found = {unit: {name: rows[:, next(column)] for name in some} for unit, some in names.items()}
    return {unit: found[unit] for unit in order}


class NetworkState:
    """All that a network is at one instant, and what happened in the step that led to it.

    Results of the last step (means over it), where nothing flowed the temperature of the standing water:
        node_temp_k (nodes, members), pipe_outlet_temp_k (pipes, members), pipe_flow_kg_s, valve_flow_kg_s,
        pump_flow_kg_s, unit_flow_kg_s (each by members; positive from start to end), energy_in_j, energy_out_j,
        energy_loss_j, energy_stored_change_j (members,)
    At its end: node_pressure_pa, node_unsupplied (nodes, members; 1 where no held pressure can be felt: nothing flows)
    Since the initial state: total_in_j, total_out_j, total_loss_j, total_stored_change_j (members,)

    Energies of water count from 0 degC. `rows` holds plugs and walls: (members, width), or where an ensemble is stepped
    in vectors (blocks of members side by side, all of their numbers).
    """

    __slots__ = (
        "_arrays",
        "_block",
        "_memos",
        "_records",
        "_shape",
        "_step_j",
        "_stored_j",
        "_total_j",
        "_unit_results",
        "edge_flow_kg_s",
        "node_pressure_pa",
        "node_temp_k",
        "node_unsupplied",
        "pipe_outlet_temp_k",
        "rows",
    )

    def __init__(self, shape: _Shape, block: Array | None = None) -> None:
        """`block`: one array that holds everything; by default zeros."""
        self._shape = shape
        sizes = [prod(part) for part in shape.parts()]
        self._block = _aligned(sum(sizes))
        if block is not None:
            self._block[:] = block
        arrays = np.split(self._block, np.cumsum(sizes)[:-1])
        (
            self.rows,
            self._records,
            self._stored_j,
            self._step_j,
            self._total_j,
            self.node_temp_k,
            self.node_pressure_pa,
            self.node_unsupplied,
            self.edge_flow_kg_s,
            self.pipe_outlet_temp_k,
            self._unit_results,
        ) = (array.reshape(part) for array, part in zip(arrays, shape.parts(), strict=True))
        # Not state: what can be worked out again.
        self._memos = np.full((shape.members, shape.pipes * shape.memo), np.nan)
        self._arrays = Arrays(
            self.rows,
            self._memos,
            self._records,
            self._stored_j,
            self._step_j,
            self._total_j,
            self.node_temp_k,
            self.node_pressure_pa,
            self.node_unsupplied,
            self.edge_flow_kg_s,
            self.pipe_outlet_temp_k,
            self._unit_results,
        )

    BY_MEMBER: Final = (
        "_stored_j",
        "_step_j",
        "_total_j",
        "node_temp_k",
        "node_pressure_pa",
        "node_unsupplied",
        "edge_flow_kg_s",
        "pipe_outlet_temp_k",
    )

    energy_in_j = property(lambda self: self._step_j[0])
    energy_out_j = property(lambda self: self._step_j[1])
    energy_loss_j = property(lambda self: self._step_j[2])
    energy_stored_change_j = property(lambda self: self._step_j[3])
    total_in_j = property(lambda self: self._total_j[0])
    total_out_j = property(lambda self: self._total_j[1])
    total_loss_j = property(lambda self: self._total_j[2])
    # The last row is what was stored in the beginning.
    total_stored_change_j = property(lambda self: self._stored_j - self._total_j[3])

    @property
    def pipe_flow_kg_s(self) -> Array:
        """A view (pipes, members)."""
        return self.edge_flow_kg_s[: self._shape.pipes]

    @property
    def valve_flow_kg_s(self) -> Array:
        """A view (valves, members)."""
        first = self._shape.pipes
        return self.edge_flow_kg_s[first : first + self._shape.valves]

    @property
    def pump_flow_kg_s(self) -> Array:
        """A view (pumps, members)."""
        last = self._shape.edges - self._shape.units
        return self.edge_flow_kg_s[last - self._shape.pumps : last]

    @property
    def unit_result_rows(self) -> Array:
        """A view (members, results) of what `NetworkPlan.unit_results` gives by name, in the same order."""
        return self._unit_results[:, : self._shape.result]

    @property
    def unit_flow_kg_s(self) -> Array:
        """A view (units, members)."""
        return self.edge_flow_kg_s[self._shape.edges - self._shape.units :]

    def _rows(self, columns: Columns) -> list[Array]:
        """Views (members,) of what a run keeps, by the arrays that the slots of `NetworkPlan.records` count."""
        arrays = (
            self._step_j,
            self.node_temp_k,
            self.node_pressure_pa,
            self.node_unsupplied,
            self.edge_flow_kg_s,
            self.pipe_outlet_temp_k,
            self._unit_results.T,
        )
        return [arrays[array][row] for array, row in columns]

    def copy(self) -> "NetworkState":
        """A state of its own with the same numbers."""
        return NetworkState(self._shape, self._block)

    def restore(self, snapshot: "NetworkState") -> None:
        """Become what `snapshot`, a copy of a state of the same plan, is.

        Raises:
            InvalidInput: it is of another plan.
        """
        if snapshot._shape != self._shape:
            raise InvalidInput("a snapshot of another plan cannot be restored")
        self._block[:] = snapshot._block

    def to_bytes(self) -> bytes:
        """Every number, bit exact; `NetworkPlan.state_from_bytes` reads it on any processor."""
        state = self._with_lanes(1)
        data = state._block.tobytes()
        return _HEADER.pack(_MAGIC, *astuple(state._shape), zlib.crc32(data)) + data

    def _with_lanes(self, lanes: int) -> "NetworkState":
        """The same with as many members side by side."""
        if lanes == self._shape.lanes:
            return self
        state = NetworkState(replace(self._shape, lanes=lanes))
        state._take_members(*self._members())
        state._unit_results[:] = self._unit_results
        for name in self.BY_MEMBER:
            getattr(state, name)[:] = getattr(self, name)
        return state

    def _members(self) -> tuple[Array, Array]:
        """Rows and records, one member after the other."""
        shape = self._shape
        if shape.lanes == 1:
            return self.rows, self._records
        blocks = self.rows.reshape(len(self.rows), -1, shape.lanes)
        whole = blocks.transpose(0, 2, 1).reshape(-1, shape.row + shape.record - shape.state)[: shape.members]
        return whole[:, : shape.row], np.hstack([whole[:, shape.row :], self._records])

    def _take_members(self, rows: Array, records: Array) -> None:
        """Become what the rows and records of members are, one after the other."""
        shape = self._shape
        if shape.lanes == 1:
            self.rows[:], self._records[:] = rows, records
            return
        split = shape.record - shape.state
        # Lanes to spare are as the first of their block.
        member = np.arange(len(self.rows) * shape.lanes)
        member = np.where(member < shape.members, member, member - member % shape.lanes)
        whole = np.hstack([rows, records[:, :split]])[member]
        blocks = whole.reshape(len(self.rows), shape.lanes, -1).transpose(0, 2, 1)
        self.rows.reshape(blocks.shape)[:] = blocks
        self._records[:] = records[:, split:]


def _aligned(count: int) -> Array:
    """Zeros that begin with a line of the cache, as vectors are read fastest."""
    room = np.zeros(count + 8)
    first = -room.ctypes.data // 8 % 8
    return room[first : first + count]


class NetworkPlan:
    """The compiled form of a network: fixed for its life, shared by all its states."""

    def __init__(
        self,
        network: Network,
        members: int = 1,
        cells: int | None = None,
        fidelity: str = Fidelity.FULL,
        inner_step_s: float | None = None,
    ) -> None:
        """`members`: how many copies of the network run side by side, each with its own inputs and state.

        `cells`: of every pipe; by default from its length and diameter. `fidelity`: "full" follows plugs of water and
        the wall beside them, "planning" is several times quicker (docs/models/planning.md). `inner_step_s`: longer
        steps are cut into equal parts of at most this; what mixes at a node within a part travels as its mean. By
        default 5 s, in steps of more than 900 s and in planning longer, up to 60 s.

        Raises:
            InvalidInput: members, cells or inner step out of range, no such fidelity, or no pipe in the network.
        """
        if fidelity not in set(Fidelity):
            raise InvalidInput(f"network {network.name}: fidelity {fidelity!r}; there are {', '.join(Fidelity)}")
        if members < 1:
            raise InvalidInput(f"network {network.name}: {members} members; at least one is needed")
        if not network.pipes:
            raise InvalidInput(f"network {network.name}: has no pipes, there is nothing to follow")
        if cells is not None and not 4 <= cells <= MAX_CELLS_OF_A_PIPE:
            raise InvalidInput(f"network {network.name}: {cells} cells; 4 to {MAX_CELLS_OF_A_PIPE} are possible")
        if inner_step_s is not None and not 0.0 < inner_step_s <= LONGEST_STEP_S:
            raise InvalidInput(
                f"network {network.name}: inner step of {inner_step_s} s; above 0 and up to {LONGEST_STEP_S:.0f} s is "
                "possible"
            )
        self._inner_step_s: Final = (
            LONGEST_INNER_STEP_S if inner_step_s is None and fidelity == Fidelity.PLANNING else inner_step_s
        )
        self.name: Final = network.name
        self.nodes: Final = tuple(node.name for node in network.nodes)
        self.pipes: Final = tuple(pipe.name for pipe in network.pipes)
        self.valves: Final = tuple(valve.name for valve in network.valves)
        self.pumps: Final = tuple(pump.name for pump in network.pumps)
        self.units: Final = tuple(unit.name for unit in network.units)
        self.members: Final = members
        # The first source; without one, the first node where a pressure is held.
        self.source: Final = next(
            (i for i, node in enumerate(network.nodes) if node.kind is NodeKind.SOURCE),
            next((i for i, node in enumerate(network.nodes) if node.pressure_pa is not None), 0),
        )
        self._network: Final = network
        index = {name: i for i, name in enumerate(self.nodes)}
        edges: tuple[Edge, ...] = (*network.pipes, *network.valves, *network.pumps, *network.units)
        self._ends: Final = np.array([(index[edge.start], index[edge.end]) for edge in edges])
        self._units: Final = tuple(compile_unit(unit) for unit in network.units)
        # In the order in which kernels have them; all arrays that a caller sees are in that of the network.
        self._node_rows, self._edge_rows = self._along_the_water(network)
        self._pipe_rows: Final = self._edge_rows[: len(self.pipes)]
        self._unit_rows: Final = self._edge_rows[len(edges) - len(self.units) :] - (len(edges) - len(self.units))
        compiled = self._compiled(network, cells, Fidelity(fidelity))
        self._graph: Final[Graph] = compiled[0]
        self._beside: Final[LaneGraph | None] = compiled[1]  # where several members are stepped side by side
        self._shape: Final = _Shape(
            nodes=len(self.nodes),
            pipes=len(self.pipes),
            valves=len(self.valves),
            pumps=len(self.pumps),
            units=len(self.units),
            members=members,
            row=self._graph.width,
            record=self._graph.records,
            state=self._graph.units.states,
            result=self._graph.units.results,
            memo=self._graph.memo,
            layout=compiled[2],
            lanes=lanes.WIDTH if self._beside else 1,
        )
        self._input_shape: Final = self.inputs()._shape
        self._works: Final[list[Work]] = []  # room to work in, for as many threads as ever stepped at a time

    @property
    def _stepping(self) -> Graph | LaneGraph:
        return self._beside or self._graph

    def _along_the_water(self, network: Network) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        units = len(self._ends) - len(self.units)
        produces = [unit.kind in PRODUCERS for unit in self._units]
        producers = self._ends[units:][np.array(produces, dtype=bool)].tolist()
        sources = [i for i, node in enumerate(network.nodes) if node.kind is NodeKind.SOURCE]
        # Pipes are wide enough for about the same speed: by their diameter the pressure falls alike along all of them.
        wide = {pipe_class.name: pipe_class.inner_diameter_m for pipe_class in network.pipe_classes}
        nodes, edges = along_the_water(
            len(self.nodes),
            self._ends,
            [pipe.length_m / wide[pipe.pipe_class] for pipe in network.pipes]
            + [0.0] * (len(network.valves) + len(network.pumps)),
            [*sources, *(end for _, end in producers)] or [self.source],
            [start for start, _ in producers],
        )
        pipes = len(self.pipes)
        return nodes, np.concatenate([edges[edges < pipes], np.arange(pipes, units), edges[edges >= units]])

    def _compiled(self, network: Network, cells: int | None, fidelity: Fidelity) -> tuple[Graph, LaneGraph | None, int]:
        network = replace(
            network,
            nodes=tuple(network.nodes[i] for i in self._node_rows),
            pipes=tuple(network.pipes[i] for i in self._pipe_rows),
            units=tuple(network.units[i] for i in self._unit_rows),
        )
        classes = {pipe_class.name: pipe_class for pipe_class in network.pipe_classes}
        number = {pipe.name: i for i, pipe in enumerate(network.pipes)}
        made = [_geometry(pipe, classes[pipe.pipe_class], cells) for pipe in network.pipes]
        imposed = network.flows_are_imposed
        source = [node.kind is NodeKind.SOURCE for node in network.nodes]
        held = [s if imposed else node.pressure_pa is not None for s, node in zip(source, network.nodes, strict=True)]
        hydraulics = None if imposed else hydraulic_graph(network, {u.name: u.nominal_flow_kg_s for u in self._units})
        geometries = [geometry for geometry, _ in made]
        twin = [number[pipe.twin] if pipe.twin else -1 for pipe in network.pipes]
        result = count()
        columns = [[next(result) for _ in unit.result_names] for unit in self._units]
        passed = self._passed_units
        units = Units(
            [unit.kind for unit in passed],
            [unit.parameters for unit in passed],
            [unit.state for unit in passed],
            [len(unit.command) for unit in passed],
            [[name.endswith(SUMMED) for name in unit.result_names] for unit in passed],
            [column for i in self._unit_rows for column in columns[i]],
        )
        place = np.empty(len(self.nodes), dtype=np.intp)
        place[self._node_rows] = np.arange(len(place))
        ends = place[self._ends[self._edge_rows]]
        start, end = ends[:, 0], ends[:, 1]
        tree = _outwards(ends, len(self.nodes), int(place[self.source])) if imposed else []
        plan = HydraulicPlan(hydraulics) if hydraulics is not None else None
        kind = hydraulics.kind if hydraulics is not None else ()
        pipes = Pipes(geometries) if fidelity is Fidelity.FULL else Rings(geometries)
        shares = [share for _, share in made]
        rows = self._node_rows, self._edge_rows
        graph = Graph(pipes, *rows, start, end, source, held, twin, shares, units, tree, hydraulics=plan, kind=kind)
        # Pipes that share a casing are stepped one member after the other.
        if not isinstance(pipes, Rings) or self.members == 1 or any(i >= 0 for i in twin):
            return graph, None, self._layout(geometries)
        beside = LaneGraph(pipes, *rows, start, end, source, held, units, tree, hydraulics=plan, kind=kind)
        return graph, beside, self._layout(geometries)

    def _layout(self, geometries: Sequence[PipeGeometry]) -> int:
        """Kernels trust a state to be of their network: where another one begins a pipe, anything may be read."""
        units = [(int(unit.kind), len(unit.state), len(unit.result_names)) for unit in self._passed_units]
        numbers = self._ends, self._node_rows, self._edge_rows, [geometry.cells for geometry in geometries], units
        return zlib.crc32(np.concatenate([np.asarray(some, dtype="<i8").reshape(-1) for some in numbers]).tobytes())

    @property
    def _passed_units(self) -> list[CompiledUnit]:
        """In the order in which kernels have them."""
        return [self._units[i] for i in self._unit_rows]

    def inputs(self) -> NetworkInputs:
        """New inputs of the right shape, with what the network begins with."""
        return NetworkInputs(self._network, self._passed_units, self.members, self._beside is not None)

    def initial_state(self, temp_k: float | Sequence[float] | Array) -> NetworkState:
        """Water and walls at one temperature, or going linearly along each pipe between temperatures at the nodes.

        `temp_k`: one number, or per node (nodes,) or (nodes, members).

        Raises:
            InvalidInput: another shape, or a temperature outside of liquid water.
        """
        shape = (len(self.nodes), self.members)
        given = np.asarray(temp_k, dtype=np.float64)
        if given.ndim == 1:
            given = given[:, None]
        if given.shape not in ((), shape, (shape[0], 1)):
            raise InvalidInput(f"initial temperatures of shape {given.shape}; one number or {shape} is needed")
        temps = np.array(np.broadcast_to(given, shape), order="C")
        if not ((temps >= water.TEMP_RANGE_K[0]) & (temps <= water.TEMP_RANGE_K[1])).all():
            self._refuse(temps, "initial temperature", "node", water.TEMP_RANGE_K, "K")
        state = NetworkState(self._shape)
        start, end = (np.ascontiguousarray(temps[self._ends[self._pipe_rows, k]]) for k in (0, 1))
        rows, records = np.empty((self.members, self._shape.row)), np.empty((self.members, self._shape.record))
        self._graph.pipes.fill(rows, start, end)
        self._graph.fill(records, temps[self._node_rows])
        state._take_members(rows, records)
        state.node_temp_k[:] = temps
        state.pipe_outlet_temp_k[self._pipe_rows] = end
        self._stepping.stored_energy_j(state._arrays, state._stored_j)
        state._total_j[3] = state._stored_j
        return state

    def state_from_bytes(self, data: bytes) -> NetworkState:
        """The state that `NetworkState.to_bytes` wrote.

        Raises:
            InvalidInput: not such bytes, damaged, or of another network or number of members.
        """
        if len(data) < _HEADER.size or data[:8] != _MAGIC:
            raise InvalidInput(f"network {self.name}: these bytes are not a network state")
        _, *found, checksum = _HEADER.unpack_from(data)
        shape = _Shape(*found)
        if shape != replace(self._shape, lanes=1):
            raise InvalidInput(f"network {self.name}: these bytes are of a {shape}; {self._shape} belongs here")
        body = data[_HEADER.size :]
        if len(body) != 8 * sum(prod(part) for part in shape.parts()) or zlib.crc32(body) != checksum:
            raise InvalidInput(f"network {self.name}: the bytes of this state are damaged")
        return NetworkState(shape, np.frombuffer(body))._with_lanes(self._shape.lanes)

    def fork(self, state: NetworkState, member: int = 0) -> NetworkState:
        """A state of this plan all of whose members are what `member` is in `state`.

        `state` may be of a plan with another number of members, of the same network, cells and fidelity.

        Raises:
            InvalidInput: it is of another network, or has no such member.
        """
        if replace(state._shape, members=self.members, lanes=self._shape.lanes) != self._shape:
            raise InvalidInput(f"network {self.name}: a state of another network cannot be forked")
        if not 0 <= member < state._shape.members:
            raise InvalidInput(f"network {self.name}: member {member} of {state._shape.members}")
        forked = NetworkState(self._shape)
        rows, records = (np.repeat(part[member : member + 1], self.members, axis=0) for part in state._members())
        if state._shape.lanes != self._shape.lanes:
            self._graph.forget_cuts(records)
        forked._take_members(rows, records)
        forked._unit_results[:] = state._unit_results[member]
        for name in NetworkState.BY_MEMBER:
            getattr(forked, name)[:] = getattr(state, name)[..., member : member + 1]
        return forked

    def unit_results(self, state: NetworkState) -> dict[str, dict[str, Array]]:
        """What units did in the last step, by name of the unit and of the result: views (members,).

        Heat (to the water), fuel and the like are sums over the step, temperatures and powers means.
        """
        return _columns(state._unit_results, {unit.name: unit.result_names for unit in self._units}, self.units)

    def unit_states(self, state: NetworkState) -> dict[str, dict[str, Array]]:
        """What units are, by name of the unit and of the number: views (members,)."""
        first = self._shape.beside - self._shape.state
        names = {unit.name: unit.state_names for unit in self._passed_units}
        return _columns(state._records[:, first:], names, self.units)

    def step(
        self, state: NetworkState, dt_s: float, inputs: NetworkInputs, first: int = 0, last: int | None = None
    ) -> None:
        """Advance `state` in place by `dt_s`, during which `inputs` hold.

        `first` and `last`: of the members, by default all. Several threads may step members of one state at a time as
        long as none are common to two; the step runs without the GIL and its result does not depend on the threads.

        Raises:
            InvalidInput: a wrong shape, a value that is not a number or out of range; the state is as it was.
            NotConverged: no flows were found that fit the pressures.
            ModelFailure: a unit gives off what is not liquid water. After these two the members that failed are as
                they were and the others a step ahead.
        """
        last = self.members if last is None else last
        self._check(state, dt_s, inputs, first, last)
        code, element, member, iterations = self._step(state, dt_s, inputs, first, last)
        if code:
            self._fail(code, element, member, iterations)

    def _check(self, state: NetworkState, dt_s: float, inputs: NetworkInputs, first: int, last: int) -> None:
        if not (isfinite(dt_s) and 0.0 < dt_s <= LONGEST_STEP_S):
            raise InvalidInput(
                f"network {self.name}: step of {dt_s} s; above 0 and up to {LONGEST_STEP_S:.0f} s is allowed"
            )
        if not 0 <= first <= last <= self.members:
            raise InvalidInput(f"network {self.name}: members {first} to {last} of {self.members}")
        if state._shape is not self._shape and state._shape != self._shape:
            raise InvalidInput(f"network {self.name}: this state belongs to another plan")
        self._check_inputs(inputs)

    def _step(
        self, state: NetworkState, dt_s: float, inputs: NetworkInputs, first: int, last: int
    ) -> tuple[int, int, int, int]:
        work = self._take_work()
        try:
            return self._stepping.step(work, state._arrays, inputs._arrays, first, last, dt_s, self.parts(dt_s))
        finally:
            self._works.append(work)

    def _take_work(self) -> Work:
        try:  # not asked first whether there is one: another thread may take the last in between
            return self._works.pop()
        except IndexError:
            return self._stepping.work()

    def records(self, steps: int, keep: Mapping[str, Sequence[str] | None], every: int = 1) -> Records:
        """What a run of `steps` keeps after every `every` of them.

        `keep`: names of things by quantity, None: all. Quantities are those of the state (`node_temp_k`,
        `node_pressure_pa`, `node_unsupplied`, `pipe_outlet_temp_k`, `pipe_flow_kg_s`, `valve_flow_kg_s`,
        `pump_flow_kg_s`, `unit_flow_kg_s`, and of the network `energy_in_j`, `energy_out_j`, `energy_loss_j`,
        `energy_stored_change_j`) and results of units (`heat_j`, ...).

        Raises:
            UnknownName: no such quantity or thing.
            InvalidInput: steps or every are not positive.
        """
        if steps < 1 or every < 1:
            raise InvalidInput(f"network {self.name}: records of {steps} steps, after every {every}; 1 at least")
        slots = self._kept_slots() if keep else {}
        for name in keep:
            if name not in slots:
                raise UnknownName("quantity", name, slots)
        return Records({n: chosen(n, slots[n], some) for n, some in keep.items()}, steps, every, self.members)

    def _kept_slots(self) -> dict[str, Slot]:
        energies = ("energy_in_j", "energy_out_j", "energy_loss_j", "energy_stored_change_j")
        found = {name: Slot(0, (k,), ()) for k, name in enumerate(energies)}
        of_nodes = ("node_temp_k", "node_pressure_pa", "node_unsupplied")
        found |= {name: Slot(1 + k, tuple(range(len(self.nodes))), self.nodes) for k, name in enumerate(of_nodes)}
        edge = count()
        for kind in ("pipe", "valve", "pump", "unit"):
            things = getattr(self, kind + "s")
            found[f"{kind}_flow_kg_s"] = Slot(4, tuple(next(edge) for _ in things), things)
        found["pipe_outlet_temp_k"] = Slot(5, tuple(range(len(self.pipes))), self.pipes)
        results: dict[str, list[tuple[int, str]]] = {}
        named = ((name, unit.name) for unit in self._units for name in unit.result_names)
        for column, (name, unit_name) in enumerate(named):
            results.setdefault(name, []).append((column, unit_name))
        for name, told in results.items():
            found[name] = Slot(6, tuple(column for column, _ in told), tuple(unit_name for _, unit_name in told))
        return found

    def run(
        self,
        state: NetworkState,
        dt_s: float,
        inputs: NetworkInputs,
        steps: int,
        course: Mapping[str, ArrayLike] | None = None,
        records: Records | None = None,
        first: int = 0,
        last: int | None = None,
    ) -> None:
        """Advance `state` in place by many steps, as `step` called so many times would, to the same bits, but quicker.

        An ensemble in vectors runs many steps of some members before those of the next, which stay in the cache, and
        works out only what somebody asks for.

        `course`: what changes from step to step, by name: an array of the inputs (`node_demand_kg_s`, ...) or a command
        of all units that have it (`flow_kg_s`, in the order of `inputs.units_with`), each (steps,), (steps, things) or
        (steps, things, members); `ambient_temp_k` is (steps,) or (steps, members). All else is in every step as in
        `inputs`, which stay as they are. `records`: what is kept, from `records(steps, ...)`. `first` and `last` as for
        `step`.

        A long run can be interrupted; the members of an ensemble in vectors are then all as far.

        Raises:
            UnknownName, InvalidInput: as `step`, also for the course; the state is as it was.
            NotConverged, ModelFailure: at the end. Members that failed are as they were before that step, their records
                from then on not a number; the others are at the end.
        """
        last = self.members if last is None else last
        self._check(state, dt_s, inputs, first, last)
        if steps < 1:
            raise InvalidInput(f"network {self.name}: a run of {steps} steps; 1 at least")
        if records is None:
            records = self.records(steps, {})
        elif records.steps != steps or records._out.shape[2] != self.members:
            raise InvalidInput(f"network {self.name}: these records are of another run")
        slots = inputs._slots(self.nodes, self.valves, self.pumps) if course else {}
        bounds = [limits for _, _, limits, _ in ALLOWED]
        try:
            given = courses(slots, bounds, course or {}, steps, self.members)
        except InvalidInput as error:
            raise InvalidInput(f"network {self.name}: {error}") from None
        run = self._run_apart if self._beside is None else self._run_beside
        code, element, member, iterations, step = run(state, dt_s, inputs, given, records, range(first, last))
        if code:
            self._fail(code, element, member, iterations, f", step {step + 1}")

    def _run_beside(
        self, state: NetworkState, dt_s: float, inputs: NetworkInputs, given: Courses, records: Records, members: range
    ) -> tuple[int, int, int, int, int]:
        """In pieces of about a quarter of a second, between which Python looks for signals."""
        assert self._beside is not None
        parts = self.parts(dt_s)
        piece = min(max(MEMBER_PIPES_OF_A_PIECE // (len(self.pipes) * self.members * parts), 8), 256)
        rows = state._rows(records._columns)
        gone = np.zeros(self.members, dtype=np.int8)
        failure = (0, -1, -1, 0, -1)
        work = self._take_work()
        try:
            for begin in range(0, records.steps, piece):
                code, element, member, iterations, step = self._beside.run(
                    work,
                    state._arrays,
                    inputs._arrays,
                    members.start,
                    members.stop,
                    dt_s,
                    parts,
                    begin,
                    min(piece, records.steps - begin),
                    given,
                    records._place,
                    rows,
                    records._out,
                    gone,
                )
                if code and not failure[0]:
                    failure = (code, element, member, iterations, begin + step)
        finally:
            self._works.append(work)
        return failure

    def _run_apart(
        self, state: NetworkState, dt_s: float, inputs: NetworkInputs, given: Courses, records: Records, members: range
    ) -> tuple[int, int, int, int, int]:
        """Step by step and member by member."""
        rows = state._rows(records._columns)
        failure = (0, -1, -1, 0, -1)
        going = list(members)
        now = inputs._copy(self._network, self._passed_units) if given else inputs
        for k in range(records.steps):
            now._take_step(given, k)
            for member in tuple(going):
                found = self._step(state, dt_s, now, member, member + 1)
                if found[0]:
                    going.remove(member)
                    failure = failure if failure[0] else (*found, k)
            if records._place[k] >= 0:
                for column, row in enumerate(rows):
                    records._out[records._place[k], column, going] = row[going]
        return failure

    def parts(self, dt_s: float) -> int:
        """Into how many equal parts a step of `dt_s` is cut."""
        longest_s = self._inner_step_s
        if longest_s is None:
            longest_s = min(max(SHORTEST_INNER_STEP_S, dt_s / MOST_SHORT_PARTS), LONGEST_INNER_STEP_S)
        return ceil(dt_s / longest_s)

    def _fail(self, code: int, element: int, member: int, iterations: int, when: str = "") -> NoReturn:
        culprit = self._edge_name(element) if element >= 0 else "no single element"
        if code == NO_FLOWS_FOUND:
            raise NotConverged(self.name + self._of_member(member) + when, culprit, iterations)
        raise ModelFailure(
            f"network {self.name}: {culprit}{self._of_member(member)}{when} would give off water that is not liquid: "
            f"its heat does not fit the flow through it"
        )

    def _edge_name(self, edge: int) -> str:
        edge = int(self._edge_rows[edge])
        for kind, names in (("pipe", self.pipes), ("valve", self.valves), ("pump", self.pumps), ("unit", self.units)):
            if edge < len(names):
                return f"{kind} {names[edge]}"
            edge -= len(names)
        raise AssertionError(edge)

    def _check_inputs(self, inputs: NetworkInputs) -> None:
        if inputs._shape != self._input_shape:
            raise InvalidInput(f"network {self.name}: these inputs belong to another plan")
        wrong = inputs._arrays.first_wrong()
        if wrong >= 0:
            values = inputs._values()[wrong]
            self._refuse(inputs._by_member if values is inputs._commands else values, *ALLOWED[wrong])

    def stored_energy_j(self, state: NetworkState) -> Array:
        """Heat content of water and pipe walls above 0 degC, (members,)."""
        out = np.empty(self.members)
        self._stepping.stored_energy_j(state._arrays, out)
        return out

    def _refuse(self, values: Array, what: str, kind: str, allowed: tuple[float, float], unit: str) -> NoReturn:
        """Name the first value that is not allowed."""
        low, high = allowed
        row, column = np.argwhere(~((values >= low) & (values <= high)))[0].tolist()
        member, at = column, ""
        if kind:
            at = f" at {kind} {getattr(self, kind + 's')[row]}"
        elif not what:
            member = row
            what = [f"{name} of unit {unit.name}" for unit in self._passed_units for name in unit.command_names][column]
        unit = f" {unit}" if unit else ""
        raise InvalidInput(
            f"network {self.name}: {what} {values[row, column]}{unit}{at}{self._of_member(member)}; "
            f"{low:g} to {high:g}{unit} is allowed"
        )

    def _of_member(self, member: int) -> str:
        return f", member {member}" if self.members > 1 else ""


def _geometry(pipe: Pipe, pipe_class: PipeClass, cells: int | None) -> tuple[PipeGeometry, float]:
    """Cells of a pipe, and the share of its loss conductance that leads to its twin."""
    geometry = pipe_geometry(pipe, pipe_class, cells)
    if not pipe.twin:
        return geometry, 0.0
    beside_w_k = geometry.cell_length_m / pipe_class.twin_resistance_mk_w
    whole_w_k = geometry.loss_w_k + beside_w_k
    return replace(geometry, loss_w_k=whole_w_k), beside_w_k / whole_w_k


def _outwards(ends: NDArray[np.intp], nodes: int, source: int) -> list[tuple[int, int]]:
    """Nodes of a tree from the source outwards, each with the pipe to it."""
    beside: list[list[tuple[int, int]]] = [[] for _ in range(nodes)]
    for pipe, (start, end) in enumerate(ends.tolist()):
        beside[start].append((end, pipe))
        beside[end].append((start, pipe))
    order = [(source, -1)]
    for here, came_by in order:
        order += [(other, pipe) for other, pipe in beside[here] if pipe != came_by]
    return order
