"""Heat through any graph of pipes, valves, pumps and units: from flows to temperatures, one member after the other.

Pure computation for network.py, which checks and names. SI units, temperatures in K. Edges are numbered pipes, valves,
pumps, units, each in the order of the network; a flow is positive from start to end.

Water goes through the edges in topological order of their present flows (Kahn). A cycle, as supply and return always
are one, is cut at a producer, whose outlet hardly depends on its inlet: it takes in its flow at the temperature of the
inner step before, and owes the heat by which that was wrong. A cycle without producers is cut at a pipe whose outflow
in this inner step is water that is in it already: it releases first and admits when its inlet is mixed; where there is
none, at another edge that owes heat. Cuts are part of the state: a step depends on nothing else.
"""

cimport cython
from libc.math cimport fabs
from libc.string cimport memcmp, memcpy, memset

import numpy as np

from uem.twin_core.thermal.pipes cimport (
    ENERGY_ZERO, HEAT_CAPACITY, LEAST_MOVE, MEMO_WIDTH, Kernel, Outflow, Pipe, Pipes, end_temp_k, record_width,
    releases_first
)
from uem.twin_core.thermal cimport rings as planning
from uem.twin_core.thermal.rings cimport Rings
from uem.twin_core.thermal.hydraulics cimport FLOW, PUMP_SPEED, SOLVED, Found, Given, HydraulicPlan, Room
from uem.twin_core.thermal.units.dispatch cimport advance_unit, stays_liquid, wanted_flow_kg_s
from uem.twin_core.thermal.units.limits cimport COLDEST, HOTTEST

from uem.twin_core.errors import InvalidInput
from uem.twin_core.thermal.units.dispatch import UnitKind

cdef extern from "lanes.h" nogil:
    void bring_near "uem_bring"(const double*, int)

cdef extern from *:
    """
    static inline void uem_near(const double* from, int count) {
        for (const char* line = (const char*) from; line < (const char*) (from + count); line += 64) {
            __builtin_prefetch(line, 1);
        }
    }
    """
    # Lines of the cache that will be written, without waiting for any of them.
    void ask_for "uem_near"(const double*, int) nogil

cdef enum:
    AHEAD = 3  # ways, whose pipes are brought near before they are needed
    LINE = 8  # numbers that come together
    USUAL_LINES = 4  # of a pipe for planning

# What leaves a node in all is a flow, or a demand so small that nothing may be divided by it.
cdef double LEAST_OUT = 1e-290

NO_FLOWS_FOUND = NO_FLOWS

cdef enum:  # of a way
    PIPE
    FILLED  # a pipe that gave its outflow already
    PASSED  # valve or pump
    UNIT
    DRAWN  # an edge that took in its flow already

cdef enum:  # where a cycle is cut, the best first
    NOWHERE = -1
    AT_PRODUCER = 0
    AT_RELEASE = 1
    AT_OTHER = 2  # valve, pump or unit
    AT_PIPE = 3


cdef struct Ends:
    int start  # node
    int end


cdef struct Beside:
    # An edge at a node, and the node at its other end.
    int edge
    int other
    int sign  # of a flow that leaves the node


cdef struct Moved:
    double mass  # kg
    double heat  # kg K


cdef struct Way:
    # An edge with flow, in the order of transport; with all that is needed on the way, so that it lies together.
    int edge
    int goal  # node
    Py_ssize_t offset  # of a pipe's record
    short lines  # of it, 0: no pipe
    signed char kind
    signed char sign
    bint owes
    double flow  # kg/s, without its sign
    double ambient  # K


cdef struct Member:
    # What one member is, as rows of its own in the state.
    double* row  # plugs and walls
    double* memo
    double* flow  # [edges] of the last inner step
    double* cut  # [edges]
    double* node_temp  # [nodes] last mixed
    double* owed  # [edges] kg K that came in and is still to go through
    double* pressure  # [nodes]
    double* memory  # of the hydraulics
    double* water_temp  # [pipes] mean, beside that in the row; not of rings
    double* unit_state
    const double* command  # of the units
    double* result


PRODUCERS = frozenset((
    UnitKind.HEAT_SOURCE, UnitKind.BOILER, UnitKind.CHP, UnitKind.INCINERATOR, UnitKind.HEAT_PUMP, UnitKind.WASTE_HEAT
))


cdef inline void book(Moved* moved, const Outflow* out) noexcept nogil:
    moved.mass += out.mass_kg
    moved.heat += out.heat_kgk


cdef class Arrays:
    """The arrays of a state, as the kernel reads and writes them; their shapes stand in network.py."""

    def __init__(self, rows, memos, records, stored_j, step_j, total_j, node_temp_k, node_pressure_pa, node_unsupplied,
                 edge_flow_kg_s, pipe_outlet_temp_k, unit_results):
        self.rows, self.memos, self.records, self.unit_results = rows, memos, records, unit_results
        self.stored_j, self.step_j, self.total_j = stored_j, step_j, total_j
        self.node_temp_k, self.node_pressure_pa, self.node_unsupplied = node_temp_k, node_pressure_pa, node_unsupplied
        self.edge_flow_kg_s, self.pipe_outlet_temp_k = edge_flow_kg_s, pipe_outlet_temp_k


cdef class InputArrays:
    """The arrays of inputs, as the kernel reads them, and within which bounds their values make sense."""

    def __init__(self, values, bounds):
        """The arrays as they stand above; `bounds`: lowest and highest value of each."""
        (
            self.supply_temp_k, self.demand_kg_s, self.pressure_pa, self.opening, self.valve_flow_kg_s, self.speed,
            self.pressure_rise_pa, self.ambient_temp_k, self.commands,
        ) = values
        cdef double[:, ::1] rows
        cdef InputArray* array
        for k, (rows, (low, high)) in enumerate(zip(values, bounds, strict=True)):
            array = &self.array[<int> k]
            array.count, array.width = rows.shape[0] * rows.shape[1], rows.shape[1]
            array.at = &rows[0, 0] if array.count else NULL
            array.low, array.high = low, high

    def first_wrong(self):
        """The first array with a value that is no number or out of bounds; -1: none."""
        cdef int k
        for k in range(INPUTS):
            if not within(&self.array[k]):
                return k
        return -1


cdef bint within(const InputArray* array) noexcept nogil:
    cdef Py_ssize_t i
    cdef double low = array.low, high = array.high
    cdef int right = 1
    for i in range(array.count):  # without a way out, so that several are compared at once
        right &= (array.at[i] >= low) & (array.at[i] <= high)
    return right


