"""A heat network as a compiled plan, its state as arrays, and the step from one to the next.

The plan knows the shape of the network, the state is nothing but numbers, the inputs belong to the caller and are used
again for every step. All arrays are float64 in SI units; the last axis is the member of the ensemble.
"""

import struct
import zlib
from collections.abc import Sequence
from math import ceil, isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.network import Network, NodeKind
from uem.twin_core.thermal import water
from uem.twin_core.thermal.geometry import pipe_geometry
from uem.twin_core.thermal.pipes import MAX_CELLS_OF_A_PIPE, MEMO_NUMBERS, Pipes
from uem.twin_core.thermal.tree import SCRATCH_ROWS, Tree, first_wrong

Array = NDArray[np.float64]

# Longer steps are cut into equal parts, so that what mixes at a node arrives at the next one in time.
LONGEST_INNER_STEP_S: Final = 60.0
LONGEST_STEP_S: Final = 7 * 24 * 3600.0
LARGEST_FLOW_KG_S: Final = 1e5
AMBIENT_RANGE_K: Final = (173.15, 423.15)
_HEADER = struct.Struct("<8sQQQI")
_MAGIC = b"uemheat1"


class NetworkInputs:
    """What the surroundings do during a step. The caller fills the arrays in place.

    node_supply_temp_k (nodes, members): of water that comes in at a node: at the source, or where a demand is negative
    node_demand_kg_s (nodes, members): taken out (negative: fed in); the source's row is not used
    ambient_temp_k (members,)
    """

    __slots__ = ("ambient_temp_k", "node_demand_kg_s", "node_supply_temp_k")

    def __init__(self, nodes: int, members: int) -> None:
        self.node_supply_temp_k: Array = np.full((nodes, members), 293.15)
        self.node_demand_kg_s: Array = np.zeros((nodes, members))
        self.ambient_temp_k: Array = np.full(members, 283.15)


class NetworkState:
    """All that a network is at one instant, and what happened in the step that led to it.

    Results of the last step (means over it), where nothing flowed the temperature of the standing water:
        node_temp_k (nodes, members), pipe_outlet_temp_k (pipes, members), pipe_flow_kg_s (pipes, members; positive from
        start to end), energy_in_j, energy_out_j, energy_loss_j, energy_stored_change_j (members,)
    Since the initial state: total_in_j, total_out_j, total_loss_j, total_stored_change_j (members,)

    Energies of water count from 0 degC. `rows` (members, width) holds plugs and walls: one member after the other,
    because plugs of members with their own flows do not lie side by side.
    """

    __slots__ = (
        "_block",
        "_memos",
        "_scratch",
        "_step_j",
        "_stored_j",
        "_total_j",
        "node_temp_k",
        "pipe_flow_kg_s",
        "pipe_outlet_temp_k",
        "rows",
    )

    def __init__(self, nodes: int, members: int, width: int, block: Array | None = None) -> None:
        """`block`: one array of `block_size` numbers that holds everything; by default zeros."""
        pipes = nodes - 1
        sizes = _sizes(nodes, members, width)
        self._block = np.zeros(sum(sizes)) if block is None else block
        rows, stored, step, total, node, flow, outlet = np.split(self._block, np.cumsum(sizes)[:-1])
        self.rows: Array = rows.reshape(members, width)
        self._stored_j: Array = stored
        self._step_j: Array = step.reshape(4, members)
        self._total_j: Array = total.reshape(4, members)
        self.node_temp_k: Array = node.reshape(nodes, members)
        self.pipe_flow_kg_s: Array = flow.reshape(pipes, members)
        self.pipe_outlet_temp_k: Array = outlet.reshape(pipes, members)
        # Not state: what can be worked out again, and room to work in.
        self._memos = np.full((members, pipes * MEMO_NUMBERS), np.nan)
        self._scratch = np.empty((SCRATCH_ROWS, nodes))

    energy_in_j = property(lambda self: self._step_j[0])
    energy_out_j = property(lambda self: self._step_j[1])
    energy_loss_j = property(lambda self: self._step_j[2])
    energy_stored_change_j = property(lambda self: self._step_j[3])
    total_in_j = property(lambda self: self._total_j[0])
    total_out_j = property(lambda self: self._total_j[1])
    total_loss_j = property(lambda self: self._total_j[2])
    total_stored_change_j = property(lambda self: self._total_j[3])

    def copy(self) -> "NetworkState":
        """A state of its own with the same numbers."""
        members, width = self.rows.shape
        return NetworkState(len(self.node_temp_k), members, width, self._block.copy())

    def to_bytes(self) -> bytes:
        """Every number, bit exact; `NetworkPlan.state_from_bytes` reads it."""
        members, width = self.rows.shape
        data = self._block.tobytes()
        return _HEADER.pack(_MAGIC, len(self.node_temp_k), members, width, zlib.crc32(data)) + data