cdef class Work:
    """Room to work in for one thread, and the order of the flow graph that was last used."""

    cdef Py_ssize_t nodes
    cdef Py_ssize_t edges
    cdef object kept
    # Views into it.
    cdef int* indices
    cdef signed char* bytes
    cdef double* demand  # [nodes] kg/s
    cdef double* supply  # [nodes] K
    cdef double* fed  # [nodes] kg/s that comes in from outside
    cdef double* taken  # [nodes] kg/s that goes outside
    cdef double* out  # [nodes] kg/s that leaves on all ways
    cdef Moved* inflow  # [nodes] what came in during an inner step
    cdef double* mean_temp  # [nodes] over the inner steps so far
    cdef double part  # of the present one in such means
    cdef double* flow  # [edges] that holds from now on
    cdef double* mean_flow  # [edges]
    cdef Moved* outflow  # [edges] what came out
    cdef double* ambient  # [pipes + 1] K; the last is that of the ground
    cdef double* temp  # [edges] K, for the hydraulics
    cdef double* setting  # [edges] what commands an element
    cdef double* new_temp
    cdef double* new_wish  # [units] kg/s
    cdef double* pressure  # [nodes] Pa, where it is held
    cdef double* row_before  # what a member was before the step
    cdef double* record_before
    cdef double* result  # [results] of all units in an inner step
    cdef double* sum_result
    cdef double[4] ledger
    cdef double stored  # J in the pipes after the last inner step
    cdef bint last  # inner step of a step
    cdef int* order  # [nodes] such that water comes from earlier ones
    cdef int* first  # [nodes + 1] into way
    cdef Way* way  # [edges] with flow, by origin in that order
    cdef int* released  # [edges] pipes that release first
    cdef int* late  # [edges] that take in water as warm as it was
    cdef int* standing  # [edges] pipes and units without flow
    cdef int* waiting  # [nodes] edges that are still to come
    cdef int* remaining  # [nodes] edges to nodes that wait
    cdef int* ready  # [nodes]
    cdef int* choice  # [edges] where cycles could be cut, a heap
    cdef Py_ssize_t choices
    cdef Py_ssize_t releases
    cdef Py_ssize_t lates
    cdef Py_ssize_t stands
    cdef signed char* sign  # [edges] of the order
    cdef signed char* cut  # [edges] of the order
    cdef signed char* new_sign
    cdef signed char* new_cut
    cdef signed char* able  # [edges] pipes that could release first
    cdef signed char* balanced  # [nodes] give what is missing there and take what is too much
    cdef unsigned char* unsupplied  # [nodes] no pressure is held that could be felt there
    cdef bint ordered
    cdef bint careful  # the step might fail on its way: row_before holds what was
    cdef double lowest  # of all temperatures of nodes and the ambient, K
    cdef double highest
    cdef Room room  # of the hydraulics
    cdef int code  # what went wrong, and where
    cdef Py_ssize_t culprit
    cdef Py_ssize_t iterations

    def __cinit__(self, Py_ssize_t nodes, Py_ssize_t edges, Py_ssize_t width, Py_ssize_t records,
                  Py_ssize_t results, Room room):
        self.nodes, self.edges, self.room = nodes, edges, room
        # In one array: numpy asks for large pages, in which addresses are found sooner.
        cdef Py_ssize_t numbers = 9 * nodes + 9 * edges + 2 + width + records + 2 * results
        cdef Py_ssize_t ways = (edges + AHEAD) * sizeof(Way), indices = (5 * nodes + 4 * edges + 2) * sizeof(int)
        cdef double[::1] room_of_all = np.zeros(numbers + (ways + indices + 2 * nodes + 5 * edges) // 8 + 1)
        self.kept = room_of_all
        self.way = <Way*> &room_of_all[0]
        self.indices = <int*> (<char*> self.way + ways)
        self.bytes = <signed char*> self.indices + indices
        self.demand = &room_of_all[0] + (ways + indices + 2 * nodes + 5 * edges) // 8 + 1
        self.supply = self.demand + nodes
        self.fed = self.supply + nodes
        self.taken = self.fed + nodes
        self.out = self.taken + nodes
        self.inflow = <Moved*> (self.out + nodes)
        self.mean_temp = <double*> (self.inflow + nodes)
        self.mean_flow = self.mean_temp + nodes
        self.outflow = <Moved*> (self.mean_flow + edges)
        self.ambient = <double*> (self.outflow + edges)
        self.flow = self.ambient + edges + 1
        self.temp = self.flow + edges
        self.setting = self.temp + edges
        self.pressure = self.setting + edges
        self.row_before = self.pressure + nodes
        self.record_before = self.row_before + width
        self.result = self.record_before + records
        self.sum_result = self.result + results
        self.new_temp = self.sum_result + results
        self.new_wish = self.new_temp + edges
        self.order = self.indices
        self.first = self.order + nodes
        self.waiting = self.first + nodes + 1
        self.remaining = self.waiting + nodes
        self.ready = self.remaining + nodes
        self.released = self.ready + nodes
        self.late = self.released + edges
        self.standing = self.late + edges
        self.choice = self.standing + edges
        self.balanced = self.bytes
        self.sign = self.balanced + nodes
        self.cut = self.sign + edges
        self.new_sign = self.cut + edges
        self.new_cut = self.new_sign + edges
        self.able = self.new_cut + edges
        self.unsupplied = <unsigned char*> (self.able + edges)


@cython.final
cdef class Units:
    """The units of a network: kinds, numbers, and where those of each begin among those of all."""

    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t states  # numbers of all units together
    cdef readonly Py_ssize_t commands
    cdef readonly Py_ssize_t results
    cdef readonly int[::1] kind
    cdef readonly signed char[::1] produces  # [count] whether it warms the water
    cdef readonly double[::1] parameter
    cdef double[::1] initial
    cdef readonly Py_ssize_t[::1] parameter_first
    cdef readonly Py_ssize_t[::1] state_first
    cdef readonly Py_ssize_t[::1] command_first
    cdef readonly Py_ssize_t[::1] result_first
    cdef readonly int[::1] result_row  # [results] where they stand in the array of a state
    cdef readonly signed char[::1] is_sum  # [results] over a step, else a mean

    def __init__(self, kinds, parameters, states, command_counts, is_sum, result_rows):
        """Per unit its kind, parameters, initial state, number of commands, and whether each result is a sum; of all
        results one after the other the columns where they are told."""
        self.count = len(kinds)
        self.kind = np.array(kinds, dtype=np.intc)
        self.produces = np.array([kind in PRODUCERS for kind in kinds], dtype=np.int8)
        self.parameter, self.parameter_first = self.joined(parameters)
        self.initial, self.state_first = self.joined(states)
        self.command_first = np.cumsum([0, *command_counts], dtype=np.intp)
        self.is_sum = np.array([one for some in is_sum for one in some], dtype=np.int8)
        self.result_first = np.cumsum([0, *map(len, is_sum)], dtype=np.intp)
        self.result_row = np.array(result_rows, dtype=np.intc)
        self.states, self.commands = self.initial.shape[0], self.command_first[self.count]
        self.results = self.is_sum.shape[0]

    def joined(self, rows):
        whole = np.array([value for row in rows for value in row], dtype=np.float64)
        return whole, np.cumsum([0, *map(len, rows)], dtype=np.intp)

    cdef bint stay_liquid(self, const Member* m) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count):
            if not stays_liquid(
                self.kind[i], &self.parameter[self.parameter_first[i]], m.command + self.command_first[i]
            ):
                return False
        return True

    cdef double wanted(self, Py_ssize_t i, const Member* m, double temp) noexcept nogil:
        return wanted_flow_kg_s(
            self.kind[i], &self.parameter[self.parameter_first[i]], m.unit_state + self.state_first[i],
            m.command + self.command_first[i], temp,
        )

    cdef void advance(
        self, Py_ssize_t i, Member* m, double temp, double mass, double dt, double* result
    ) noexcept nogil:
        advance_unit(
            self.kind[i], &self.parameter[self.parameter_first[i]], m.unit_state + self.state_first[i],
            m.command + self.command_first[i], temp, mass, dt, result,
        )