def _sizes(nodes: int, members: int, width: int) -> tuple[int, ...]:
    pipes = nodes - 1
    return (members * width, members, 4 * members, 4 * members, nodes * members, pipes * members, pipes * members)


class NetworkPlan:
    """The compiled form of a network: fixed for its life, shared by all its states."""

    def __init__(self, network: Network, members: int = 1, cells: int | None = None) -> None:
        """`members`: how many copies of the network run side by side, each with its own inputs and state.

        `cells`: of every pipe; by default from its length and diameter.

        Raises:
            InvalidInput: members or cells out of range, or no pipe in the network.
        """
        if members < 1:
            raise InvalidInput(f"network {network.name}: {members} members; at least one is needed")
        if not network.pipes:
            raise InvalidInput(f"network {network.name}: has no pipes, there is nothing to follow")
        if cells is not None and not 4 <= cells <= MAX_CELLS_OF_A_PIPE:
            raise InvalidInput(f"network {network.name}: {cells} cells; 4 to {MAX_CELLS_OF_A_PIPE} are possible")
        self.name: Final = network.name
        self.nodes: Final = tuple(node.name for node in network.nodes)
        self.pipes: Final = tuple(pipe.name for pipe in network.pipes)
        self.members: Final = members
        self.source: Final = next(i for i, node in enumerate(network.nodes) if node.kind is NodeKind.SOURCE)
        index = {name: i for i, name in enumerate(self.nodes)}
        self._ends: Final = np.array([(index[pipe.start], index[pipe.end]) for pipe in network.pipes])
        classes = {pipe_class.name: pipe_class for pipe_class in network.pipe_classes}
        pipes = Pipes([pipe_geometry(pipe, classes[pipe.pipe_class], cells) for pipe in network.pipes])
        self._tree: Final = Tree(pipes, *_outwards(self._ends, len(self.nodes), self.source))

    def inputs(self) -> NetworkInputs:
        """New inputs of the right shape: no flow."""
        return NetworkInputs(len(self.nodes), self.members)

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
        self._check("initial temperature", temps, water.TEMP_RANGE_K, "K")
        state = NetworkState(*shape, self._tree.pipes.width)
        start, end = (np.ascontiguousarray(temps[self._ends[:, k]]) for k in (0, 1))
        self._tree.pipes.fill(state.rows, start, end)
        state.node_temp_k[:] = temps
        state.pipe_outlet_temp_k[:] = end
        self._tree.stored_energy_j(state.rows, state._stored_j)
        return state

    def state_from_bytes(self, data: bytes) -> NetworkState:
        """The state that `NetworkState.to_bytes` wrote.

        Raises:
            InvalidInput: not such bytes, damaged, or of another network or number of members.
        """
        if len(data) < _HEADER.size or data[:8] != _MAGIC:
            raise InvalidInput(f"network {self.name}: these bytes are not a network state")
        _, nodes, members, width, checksum = _HEADER.unpack_from(data)
        mine = (len(self.nodes), self.members, self._tree.pipes.width)
        if (nodes, members, width) != mine:
            raise InvalidInput(
                f"network {self.name}: a state of {nodes} nodes, {members} members and {width} numbers "
                f"where {mine[0]}, {mine[1]} and {mine[2]} belong"
            )
        body = data[_HEADER.size :]
        if len(body) != 8 * sum(_sizes(*mine)) or zlib.crc32(body) != checksum:
            raise InvalidInput(f"network {self.name}: the bytes of this state are damaged")
        return NetworkState(*mine, np.frombuffer(body).copy())

    def step(self, state: NetworkState, dt_s: float, inputs: NetworkInputs) -> None:
        """Advance `state` in place by `dt_s`, during which `inputs` hold.

        Raises:
            InvalidInput: a wrong shape, a value that is not a number or out of range; the state is as it was.
        """
        if not (isfinite(dt_s) and 0.0 < dt_s <= LONGEST_STEP_S):
            raise InvalidInput(
                f"network {self.name}: step of {dt_s} s; above 0 and up to {LONGEST_STEP_S:.0f} s is allowed"
            )
        shape = (len(self.nodes), self.members)
        if state.node_temp_k.shape != shape or state.rows.shape[1] != self._tree.pipes.width:
            raise InvalidInput(f"network {self.name}: this state belongs to another plan")
        self._check("supply temperature", inputs.node_supply_temp_k, water.TEMP_RANGE_K, "K")
        self._check("demand", inputs.node_demand_kg_s, (-LARGEST_FLOW_KG_S, LARGEST_FLOW_KG_S), "kg/s")
        self._check_ambient(inputs.ambient_temp_k)
        self._tree.step(
            dt_s,
            ceil(dt_s / LONGEST_INNER_STEP_S),
            state.rows,
            state._memos,
            state._scratch,
            inputs.node_supply_temp_k,
            inputs.node_demand_kg_s,
            inputs.ambient_temp_k,
            state.node_temp_k,
            state.pipe_flow_kg_s,
            state.pipe_outlet_temp_k,
            state._stored_j,
            state._step_j,
            state._total_j,
        )

    def stored_energy_j(self, state: NetworkState) -> Array:
        """Heat content of water and pipe walls above 0 degC, (members,)."""
        out = np.empty(self.members)
        self._tree.stored_energy_j(state.rows, out)
        return out

    def _check(self, what: str, values: Array, allowed: tuple[float, float], unit: str) -> None:
        shape = (len(self.nodes), self.members)
        if values.shape != shape or values.dtype != np.float64 or not values.flags.c_contiguous:
            raise InvalidInput(
                f"network {self.name}: {what} is {values.dtype} of shape {values.shape}; float64 of {shape} is needed"
            )
        wrong = first_wrong(values, *allowed)
        if wrong >= 0:
            node, member = divmod(wrong, self.members)
            raise InvalidInput(
                f"network {self.name}: {what} {values[node, member]} {unit} at node {self.nodes[node]}"
                f"{self._of_member(member)}; {allowed[0]:g} to {allowed[1]:g} {unit} is allowed"
            )

    def _check_ambient(self, values: Array) -> None:
        if values.shape != (self.members,) or values.dtype != np.float64 or not values.flags.c_contiguous:
            raise InvalidInput(
                f"network {self.name}: ambient temperature is {values.dtype} of shape {values.shape}; "
                f"float64 of {(self.members,)} is needed"
            )
        low, high = AMBIENT_RANGE_K
        wrong = first_wrong(values[None, :], low, high)
        if wrong >= 0:
            raise InvalidInput(
                f"network {self.name}: ambient temperature {values[wrong]} K{self._of_member(wrong)}; "
                f"{low:g} to {high:g} K is allowed"
            )

    def _of_member(self, member: int) -> str:
        return f", member {member}" if self.members > 1 else ""


def _outwards(ends: NDArray[np.intp], nodes: int, source: int) -> tuple[list[int], list[int], list[int], list[float]]:
    """Nodes from the source outwards; per node its parent, the pipe to it, 1 if that is drawn outwards or else -1."""
    beside: list[list[tuple[int, int, float]]] = [[] for _ in range(nodes)]
    for pipe, (start, end) in enumerate(ends.tolist()):
        beside[start].append((end, pipe, 1.0))
        beside[end].append((start, pipe, -1.0))
    order, parent, pipe_of, sense = [source], [-1] * nodes, [-1] * nodes, [0.0] * nodes
    for here in order:
        for other, pipe, drawn in beside[here]:
            if pipe != pipe_of[here]:
                parent[other], pipe_of[other], sense[other] = here, pipe, drawn
                order.append(other)
    return order, parent, pipe_of, sense