@cython.final
cdef class Graph:
    """The shape of a network: ends of all edges, its pipes, and how its flows come about."""

    cdef readonly object pipes  # Pipes, or Rings for planning
    cdef readonly Py_ssize_t pipe_count
    cdef readonly Py_ssize_t width  # numbers of a member in plugs and walls
    cdef readonly Py_ssize_t memo  # numbers of a pipe that it remembers
    cdef Pipe* pipe  # [pipes], one of both
    cdef const Kernel* kernel
    cdef planning.Ring* ring
    cdef Py_ssize_t* offset  # [pipes] of a pipe's record among those of a member
    cdef double[::1] least_kg  # [pipes] less than this moves nothing
    cdef readonly Py_ssize_t nodes
    cdef readonly Py_ssize_t edges
    cdef int[::1] node_row  # [nodes] in the arrays of inputs and of a state
    cdef int[::1] edge_row  # [edges]
    cdef readonly Py_ssize_t records  # numbers of a member beside its plugs and walls
    cdef readonly Units units
    cdef int[:, ::1] between  # [edges, 2]
    cdef Ends* ends  # the same
    cdef int[::1] beside_first  # [nodes + 1] into beside
    cdef int[:, ::1] neighbours  # [2 edges, 3]
    cdef Beside* beside  # the same: edges at a node
    cdef signed char[::1] holding  # [nodes] keeps the mass of a closed network
    cdef signed char[::1] open_end  # [nodes] gives or takes what the edges there leave over
    cdef Py_ssize_t[::1] tree_order  # [nodes] from the source outwards, empty where flows follow from pressures
    cdef Py_ssize_t[::1] tree_edge  # [nodes] edge from the node before it
    cdef Py_ssize_t[::1] twin  # [pipes] or -1
    cdef double[::1] twin_share  # [pipes] of the loss conductance that leads to the twin
    cdef bint has_twins
    cdef signed char[::1] source  # [nodes] demand there is not used
    cdef Py_ssize_t[::1] kind  # [edges] of the hydraulics
    cdef HydraulicPlan hydraulics
    cdef bint has_pressures
    cdef double tolerance
    cdef signed char[::1] produces  # [edges] whether it is a unit that warms the water
    cdef Py_ssize_t solved  # numbers of a member that the hydraulics work on: its pressures and their memory
    cdef Py_ssize_t water_temp  # place of the first one in a record
    cdef Py_ssize_t unit_state

    def __init__(self, pipes, node_rows, edge_rows, start, end, source, held, twin, twin_share, Units units,
                 tree=(), HydraulicPlan hydraulics=None, kind=(), double tolerance=FLOW_TOLERANCE):
        """`node_rows`, `edge_rows`: where each of them stands in the arrays of inputs and of a state.

        Flows come from `hydraulics`, with the `kind` of every edge, or from the mass balance of a `tree`: per node in
        order from the source the pair of it and the edge to it. `source`, `held` (pressure): per node.
        """
        self.take_pipes(pipes)
        self.units = units
        nodes = self.nodes = len(node_rows)
        self.edges = len(start)
        self.node_row, self.edge_row = np.array(node_rows, dtype=np.intc), np.array(edge_rows, dtype=np.intc)
        self.between = np.array([start, end], dtype=np.intc).T.copy()
        self.hydraulics = hydraulics
        self.has_pressures = hydraulics is not None
        self.produces = np.concatenate([np.zeros(self.edges - units.count, dtype=np.int8), units.produces])
        self.tolerance = tolerance
        self.kind = np.array(kind, dtype=np.intp)
        self.unit_state = 3 * self.edges + 2 * self.nodes
        memory_width = hydraulics.memory_width if self.has_pressures else 0
        self.solved = self.nodes + memory_width
        self.water_temp = self.unit_state + memory_width
        self.unit_state = self.water_temp + (0 if self.ring else self.pipe_count)
        self.records = self.unit_state + units.states
        self.source = np.array(source, dtype=np.int8)
        self.open_end = np.array(held, dtype=np.int8)
        self.holding = np.array([h and not s for h, s in zip(held, source, strict=True)], dtype=np.int8)
        self.tree_order = np.array([node for node, _ in tree], dtype=np.intp)
        self.tree_edge = np.array([edge for _, edge in tree], dtype=np.intp)
        self.twin = np.array(twin, dtype=np.intp)
        self.twin_share = np.array(twin_share, dtype=np.float64)
        self.has_twins = bool((np.asarray(self.twin) >= 0).any())
        ends = np.concatenate([start, end])
        if not (len(ends) == 2 * self.edges > 0 and 0 <= ends.min() and ends.max() < nodes
                and self.holding.shape[0] == self.open_end.shape[0] == nodes
                and self.twin.shape[0] == self.twin_share.shape[0] == pipes.count <= self.edges):
            raise InvalidInput("the parts of a graph do not fit each other")
        self.ends = <Ends*> &self.between[0, 0]
        at = np.argsort(ends, kind="stable")
        others, signs = np.concatenate([end, start])[at], np.repeat([1, -1], self.edges)[at]
        self.neighbours = np.array([at % self.edges, others, signs], np.intc).T.copy()
        self.beside = <Beside*> &self.neighbours[0, 0]
        self.beside_first = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=nodes))]).astype(np.intc)

    def take_pipes(self, pipes):
        cdef Pipes full
        cdef Rings rings
        cdef Py_ssize_t i
        self.pipes = pipes
        self.pipe_count, self.width = pipes.count, pipes.width
        self.least_kg = np.zeros(pipes.count)
        if isinstance(pipes, Rings):
            rings = pipes
            self.ring, self.offset, self.memo = rings.pipe, rings.offset, planning.MEMO_WIDTH
            for i in range(self.pipe_count):
                self.least_kg[i] = 2.0 * planning.LEAST_MOVE * self.ring[i].whole_kg
        else:
            full = pipes
            self.pipe, self.kernel, self.offset, self.memo = full.pipe, full.kernel, full.offset, MEMO_WIDTH
            for i in range(self.pipe_count):
                self.least_kg[i] = 2e3 * LEAST_MOVE * self.pipe[i].cell_volume_m3

    def work(self):
        """Room for one thread to work in."""
        room = self.hydraulics.room() if self.has_pressures else None
        return Work(self.nodes, self.edges, self.width, self.records, self.units.results, room)

    def fill(self, double[:, ::1] records, const double[:, ::1] temp_k):
        """Start the records (members, records) of a state at rest, with temperatures (nodes, members)."""
        records[:, :] = 0.0
        np.asarray(records)[:, 2 * self.edges : 2 * self.edges + self.nodes] = np.asarray(temp_k).T
        if self.pipe:
            ends = np.asarray(temp_k)[np.asarray(self.between)[: self.pipe_count]]
            np.asarray(records)[:, self.water_temp : self.unit_state] = ends.mean(axis=1).T
        np.asarray(records)[:, self.unit_state :] = self.units.initial

    def forget_cuts(self, double[:, ::1] records):
        """Have the cuts of these records (members, records) chosen anew in the next step."""
        np.asarray(records)[:, self.edges : 2 * self.edges] = UNKNOWN

    def step(self, Work work, Arrays state, InputArrays inputs, Py_ssize_t first, Py_ssize_t last, double dt_s,
             Py_ssize_t inner_steps):
        """Advance members first to last by `dt_s` in `inner_steps` equal parts; shapes as in network.py.

        A member that cannot be advanced stays as it is, the others go on. Returns what went wrong (0: nothing), at
        which element, with which member and after how many iterations, of the first one.
        """
        cdef Py_ssize_t member, k, culprit = -1, failed = -1
        cdef int code = 0, found = 0
        cdef Member m
        with nogil:
            for member in range(first, last):
                m = self.member(state, member)
                m.command = &inputs.commands[member, 0]
                self.begin(work, &m, member, inputs)
                if self.has_pressures:
                    self.set_elements(work, member, inputs)
                # Without flows nothing moves: after the first of them only a unit could fail.
                work.careful = self.has_pressures and (inner_steps > 1 or not self.units.stay_liquid(&m))
                self.keep(work, &m)
                for k in range(inner_steps):
                    work.part = 1.0 / (k + 1)
                    work.last = k + 1 == inner_steps
                    found = self.inner_step(work, &m, dt_s / inner_steps, k == 0)
                    if found != 0:
                        break
                if found == 0:
                    self.report(work, &m, state, member, inner_steps)
                    continue
                self.take_back(work, &m)
                if code == 0:
                    code, culprit, failed = found, work.culprit, member
        return code, culprit, failed, work.iterations

    def stored_energy_j(self, Arrays state, double[::1] out):
        """Heat content of water and walls above 0 degC, filled into out (members,)."""
        cdef Py_ssize_t member
        cdef Member m
        with nogil:
            for member in range(state.rows.shape[0]):
                m = self.member(state, member)
                out[member] = self.stored(&m)

    cdef void keep(self, Work w, const Member* m) noexcept nogil:
        """Remember what the member is, as far as it may have changed when the step fails."""
        if w.careful:
            self.copy_rows(m.row, w.row_before)
            memcpy(w.record_before, m.flow, self.records * sizeof(double))
        elif self.has_pressures:
            memcpy(w.record_before, m.pressure, self.solved * sizeof(double))

    cdef void take_back(self, Work w, Member* m) noexcept nogil:
        if w.careful:
            self.copy_rows(w.row_before, m.row)
            memcpy(m.flow, w.record_before, self.records * sizeof(double))
        else:  # it was the first solve that failed
            memcpy(m.pressure, w.record_before, self.solved * sizeof(double))

    cdef void copy_rows(self, const double* row, double* copy) noexcept nogil:
        """Copy plugs and walls of a member; of rings only what is in use, which is a small part."""
        cdef Py_ssize_t i
        if self.ring:
            for i in range(self.pipe_count):
                planning.copy_record(&self.ring[i], row + self.offset[i], copy + self.offset[i])
        else:
            memcpy(copy, row, self.width * sizeof(double))

    cdef Member member(self, Arrays state, Py_ssize_t member) noexcept nogil:
        cdef Member m
        m.row = &state.rows[member, 0]
        m.memo = &state.memos[member, 0]
        m.flow = &state.records[member, 0]
        m.cut = m.flow + self.edges
        m.node_temp = m.cut + self.edges
        m.owed = m.node_temp + self.nodes
        m.pressure = m.owed + self.edges
        m.memory = m.pressure + self.nodes
        m.water_temp = m.flow + self.water_temp
        m.unit_state = m.flow + self.unit_state
        m.command = NULL
        m.result = &state.unit_results[member, 0]
        return m

    cdef double stored(self, const Member* m) noexcept nogil:
        cdef Py_ssize_t i
        cdef double total = 0.0
        for i in range(self.pipe_count):
            total += self.stored_in(m, i)
        return total + HEAT_CAPACITY * self.owed(m)

    cdef double owed(self, const Member* m) noexcept nogil:
        cdef Py_ssize_t i
        cdef double total = 0.0
        for i in range(self.edges):
            total += m.owed[i]
        return total

    cdef inline double stored_in(self, const Member* m, Py_ssize_t pipe) noexcept nogil:
        if self.ring:
            return planning.stored_energy_j(&self.ring[pipe], m.row + self.offset[pipe])
        return self.kernel.stored_energy_j(&self.pipe[pipe], m.row + self.offset[pipe])

    cdef void begin(self, Work w, const Member* m, Py_ssize_t member, InputArrays inputs) noexcept nogil:
        """Lay out what holds during the step."""
        cdef Py_ssize_t i
        for i in range(self.nodes):
            w.demand[i] = 0.0 if self.source[i] else inputs.demand_kg_s[self.node_row[i], member]
            w.supply[i] = inputs.supply_temp_k[self.node_row[i], member]
        for i in range(self.pipe_count + 1):
            w.ambient[i] = inputs.ambient_temp_k[0, member]
        memcpy(w.flow, m.flow, self.edges * sizeof(double))
        memset(w.mean_temp, 0, self.nodes * sizeof(double))
        memset(w.outflow, 0, self.edges * sizeof(Moved))
        memset(w.sum_result, 0, self.units.results * sizeof(double))
        for i in range(4):
            w.ledger[i] = 0.0
        w.stored = 0.0

    cdef void set_elements(self, Work w, Py_ssize_t member, InputArrays inputs) noexcept nogil:
        """What commands valves and pumps, and the pressures that are held."""
        cdef Py_ssize_t i, edge = self.pipe_count
        for i in range(self.nodes):
            w.pressure[i] = inputs.pressure_pa[self.node_row[i], member]
        for i in range(inputs.opening.shape[0]):
            if self.kind[edge] == FLOW:
                w.setting[edge] = inputs.valve_flow_kg_s[i, member]
            else:
                w.setting[edge] = inputs.opening[i, member]
            edge += 1
        for i in range(inputs.speed.shape[0]):
            if self.kind[edge] == PUMP_SPEED:
                w.setting[edge] = inputs.speed[i, member]
            else:
                w.setting[edge] = inputs.pressure_rise_pa[i, member]
            edge += 1

    cdef int inner_step(self, Work w, Member* m, double dt, bint first) noexcept nogil:
        cdef Py_ssize_t i
        cdef int code
        cdef bint changed = False, renewed = first
        if self.has_twins:
            self.warm_twins(w, m)
        if self.has_pressures:
            renewed = self.ask(w, m, first)
            if renewed:
                code = self.solve(w, m)
                if code != 0:
                    return code
        elif first:
            self.tree_flows(w)
        if renewed:
            changed = self.take_flows(w, m, dt)
            self.share_out(w)
        self.keep_order(w, m, dt, changed)
        w.code = 0
        self.transport(w, m, dt)
        if first:
            memcpy(w.mean_flow, w.flow, self.edges * sizeof(double))
        else:
            for i in range(self.edges):
                w.mean_flow[i] += (w.flow[i] - w.mean_flow[i]) * w.part
        for i in range(self.units.results):
            w.sum_result[i] += w.result[i]
        return w.code

    cdef bint ask(self, Work w, const Member* m, bint first) noexcept nogil:
        """What flows units want and how warm the water is; whether that is new since flows were last worked out."""
        cdef Py_ssize_t i, edge, node
        cdef bint is_new = first
        cdef double value
        for i in range(self.edges):
            value = self.mean_temp(m, i) if i < self.pipe_count else m.node_temp[self.ends[i].start]
            if first or fabs(value - w.temp[i]) > SAME_TEMP:
                is_new = True
            w.new_temp[i] = value
        for i in range(self.units.count):
            edge = self.edges - self.units.count + i
            node = self.ends[edge].start if m.flow[edge] >= 0.0 else self.ends[edge].end
            value = self.units.wanted(i, m, m.node_temp[node])
            is_new |= fabs(value - w.setting[edge]) > SAME_FLOW * fabs(value)
            w.new_wish[i] = value
        if is_new:
            memcpy(w.temp, w.new_temp, self.edges * sizeof(double))
            memcpy(w.setting + (self.edges - self.units.count), w.new_wish, self.units.count * sizeof(double))
        return is_new

    cdef int solve(self, Work w, Member* m) noexcept nogil:
        """Flows from what units want and from pressures, into w.flow."""
        cdef Given given
        cdef Found found
        given.demand_kg_s = w.demand
        given.fixed_pressure_pa = w.pressure
        given.setting = w.setting
        given.temp_k = w.temp
        given.tolerance = self.tolerance
        found.flow_kg_s = w.flow
        found.pressure_pa = m.pressure
        found.memory = m.memory
        found.unsupplied = w.unsupplied
        found.culprit = -1
        if self.hydraulics.solve_member(w.room, &given, &found) != SOLVED:
            w.culprit = found.culprit
            w.iterations = found.iterations
            return NO_FLOWS
        return 0

    cdef void warm_twins(self, Work w, const Member* m) noexcept nogil:
        """Ambient of pipes that share a casing: ground and the other pipe, by their conductances."""
        cdef Py_ssize_t i, other
        cdef double ground, beside
        for i in range(self.pipe_count):
            other = self.twin[i]
            if other >= 0:
                beside = self.mean_temp(m, other)
                ground = w.ambient[self.pipe_count]
                w.ambient[i] = ground + self.twin_share[i] * (beside - ground)

    cdef inline double mean_temp(self, const Member* m, Py_ssize_t pipe) noexcept nogil:
        """Of the water in a pipe, nearly."""
        if self.ring:
            return 0.5 * (self.end_temp(m, pipe, False) + self.end_temp(m, pipe, True))
        return m.water_temp[pipe]

    cdef void tree_flows(self, Work w) noexcept nogil:
        """Mass balance from the leaves to the source."""
        cdef Py_ssize_t k, node, edge
        memcpy(w.out, w.demand, self.nodes * sizeof(double))
        for k in range(self.nodes - 1, 0, -1):
            node = self.tree_order[k]
            edge = self.tree_edge[k]
            if self.ends[edge].end == node:
                w.flow[edge] = w.out[node]
                w.out[self.ends[edge].start] += w.out[node]
            else:
                w.flow[edge] = -w.out[node]
                w.out[self.ends[edge].end] += w.out[node]

    cdef bint take_flows(self, Work w, Member* m, double dt) noexcept nogil:
        """Take the new flows over; whether any of them changed its sign. What is too small to move anything stands."""
        cdef Py_ssize_t i
        cdef bint changed = False
        cdef double flow
        cdef signed char before
        for i in range(self.edges):
            flow = w.flow[i]
            if i < self.pipe_count and fabs(flow) * dt < self.least_kg[i]:
                flow = 0.0
            if self.has_pressures and fabs(flow) < LEAST_FLOW:
                flow = 0.0
            w.flow[i] = flow
            before = (m.flow[i] > 0.0) - (m.flow[i] < 0.0)
            w.new_sign[i] = (flow > 0.0) - (flow < 0.0)
            changed |= w.new_sign[i] != before
            m.flow[i] = flow
        return changed

    cdef void share_out(self, Work w) noexcept nogil:
        """What crosses the border at every node, and what leaves it on all ways."""
        cdef Py_ssize_t i
        cdef double flow, demand
        memset(w.out, 0, self.nodes * sizeof(double))
        memset(w.fed, 0, self.nodes * sizeof(double))
        for i in range(self.edges):  # fed: what comes in through edges, for a moment
            flow = w.flow[i]
            if flow > 0.0:
                w.out[self.ends[i].start] += flow
                w.fed[self.ends[i].end] += flow
            elif flow < 0.0:
                w.out[self.ends[i].end] -= flow
                w.fed[self.ends[i].start] -= flow
        for i in range(self.nodes):
            demand = 0.0 if w.unsupplied[i] else w.demand[i]
            flow = w.out[i] - w.fed[i] + demand if self.open_end[i] else 0.0
            w.fed[i] = (flow if flow > 0.0 else 0.0) - (demand if demand < 0.0 else 0.0)
            w.taken[i] = (demand if demand > 0.0 else 0.0) - (flow if flow < 0.0 else 0.0)
            w.out[i] += w.taken[i]

    cdef bint releases(self, const Member* m, Py_ssize_t pipe, double mass, double dt) noexcept nogil:
        if self.ring:
            return planning.releases_first(&self.ring[pipe], m.row + self.offset[pipe], mass, dt)
        return releases_first(&self.pipe[pipe], m.row + self.offset[pipe], mass, dt)

    cdef void keep_order(self, Work w, Member* m, double dt, bint changed) noexcept nogil:
        """See that the order of the graph is that of the present flows and that its cuts are valid."""
        cdef Py_ssize_t i
        cdef bint unknown = False
        for i in range(self.edges):
            w.new_cut[i] = <signed char> m.cut[i]
            unknown |= w.new_cut[i] == UNKNOWN
            if w.new_cut[i] == RELEASED and not changed:
                changed = not self.releases(m, i, w.flow[i] * dt, dt)
        if unknown or (changed and not self.cuts_hold(w)):
            memset(w.new_cut, WHOLE, self.edges)
            memset(w.able, 0, self.edges)
            self.sort(w, AT_PRODUCER)
            # Then the cycles that have no pipe to be released: what has to be cut there often opens the others too.
            for i in range(self.pipe_count):
                w.able[i] = w.new_sign[i] and self.releases(m, i, CUT_MARGIN * w.flow[i] * dt, dt)
                w.new_cut[i] = RELEASED if w.able[i] else WHOLE
            self.sort(w, AT_PIPE)
            for i in range(self.pipe_count):
                if w.able[i]:
                    w.new_cut[i] = WHOLE
            self.sort(w, AT_PIPE)
            for i in range(self.edges):
                m.cut[i] = w.new_cut[i]
        if w.ordered and memcmp(w.sign, w.new_sign, self.edges) == 0 and memcmp(w.cut, w.new_cut, self.edges) == 0:
            return
        # Sorted with all cuts known from the start, so that the order is that of any other thread at this state.
        self.sort(w, NOWHERE)
        memcpy(w.sign, w.new_sign, self.edges)
        memcpy(w.cut, w.new_cut, self.edges)
        w.ordered = True

    cdef bint cuts_hold(self, Work w) noexcept nogil:
        """Whether there are cuts at producers alone, and with them all flows can be sorted as they are now."""
        cdef Py_ssize_t i
        for i in range(self.edges):
            if w.new_cut[i] != WHOLE and not (w.new_cut[i] == LATE and w.new_sign[i] and self.produces[i]):
                return False
        w.ordered = self.sort(w, NOWHERE)
        if w.ordered:
            memcpy(w.sign, w.new_sign, self.edges)
            memcpy(w.cut, w.new_cut, self.edges)
        return w.ordered

    cdef bint sort(self, Work w, int worst) noexcept nogil:
        """Topological order of the nodes; where it is stuck, choose a cut into new_cut, of rank `worst` at most.

        Returns whether all of them are in it.
        """
        cdef Py_ssize_t i, k, node, goal, edge, done = 0, next = 0, left = 0, top = 0
        cdef bint gathered = False
        cdef const Beside* beside
        cdef Way* way
        memset(w.waiting, 0, self.nodes * sizeof(int))
        for i in range(self.edges):
            if w.new_sign[i] and w.new_cut[i] == WHOLE:
                w.waiting[self.goal(i, w.new_sign[i])] += 1
        while True:
            # In the order of the numbers, which is nearly that of the water; what that passed by too early is ready.
            while top or next < self.nodes:
                if top:
                    top -= 1
                    node = w.ready[top]
                else:
                    node = next
                    next += 1
                    if w.waiting[node]:
                        continue
                w.order[done] = node
                w.first[done] = left
                done += 1
                for k in range(self.beside_first[node], self.beside_first[node + 1]):
                    beside = &self.beside[k]
                    edge = beside.edge
                    if w.new_sign[edge] != beside.sign:
                        continue
                    way = &w.way[left]
                    left += 1
                    way.edge, way.goal, way.sign = edge, beside.other, w.new_sign[edge]
                    way.kind = self.kind_of_way(edge, w.new_cut[edge])
                    way.offset = way.lines = 0
                    if edge < self.pipe_count:
                        way.offset, way.lines = self.offset[edge], self.lines(edge)
                    if w.new_cut[edge] == WHOLE:
                        w.waiting[beside.other] -= 1
                        if w.waiting[beside.other] == 0 and beside.other < next:
                            w.ready[top] = beside.other
                            top += 1
            if done == self.nodes or worst == NOWHERE:
                break
            if not gathered:
                self.gather_cuts(w, worst)
                gathered = True
            edge = self.next_cut(w)
            if edge < 0:
                break
            self.cut_at(w, edge)
            goal = self.goal(edge, w.new_sign[edge])
            w.waiting[goal] -= 1
            if w.waiting[goal] == 0:
                w.ready[top] = goal
                top += 1
        w.first[done] = left
        for k in range(left, left + AHEAD):
            w.way[k].lines = 0
        w.releases = 0
        w.lates = 0
        w.stands = 0
        for i in range(self.nodes):
            w.balanced[i] = self.holding[i]
        for i in range(self.edges):
            if w.new_cut[i] == RELEASED:
                w.released[w.releases] = i
                w.releases += 1
                # What was released is filled again with as much.
                w.balanced[self.origin(i, w.new_sign[i])] = True
            elif w.new_cut[i] == LATE:
                w.late[w.lates] = i
                w.lates += 1
            if w.new_sign[i] == 0 and (i < self.pipe_count or i >= self.edges - self.units.count):
                w.standing[w.stands] = i
                w.stands += 1
        return done == self.nodes

    cdef inline int goal(self, Py_ssize_t edge, signed char sign) noexcept nogil:
        return self.ends[edge].end if sign > 0 else self.ends[edge].start

    cdef inline int origin(self, Py_ssize_t edge, signed char sign) noexcept nogil:
        return self.ends[edge].start if sign > 0 else self.ends[edge].end

    cdef inline short lines(self, Py_ssize_t pipe) noexcept nogil:
        """Of a record, those that most likely are in use."""
        return USUAL_LINES if self.ring else <short> ((self.offset[pipe + 1] - self.offset[pipe]) // LINE + 1)

    cdef inline int kind_of_way(self, Py_ssize_t edge, signed char cut) noexcept nogil:
        if cut == LATE:
            return DRAWN
        if edge < self.pipe_count:
            return PIPE if cut == WHOLE else FILLED
        return UNIT if edge >= self.edges - self.units.count else PASSED

    cdef void gather_cuts(self, Work w, int worst) noexcept nogil:
        """Of the edges in cycles those of rank `worst` at most, into a heap with the best on top."""
        cdef Py_ssize_t i, origin, goal, ends = 0
        # remaining: edges from here to nodes that wait; where none is left, the node is behind all cycles.
        memset(w.remaining, 0, self.nodes * sizeof(int))
        for i in range(self.edges):
            origin, goal = self.ends[i].start, self.ends[i].end
            if w.new_sign[i] < 0:
                origin, goal = goal, origin
            if w.new_sign[i] and w.new_cut[i] == WHOLE and w.waiting[origin] and w.waiting[goal]:
                w.remaining[origin] += 1
        for i in range(self.nodes):
            if w.waiting[i] and w.remaining[i] == 0:
                w.ready[ends] = i
                ends += 1
        self.leave_cycles(w, ends)
        w.choices = 0
        for i in range(self.edges):
            if w.new_sign[i] and w.new_cut[i] == WHOLE and self.in_cycle(w, i) and self.rank(w, i) <= worst:
                w.choice[w.choices] = i
                w.choices += 1
        for i in range(w.choices // 2 - 1, -1, -1):
            self.sink(w, i)

    cdef Py_ssize_t next_cut(self, Work w) noexcept nogil:
        """The best edge that is still in a cycle, or -1."""
        cdef Py_ssize_t edge
        while w.choices > 0:
            edge = w.choice[0]
            w.choices -= 1
            w.choice[0] = w.choice[w.choices]
            self.sink(w, 0)
            if self.in_cycle(w, edge):
                return edge
        return -1

    cdef void cut_at(self, Work w, Py_ssize_t edge) noexcept nogil:
        cdef Py_ssize_t origin = self.origin(edge, w.new_sign[edge])
        w.new_cut[edge] = RELEASED if self.rank(w, edge) == AT_RELEASE else LATE
        w.remaining[origin] -= 1
        if w.remaining[origin] == 0:
            w.ready[0] = origin
            self.leave_cycles(w, 1)

    cdef void leave_cycles(self, Work w, Py_ssize_t ends) noexcept nogil:
        """From the nodes in w.ends, which no cycle is behind, go back to those that therefore have none behind them."""
        cdef Py_ssize_t k, node, done = 0
        cdef const Beside* beside
        while done < ends:
            node = w.ready[done]
            done += 1
            for k in range(self.beside_first[node], self.beside_first[node + 1]):
                beside = &self.beside[k]
                if not w.waiting[beside.other]:
                    continue
                if w.new_sign[beside.edge] == -beside.sign and w.new_cut[beside.edge] == WHOLE:
                    w.remaining[beside.other] -= 1
                    if w.remaining[beside.other] == 0:
                        w.ready[ends] = beside.other
                        ends += 1

    cdef bint in_cycle(self, Work w, Py_ssize_t edge) noexcept nogil:
        """Whether an edge is in a cycle, or between two."""
        cdef Py_ssize_t a = self.ends[edge].start, b = self.ends[edge].end
        return w.waiting[a] > 0 and w.waiting[b] > 0 and w.remaining[a] > 0 and w.remaining[b] > 0

    cdef int rank(self, Work w, Py_ssize_t edge) noexcept nogil:
        if edge < self.pipe_count:
            return AT_RELEASE if w.able[edge] else AT_PIPE
        return AT_PRODUCER if self.produces[edge] else AT_OTHER

    cdef bint better(self, Work w, Py_ssize_t one, Py_ssize_t other) noexcept nogil:
        """Whether to cut at `one` rather than at `other`: by rank, then by flow, then as they are numbered."""
        cdef int first = self.rank(w, one), second = self.rank(w, other)
        if first != second:
            return first < second
        if fabs(w.flow[one]) != fabs(w.flow[other]):
            return fabs(w.flow[one]) > fabs(w.flow[other])
        return one < other

    cdef void sink(self, Work w, Py_ssize_t place) noexcept nogil:
        """Move what stands at `place` of the heap down until none below is better."""
        cdef Py_ssize_t below, edge = w.choice[place]
        while True:
            below = 2 * place + 1
            if below >= w.choices:
                break
            if below + 1 < w.choices and self.better(w, w.choice[below + 1], w.choice[below]):
                below += 1
            if not self.better(w, w.choice[below], edge):
                break
            w.choice[place] = w.choice[below]
            place = below
        w.choice[place] = edge

    cdef void transport(self, Work w, Member* m, double dt) noexcept nogil:
        """Move water and heat through all edges once, in the order of the graph."""
        cdef Py_ssize_t i, k, line, node, edge
        cdef double mass, temp, before, need, per_flow
        cdef Way* way
        self.take_in(w, m, dt)
        self.load_ways(w, m)
        for k in range(w.releases):
            self.release_pipe(w, m, w.released[k], dt)
        for k in range(w.lates):
            edge = w.late[k]
            temp = m.node_temp[self.origin(edge, w.sign[edge])]
            self.through(w, m, edge, fabs(w.flow[edge]) * dt, temp, dt)
        for k in range(w.stands):
            self.through(w, m, w.standing[k], 0.0, m.node_temp[self.ends[w.standing[k]].start], dt)
        for k in range(self.nodes):
            node = w.order[k]
            mass = w.inflow[node].mass
            before = m.node_temp[node]
            if mass > 0.0:
                temp = w.inflow[node].heat / mass
            else:
                mass = 0.0
                temp = self.standing_temp(m, node)
            if w.balanced[node]:
                need = w.out[node] * dt
                temp = temp if mass > 0.0 else before
                self.make_up(w, need - mass, temp)
                mass = need
            m.node_temp[node] = temp
            w.mean_temp[node] += (temp - w.mean_temp[node]) * w.part  # what does not change is told to the last digit
            if w.out[node] > LEAST_OUT:
                per_flow = mass / w.out[node]
                w.ledger[OUT] += HEAT_CAPACITY * w.taken[node] * per_flow * (temp - ENERGY_ZERO)
            else:  # nothing is there to take it
                per_flow = 0.0
                w.ledger[OUT] += HEAT_CAPACITY * mass * (temp - ENERGY_ZERO)
            for i in range(w.first[k], w.first[k + 1]):
                way = &w.way[i]
                self.fetch(w, m, way + AHEAD)
                mass = way.flow * per_flow
                if way.kind == DRAWN:
                    need = way.flow * dt
                    m.owed[way.edge] += need * (temp - before)
                    self.make_up(w, need - mass, temp)
                elif way.owes and mass > 0.0:
                    self.pass_on(w, m, way, mass, temp + self.repaid(w, m, way.edge, mass, temp), dt)
                else:
                    self.pass_on(w, m, way, mass, temp, dt)

    cdef inline void fetch(self, Work w, const Member* m, const Way* way) noexcept nogil:
        """Bring near what a pipe is, and where goes what comes out of an edge."""
        ask_for(<const double*> &w.outflow[way.edge], 2)
        ask_for(<const double*> &w.inflow[way.goal], 2)
        if way.lines == 0:
            return
        bring_near(m.row + way.offset, LINE * way.lines)
        if self.pipe:
            ask_for(<const double*> &self.pipe[way.edge], 2 * LINE)

    cdef void load_ways(self, Work w, const Member* m) noexcept nogil:
        """Put side by side what every way needs: here one does not wait for the next, in the transport it would."""
        cdef Py_ssize_t i
        cdef Way* way
        for i in range(w.first[self.nodes]):
            way = &w.way[i]
            way.flow = fabs(w.flow[way.edge])
            way.owes = m.owed[way.edge] != 0.0
            if way.lines:
                way.ambient = w.ambient[way.edge]

    cdef void take_in(self, Work w, const Member* m, double dt) noexcept nogil:
        """What comes in from outside, and within which temperatures the rest of the network is."""
        cdef Py_ssize_t i
        cdef double mass
        memset(w.inflow, 0, self.nodes * sizeof(Moved))
        w.lowest = w.highest = w.ambient[self.pipe_count]
        for i in range(self.nodes):
            w.lowest = m.node_temp[i] if m.node_temp[i] < w.lowest else w.lowest
            w.highest = m.node_temp[i] if m.node_temp[i] > w.highest else w.highest
            if w.fed[i] > 0.0:
                mass = w.fed[i] * dt
                w.inflow[i].mass = mass
                w.inflow[i].heat = mass * w.supply[i]
                w.ledger[IN] += HEAT_CAPACITY * mass * (w.supply[i] - ENERGY_ZERO)

    cdef void make_up(self, Work w, double mass, double temp) noexcept nogil:
        """Book water that is missing as come in, what is too much (negative) as gone out."""
        if mass > 0.0:
            w.ledger[IN] += HEAT_CAPACITY * mass * (temp - ENERGY_ZERO)
        else:
            w.ledger[OUT] -= HEAT_CAPACITY * mass * (temp - ENERGY_ZERO)

    cdef double repaid(self, Work w, Member* m, Py_ssize_t edge, double mass, double temp) noexcept nogil:
        """By how much `mass` of `temp` gets warmer with what the edge owes: a little, and within what is around."""
        cdef double owed = m.owed[edge]
        cdef double change = w.highest - temp if owed > 0.0 else temp - w.lowest
        change = change if change < MOST_REPAID else MOST_REPAID
        if not change > 0.0:
            return 0.0
        if fabs(owed) <= change * mass:
            m.owed[edge] = 0.0
            return owed / mass
        change = change if owed > 0.0 else -change
        m.owed[edge] -= change * mass
        return change

    cdef void through(self, Work w, Member* m, Py_ssize_t edge, double mass, double temp, double dt) noexcept nogil:
        """Let `mass` of `temp` enter an edge that is not in the order of transport, or not yet."""
        cdef Way way
        way.edge = edge
        way.sign = w.sign[edge]
        way.goal = self.goal(edge, way.sign)
        way.kind = self.kind_of_way(edge, WHOLE)
        way.offset = self.offset[edge] if edge < self.pipe_count else 0
        way.ambient = w.ambient[edge] if edge < self.pipe_count else 0.0
        if m.owed[edge] != 0.0 and mass > 0.0:
            temp += self.repaid(w, m, edge, mass, temp)
        self.pass_on(w, m, &way, mass, temp, dt)

    cdef void pass_on(self, Work w, Member* m, const Way* way, double mass, double temp, double dt) noexcept nogil:
        """Let `mass` of `temp` go through an edge, and what comes out of it to the node there."""
        cdef Outflow out
        if way.kind <= FILLED:
            out = self.through_pipe(w, m, way, mass if way.sign >= 0 else -mass, temp, dt)
        else:
            out.mass_kg = mass
            out.heat_kgk = mass * temp
            if way.kind == UNIT:
                out.heat_kgk += self.heated_by_unit(w, m, way.edge, mass, temp, dt)
        book(&w.outflow[way.edge], &out)
        book(&w.inflow[way.goal], &out)

    cdef Outflow through_pipe(
        self, Work w, Member* m, const Way* way, double mass, double temp, double dt
    ) noexcept nogil:
        cdef double* record = m.row + way.offset
        cdef double* memo = m.memo + way.edge * self.memo
        cdef double ambient = way.ambient
        cdef planning.Ring* ring
        cdef planning.Outflow planned
        cdef Outflow out
        if self.ring:
            ring = self.ring + way.edge
            if way.kind == FILLED:
                planned.mass_kg = planned.heat_kgk = 0.0
                planned.loss_j = planning.admit(ring, record, memo, mass, temp, dt, ambient)
            else:
                planned = planning.advance(ring, record, memo, mass, temp, dt, ambient)
            out.mass_kg, out.heat_kgk, out.loss_j = planned.mass_kg, planned.heat_kgk, planned.loss_j
        elif way.kind == FILLED:
            out.mass_kg = out.heat_kgk = 0.0
            out.loss_j = self.kernel.admit(&self.pipe[way.edge], record, memo, mass, temp, dt, ambient)
        else:
            out = self.kernel.advance(&self.pipe[way.edge], record, memo, mass, temp, dt, ambient)
        if self.pipe:
            m.water_temp[way.edge] = record[1]
        w.ledger[LOSS] += out.loss_j
        if w.last:
            w.stored += self.stored_in(m, way.edge)
        return out

    cdef double heated_by_unit(self, Work w, Member* m, Py_ssize_t edge, double mass, double temp,
                               double dt) noexcept nogil:
        """Advance a unit through which `mass` passes; what that gains in kg K."""
        cdef Py_ssize_t i = edge - (self.edges - self.units.count)
        cdef double* result = w.result + self.units.result_first[i]
        self.units.advance(i, m, temp, mass if w.sign[edge] >= 0 else -mass, dt, result)
        if mass == 0.0:
            return 0.0
        w.ledger[IN if result[HEAT] > 0.0 else OUT] += fabs(result[HEAT])
        if w.careful and not COLDEST <= temp + result[HEAT] / (mass * HEAT_CAPACITY) <= HOTTEST and w.code == 0:
            w.code = NO_WATER
            w.culprit = edge
        return result[HEAT] / HEAT_CAPACITY

    cdef void release_pipe(self, Work w, Member* m, Py_ssize_t edge, double dt) noexcept nogil:
        cdef double* record = m.row + self.offset[edge]
        cdef double* memo = m.memo + edge * self.memo
        cdef double mass = w.flow[edge] * dt
        cdef planning.Outflow planned
        cdef Outflow out
        if self.ring:
            planned = planning.release(&self.ring[edge], record, memo, mass, dt, w.ambient[edge])
            out.mass_kg, out.heat_kgk, out.loss_j = planned.mass_kg, planned.heat_kgk, planned.loss_j
        else:
            out = self.kernel.release(&self.pipe[edge], record, memo, mass, dt, w.ambient[edge])
        w.ledger[LOSS] += out.loss_j
        book(&w.outflow[edge], &out)
        book(&w.inflow[self.goal(edge, w.sign[edge])], &out)

    cdef void report(self, Work w, Member* m, Arrays state, Py_ssize_t member, Py_ssize_t inner_steps) noexcept nogil:
        """Means over the step. Where nothing moved: the water that stands at that end of the pipe."""
        cdef Py_ssize_t i, k, edge, row
        cdef double before = state.stored_j[member]
        for i in range(self.edges):
            state.edge_flow_kg_s[self.edge_row[i], member] = w.mean_flow[i]
        for i in range(self.pipe_count):
            if w.outflow[i].mass > 0.0:
                state.pipe_outlet_temp_k[self.edge_row[i], member] = w.outflow[i].heat / w.outflow[i].mass
            else:
                state.pipe_outlet_temp_k[self.edge_row[i], member] = self.end_temp(m, i, True)
        for i in range(self.nodes):
            row = self.node_row[i]
            state.node_pressure_pa[row, member] = m.pressure[i]
            state.node_unsupplied[row, member] = w.unsupplied[i]
            state.node_temp_k[row, member] = w.mean_temp[i]
        for i in range(self.units.results):
            m.result[self.units.result_row[i]] = (
                w.sum_result[i] if inner_steps == 1 or self.units.is_sum[i] else w.sum_result[i] / inner_steps
            )
        for i in range(self.units.count):
            edge = self.edges - self.units.count + i
            if w.outflow[edge].mass > 0.0:
                row = self.units.result_row[self.units.result_first[i] + OUTLET_TEMP]
                m.result[row] = w.outflow[edge].heat / w.outflow[edge].mass
        state.stored_j[member] = w.stored + HEAT_CAPACITY * self.owed(m)
        w.ledger[STORED] = state.stored_j[member] - before
        for k in range(4):
            state.step_j[k, member] = w.ledger[k]
        for k in range(3):  # the last of the totals is what was stored in the beginning
            state.total_j[k, member] += w.ledger[k]

    cdef double standing_temp(self, const Member* m, Py_ssize_t node) noexcept nogil:
        """Of the water at a node to which none comes: that which stands in a pipe there, or was there last."""
        cdef Py_ssize_t edge = self.beside[self.beside_first[node]].edge if (
            self.beside_first[node] < self.beside_first[node + 1]
        ) else self.edges
        if edge < self.pipe_count:  # pipes come first
            return self.end_temp(m, edge, self.ends[edge].end == node)
        return m.node_temp[node]

    cdef double end_temp(self, const Member* m, Py_ssize_t pipe, bint at_end) noexcept nogil:
        if self.ring:
            return planning.end_temp_k(&self.ring[pipe], m.row + self.offset[pipe], at_end)
        return end_temp_k(&self.pipe[pipe], m.row + self.offset[pipe], at_end)
