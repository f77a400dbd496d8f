# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, overflowcheck=False
# Also in debug builds: what a check does on failure can not be compiled for vectors.
"""Several members at a time, in the lanes of the processor's vectors: pipes of the planning scheme, whole networks.

Compiled once per kind of processor (setup.py), chosen by lanes.py. SI units, temperatures in K. A block is as many
members as a vector has lanes: all that they are stands side by side in one row, number by number in the order of a
member's row and record in graph.pyx (states of units excepted, which stand member by member). Lanes of the last block
that no member has do what its first one does.

The step of a network is that of graph.pyx, with three differences. All producers that are part of a ring are cut, not
only as many as are needed. Where members differ in the direction of a flow, the pipe gives its outflow before its inlet
is known, which changes nothing; where that is not possible, they are stepped apart. What leaves a node is what its
edges pass, to the last digit; what rounding leaves over is made up. What a member does never depends on the others.
"""

from libc.string cimport memcmp, memcpy, memset

import numpy as np

from uem.twin_core.thermal.friction cimport COLEBROOK, Wall, make_wall
from uem.twin_core.thermal.graph cimport (
    AMBIENT, COMMANDS, CUT_MARGIN, DEMAND, FLOW_TOLERANCE, HEAT, IN, INPUTS, LATE, LEAST_FLOW, LOSS, MOST_REPAID,
    NO_FLOWS, NO_WATER, OPENING, OUT, OUTLET_TEMP, PRESSURE, RELEASED, RISE, SAME_FLOW, SAME_TEMP, SPEED, STORED,
    SUPPLY, VALVE_FLOW, WHOLE, Arrays, InputArrays
)
from uem.twin_core.thermal.hydraulics cimport (
    FLOW, FREE, GRAVITY, LEAST_FLOW_KG_S, LEAST_RESISTANCE, LEAST_SLOPE_PA_S_KG, LINEAR_KG_S, PUMP_SPEED, PUMPED,
    SOLVED, TABLE, TABLE_START_K, Found, Given, HydraulicPlan, Room
)
from uem.twin_core.thermal.rings cimport (
    AHEAD, ENERGY_ZERO, HEAD, HEAT_CAPACITY, INLET, MASS, OUTLET, PLUG, SLOPE, STEEPNESS, TEMP, Ring, Rings
)
from uem.twin_core.thermal.units.dispatch cimport (
    HEAT_LOAD, HEAT_SOURCE, MOST_RESULTS, advance_unit, stays_liquid, wanted_flow_kg_s
)
from uem.twin_core.thermal.units.ideal cimport LoadParameters, SourceParameters
from uem.twin_core.thermal.units.limits cimport COLDEST, HOTTEST, LAST_RISE_K, LEAST_DROP_K, LEAST_MASS_KG
from uem.twin_core.thermal.water cimport density_kg_m3, viscosity_pa_s

from uem.twin_core.errors import InvalidInput
from uem.twin_core.thermal.hydraulic_network import take_apart

include "uem/twin_core/thermal/plugs.pxi"
include "uem/twin_core/thermal/lane_hydraulics.pxi"
include "uem/twin_core/thermal/lane_units.pxi"

WIDTH = LANES

cdef enum:  # of the flow of an edge, in all lanes of a block
    NONE = 0
    ONWARD = 1
    BACKWARD = 2
    MIXED = 3

cdef double ROUNDING = 1e-14  # what flows at a node may leave over of their sum

cdef enum:  # what an edge is to a node beside it, added up
    COMES = 1  # water of some member
    LEAVES = 2
    STARTS = 4  # the node is its start

cdef enum:
    AHEAD_OF = 4  # edges or nodes: what is needed so soon is fetched
    LOOKED_AHEAD = 12  # the same of what is around nodes


cdef inline lane get(const double* row, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """Numbers of `count` members from `first` on; what there are fewer of, repeats the first."""
    cdef lane found
    cdef Py_ssize_t k
    if count == LANES:
        return (<const lane*> (row + first))[0]
    found = spread(row[first])
    for k in range(count):
        (<double*> &found)[k] = row[first + k]
    return found


cdef inline void put_back(double* row, Py_ssize_t first, Py_ssize_t count, lane values) noexcept nogil:
    cdef Py_ssize_t k
    if count == LANES:
        (<lane*> (row + first))[0] = values
        return
    for k in range(count):
        row[first + k] = (<double*> &values)[k]


cdef class LaneRings:
    """Pipes of the planning scheme for members side by side: what `Rings` is for one after the other."""

    cdef readonly Rings rings
    cdef readonly Py_ssize_t count

    def __init__(self, Rings rings):
        self.rings = rings
        self.count = rings.count

    def advance(self, double[:, ::1] rows, const double[:, ::1] mass_kg, const double[:, ::1] temp_k, double dt_s,
                const double[::1] ambient_temp_k, double[:, ::1] out_heat_kgk, double[::1] loss_j):
        """Advance every pipe for itself.

        rows (blocks, width * lanes) change in place; mass_kg that goes in (and comes out) and its temp_k are (pipes,
        members); the heat that comes out is filled in the same shape, the loss of all pipes as (members,).
        """
        cdef Py_ssize_t i, block, first, count, members = mass_kg.shape[1]
        cdef lane loss, ambient
        cdef Passed out
        cdef Cooling c
        cdef const Ring* ring
        if not (mass_kg.shape[0] == temp_k.shape[0] == out_heat_kgk.shape[0] == self.count):
            raise InvalidInput(f"flows of {mass_kg.shape[0]} pipes, not {self.count}")
        if not (temp_k.shape[1] == out_heat_kgk.shape[1] == ambient_temp_k.shape[0] == loss_j.shape[0] == members):
            raise InvalidInput(f"arrays do not all have {members} members")
        if rows.shape[1] != self.rings.width * LANES or rows.shape[0] != (members + LANES - 1) // LANES:
            raise InvalidInput(f"rows of {rows.shape[1]} numbers do not fit these pipes and members")
        if not dt_s > 0.0:
            raise InvalidInput(f"dt_s {dt_s} must be positive")
        with nogil:
            for block in range(rows.shape[0]):
                first = block * LANES
                count = members - first if members - first < LANES else LANES
                ambient = get(&ambient_temp_k[0], first, count)
                loss = spread(0.0)
                for i in range(self.count):
                    ring = &self.rings.pipe[i]
                    if i + 1 < self.count:
                        fetch(<const lane*> (&rows[block, self.rings.offset[i + 1] * LANES]), HEAD + 4 * PLUG)
                    c = cooling(ring, dt_s)
                    out = through(
                        ring, <lane*> (&rows[block, self.rings.offset[i] * LANES]), &c,
                        get(&mass_kg[i, 0], first, count), get(&temp_k[i, 0], first, count), ambient,
                    )
                    put_back(&out_heat_kgk[i, 0], first, count, out.mass * out.temp)
                    loss = loss + out.lost
                put_back(&loss_j[0], first, count, HEAT_CAPACITY * loss)


cdef enum:
    MOST_COMMANDS = 16  # of a unit

cdef struct Source:  # numbers of an input, and how far away those of the next step, thing and member are
    const double* at
    Py_ssize_t step
    Py_ssize_t thing
    Py_ssize_t member


cdef struct Course:  # of some commands, from step to step
    Source source
    Py_ssize_t* column  # [count]
    Py_ssize_t count


cdef struct Inputs:
    Source[INPUTS] source
    Py_ssize_t members
    Py_ssize_t valves
    Py_ssize_t pumps
    Course* course  # [courses]
    Py_ssize_t courses
    Py_ssize_t now  # which step
    double dt
    Py_ssize_t inner_steps


cdef struct Kept:  # what is kept of some steps of a run
    const Py_ssize_t* place  # [steps] where, or -1
    double* out  # [places, columns, members]
    const double** column  # [columns] where in the state member 0 stands
    Py_ssize_t* member  # [columns] and how far away the next one
    Py_ssize_t columns
    Py_ssize_t members


cdef struct Block:
    # Which members are stepped together and where they are.
    Py_ssize_t[8] member
    Py_ssize_t count
    bint side_by_side  # as they stand in the arrays of the state
    lane* row  # plugs and walls
    lane* flow  # [edges]
    lane* cut  # [edges]
    lane* node_temp  # [nodes]
    lane* owed  # [edges]
    lane* pressure  # [nodes]
    lane* memory  # of the hydraulics


cdef struct Near:  # an edge with water that moves, as seen by a node
    Py_ssize_t edge
    Py_ssize_t role


cdef struct Before:  # what the members of a block were
    lane* row
    double* states  # [lanes, states]
    lane[5] ledger  # totals, and what was stored


cdef class LaneWork:
    """Room to work in for one thread, and the order of the flows that were last used."""

    cdef Arena kept
    cdef Solving solving
    cdef lane* heat_temp  # [edges] temperature of what comes out
    cdef lane* mean_temp  # [nodes] over the inner steps so far
    cdef lane* sum_flow  # [edges]
    cdef lane* lost  # [pipes] summed in this order, whatever that of the transport
    cdef lane* holds
    cdef signed char* crosses  # [nodes] whether anything crosses the border there, for any member
    cdef lane* came  # [nodes] where it does
    cdef lane* went
    cdef lane* heat  # [units] given to the water, in kg K
    cdef lane* mass  # [nodes] kg/s that come, where that is none for any member
    cdef signed char* stands_still  # [nodes]
    cdef lane* edge_mass
    cdef lane* edge_heat
    cdef lane* new_temp  # [edges]
    cdef lane* asked  # the one that temperatures were last put into
    cdef lane* new_wish
    cdef lane* pressure  # [nodes]
    cdef lane* unsupplied  # [nodes] 1: no held pressure can be felt there
    cdef bint all_supplied
    cdef Before* before  # the step
    cdef Before* begun  # the run
    cdef lane* row_apart  # where members that are stepped apart are
    cdef lane* command  # [commands]
    cdef Py_ssize_t loaded  # first member of the block whose inputs are here, but for those that change
    cdef bint knows_all  # temperatures of pipes for the hydraulics
    cdef bint any_demand  # at nodes
    cdef bint tells  # in this step all that can be told
    cdef bint told_before  # so was the step before
    cdef bint gives_up  # as soon as a member fails
    cdef signed char* gone  # [members of all] those that failed are stepped no more
    cdef double* result  # [lanes, results]
    cdef double* sum_result
    cdef Cooling* cooling  # [pipes]
    cdef double cooling_dt
    cdef lane[4] ledger
    cdef lane stored
    cdef lane stored_before
    cdef lane ambient
    cdef lane lowest
    cdef lane highest
    cdef Py_ssize_t* order  # [nodes]
    cdef Py_ssize_t* first  # [nodes + 1] into leaving
    cdef Py_ssize_t* leaving  # [edges] by origin, in that order
    cdef Py_ssize_t* near_first  # [nodes + 1] into near, in that order
    cdef Near* near  # [2 * edges]
    cdef Py_ssize_t* waiting  # [nodes]
    cdef Py_ssize_t* ready  # [nodes]
    cdef Py_ssize_t* released  # [edges]
    cdef Py_ssize_t* late
    cdef Py_ssize_t* standing
    cdef Py_ssize_t releases
    cdef Py_ssize_t lates
    cdef Py_ssize_t stands
    cdef signed char* way  # [edges] of the order
    cdef signed char* new_way
    cdef signed char* cut  # [edges] of the order
    cdef signed char* owes  # [edges] whether any member's may owe heat
    cdef bint owing
    cdef Py_ssize_t owing_of  # first member of the block for which that is known
    cdef bint ordered
    cdef bint decided
    cdef bint any_failed
    cdef bint gave_up
    cdef Room room
    # For one member at a time.
    cdef double* numbers
    cdef unsigned char* flags
    cdef int[8] code
    cdef Py_ssize_t[8] culprit
    cdef Py_ssize_t[8] iterations
    # Of the first member that failed.
    cdef int failed_code
    cdef Py_ssize_t failed_member
    cdef Py_ssize_t failed_culprit
    cdef Py_ssize_t failed_iterations
    cdef Py_ssize_t failed_step


cdef class LaneGraph:
    """The shape of a network for members side by side; parameters as those of Graph."""

    cdef readonly Rings pipes
    cdef readonly Py_ssize_t nodes
    cdef readonly Py_ssize_t edges
    cdef readonly Py_ssize_t width  # numbers of a member in a block
    cdef Arena kept
    cdef Py_ssize_t pipe_count
    cdef Py_ssize_t* node_row  # [nodes] in the arrays of inputs and of a state
    cdef Py_ssize_t* edge_row  # [edges]
    cdef Py_ssize_t* start
    cdef Py_ssize_t* end
    cdef Py_ssize_t* beside_first
    cdef Py_ssize_t* beside
    cdef Py_ssize_t* tree_order
    cdef Py_ssize_t* tree_edge
    cdef Py_ssize_t* kind  # [edges] of the hydraulics
    cdef Py_ssize_t* in_ring  # [edges] 1: a producer that is part of a ring
    cdef Py_ssize_t* source  # [nodes] demand there is not used
    cdef Py_ssize_t* open_end  # [nodes] gives or takes what the edges there leave over
    cdef Py_ssize_t* holds  # [nodes] its pressure is held
    cdef double[::1] least_kg
    cdef HydraulicPlan hydraulics
    cdef LaneHydraulics lane_hydraulics
    cdef bint has_pressures
    cdef Py_ssize_t memory_width
    cdef double tolerance
    # Units: kinds, numbers, and where those of each begin among those of all.
    cdef Py_ssize_t units
    cdef Py_ssize_t states
    cdef Py_ssize_t results
    cdef Py_ssize_t commands
    cdef Py_ssize_t* unit_kind
    cdef double[::1] parameter
    cdef Py_ssize_t* parameter_first
    cdef Py_ssize_t* state_first
    cdef Py_ssize_t* command_first
    cdef Py_ssize_t* result_first
    cdef Py_ssize_t* result_row  # [results] in the array of a state
    cdef Py_ssize_t* is_sum

    def __init__(self, Rings pipes, node_rows, edge_rows, start, end, source, held, units, tree=(),
                 HydraulicPlan hydraulics=None, kind=(), double tolerance=FLOW_TOLERANCE):
        """As Graph."""
        cdef Arena kept
        kept = self.kept = Arena(64 * len(start))
        nodes = len(node_rows)
        self.pipes, self.nodes, self.edges, self.pipe_count = pipes, nodes, len(start), pipes.count
        self.node_row, self.edge_row = integers(kept, node_rows), integers(kept, edge_rows)
        self.start, self.end = integers(kept, start), integers(kept, end)
        self.hydraulics, self.has_pressures, self.tolerance = hydraulics, hydraulics is not None, tolerance
        self.memory_width = hydraulics.memory_width if hydraulics is not None else 0
        self.lane_hydraulics = LaneHydraulics(hydraulics.graph) if hydraulics is not None else None
        self.width = pipes.width + 3 * self.edges + 2 * nodes + self.memory_width
        self.kind = integers(kept, kind)
        self.source, self.open_end = integers(kept, source), integers(kept, held)
        self.holds = integers(kept, hydraulics.graph.fixed if hydraulics is not None else np.zeros(nodes))
        self.tree_order = integers(kept, [node for node, _ in tree])
        self.tree_edge = integers(kept, [edge for _, edge in tree])
        self.least_kg = np.array(
            [2.0 * LEAST_MOVE_OF_A_PIPE * pipes.pipe[i].whole_kg for i in range(pipes.count)], dtype=np.float64
        )
        ends = np.concatenate([start, end]).astype(np.intp)
        self.beside = integers(kept, np.argsort(ends, kind="stable") % self.edges)
        self.beside_first = integers(kept, np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=nodes))]))
        produces = [False] * (self.edges - units.count) + list(units.produces)
        self.in_ring = integers(kept, rings_through(nodes, start, end, produces))
        self.units, self.states = units.count, units.states
        self.commands, self.results = units.commands, units.results
        self.unit_kind = integers(kept, units.kind)
        self.parameter = np.append(units.parameter, 0.0)  # never without a number
        self.parameter_first = integers(kept, units.parameter_first)
        self.state_first, self.command_first = integers(kept, units.state_first), integers(kept, units.command_first)
        self.result_first, self.is_sum = integers(kept, units.result_first), integers(kept, units.is_sum)
        self.result_row = integers(kept, units.result_row)
        most = max(np.diff(units.command_first), default=0)
        if most > MOST_COMMANDS:
            raise InvalidInput(f"a unit of {most} commands; {MOST_COMMANDS} are possible")

    def work(self):
        """Room for one thread to work in."""
        cdef LaneWork w = LaneWork()
        cdef Arena kept
        kept = w.kept = Arena(2 * LANES * self.width)
        nodes, edges = self.nodes, self.edges
        if self.has_pressures:
            w.solving = self.lane_hydraulics.room(kept, edges)
            w.room = self.hydraulics.room()
        else:
            w.solving.flow, w.solving.demand = lanes_for(kept, edges), lanes_for(kept, nodes)
            w.solving.outflow = lanes_for(kept, nodes)
            w.solving.temp, w.solving.setting = lanes_for(kept, edges), lanes_for(kept, edges)
        w.heat_temp = lanes_for(kept, edges)
        w.mean_temp, w.pressure = lanes_for(kept, nodes), lanes_for(kept, nodes)
        w.unsupplied = lanes_for(kept, nodes)
        w.sum_flow, w.edge_mass = lanes_for(kept, edges), lanes_for(kept, edges)
        w.edge_heat = lanes_for(kept, edges)
        w.lost, w.holds = lanes_for(kept, edges), lanes_for(kept, edges)
        w.came, w.went, w.heat = lanes_for(kept, nodes), lanes_for(kept, nodes), lanes_for(kept, self.units)
        w.crosses = <signed char*> kept.take(nodes)
        w.new_temp, w.new_wish = lanes_for(kept, edges), lanes_for(kept, self.units)
        w.row_apart, w.command = lanes_for(kept, self.width), lanes_for(kept, self.commands)
        w.before, w.begun = self.before(kept), NULL
        w.result = <double*> kept.take(LANES * (self.results + 1) * sizeof(double))
        w.sum_result = <double*> kept.take(LANES * (self.results + 1) * sizeof(double))
        w.cooling = <Cooling*> kept.take((self.pipe_count + 1) * sizeof(Cooling))
        w.order, w.first = integers(kept, np.zeros(nodes)), integers(kept, np.zeros(nodes + 1))
        w.leaving, w.waiting = integers(kept, np.zeros(edges)), integers(kept, np.zeros(nodes))
        w.ready = integers(kept, np.zeros(nodes))
        w.near_first = integers(kept, np.zeros(nodes + 1))
        w.near = <Near*> kept.take((2 * edges + 1) * sizeof(Near))
        w.released, w.late = integers(kept, np.zeros(edges)), integers(kept, np.zeros(edges))
        w.standing = integers(kept, np.zeros(edges))
        w.way = <signed char*> kept.take(edges)
        w.new_way = <signed char*> kept.take(edges)
        w.cut = <signed char*> kept.take(edges)
        w.owes = <signed char*> kept.take(edges)
        w.stands_still = <signed char*> kept.take(nodes)
        w.mass = lanes_for(kept, nodes)
        w.numbers = <double*> kept.take((3 * nodes + 3 * edges + self.memory_width + 1) * sizeof(double))
        w.flags = <unsigned char*> kept.take(nodes)
        w.all_supplied = True
        return w

    cdef Before* before(self, Arena kept) except NULL:
        cdef Before* before = <Before*> kept.take(sizeof(Before))
        before.row = lanes_for(kept, self.width)
        before.states = <double*> kept.take(LANES * (self.states + 1) * sizeof(double))
        return before

    def step(self, LaneWork work, Arrays state, InputArrays given, Py_ssize_t first, Py_ssize_t last, double dt_s,
             Py_ssize_t inner_steps):
        """As Graph.step, but with commands as (commands, members)."""
        cdef Inputs inputs
        self.take_sources(&inputs, given, dt_s, inner_steps)
        inputs.courses = 0
        with nogil:
            self.run_members(work, state, &inputs, first, last, 1, NULL, NULL)
        return work.failed_code, work.failed_culprit, work.failed_member, work.failed_iterations

    def run(self, LaneWork work, Arrays state, InputArrays given, Py_ssize_t first, Py_ssize_t last, double dt_s,
            Py_ssize_t inner_steps, Py_ssize_t begin, Py_ssize_t steps, courses, const Py_ssize_t[::1] place,
            rows, double[:, :, ::1] out, signed char[::1] gone):
        """Several steps at once, block by block; what failed, and in which step.

        courses: what changes from step to step, from step `begin` of it on: (number of the array of the inputs, columns
        of commands or None, values (steps, things or 1, members or 1)). rows: what is kept, views (members,) of
        the state; place (steps,): where in out (places, rows, members) that of a step belongs, or -1. gone (members,):
        1 for those that are not stepped, because they failed before; filled.
        """
        cdef Inputs inputs
        cdef Kept keeping
        cdef Course* course
        cdef Source* source
        cdef const double[:, :, ::1] values
        cdef const double[:] row
        cdef Py_ssize_t i
        cdef Arena room = Arena(0)
        self.take_sources(&inputs, given, dt_s, inner_steps)
        inputs.course = <Course*> room.take((len(courses) + 1) * sizeof(Course))
        inputs.courses = 0
        for number, numbers, array in courses:
            values = array
            if numbers is None:
                source = &inputs.source[<int> number]
            else:
                course = &inputs.course[inputs.courses]
                inputs.courses += 1
                course.column, course.count = integers(room, numbers), len(numbers)
                source = &course.source
            source.step = values.shape[1] * values.shape[2]
            source.at = &values[0, 0, 0] + begin * source.step
            source.thing = 0 if values.shape[1] == 1 else values.shape[2]
            source.member = 0 if values.shape[2] == 1 else 1
        keeping.columns, keeping.members = len(rows), inputs.members
        keeping.column = <const double**> room.take((keeping.columns + 1) * sizeof(void*))
        keeping.member = <Py_ssize_t*> room.take((keeping.columns + 1) * sizeof(Py_ssize_t))
        for i, row in enumerate(rows):
            keeping.column[i], keeping.member[i] = &row[0], row.strides[0] // <Py_ssize_t> sizeof(double)
        keeping.place, keeping.out = &place[begin], NULL
        if out.shape[0] and out.shape[1]:
            keeping.out = &out[0, 0, 0]
        if work.begun == NULL:
            work.begun = self.before(work.kept)
        with nogil:
            self.run_members(work, state, &inputs, first, last, steps, &keeping, &gone[0])
        return work.failed_code, work.failed_culprit, work.failed_member, work.failed_iterations, work.failed_step

    cdef void take_sources(self, Inputs* inputs, InputArrays given, double dt_s, Py_ssize_t inner_steps) except *:
        cdef Py_ssize_t k
        inputs.members, inputs.now = given.array[AMBIENT].width, 0
        inputs.valves, inputs.pumps = given.opening.shape[0], given.speed.shape[0]
        inputs.dt, inputs.inner_steps = dt_s / inner_steps, inner_steps
        for k in range(INPUTS):
            inputs.source[k].at = given.array[k].at
            inputs.source[k].step, inputs.source[k].thing, inputs.source[k].member = 0, given.array[k].width, 1

    cdef void run_members(
        self, LaneWork w, Arrays state, Inputs* inputs, Py_ssize_t first, Py_ssize_t last, Py_ssize_t steps,
        const Kept* keeping, signed char* gone
    ) noexcept nogil:
        """All steps of one block after those of another, so that it stays in the cache."""
        cdef Block block
        cdef Py_ssize_t member = first, end
        w.failed_code, w.failed_member, w.failed_culprit, w.failed_step = 0, -1, -1, -1
        w.gone, w.gives_up, w.gave_up = gone, False, False
        w.loaded = w.owing_of = -1
        self.take_cooling(w, inputs.dt)
        while member < last:
            end = member - member % LANES + LANES  # where the next block begins
            end = end if end < last else last
            self.take_block(&block, inputs, member, end, gone)
            if block.count == 0:  # all of them failed before
                pass
            elif steps == 1:
                w.tells, w.told_before = True, True
                self.step_members(w, state, inputs, &block)
                self.keep_results(w, state, inputs, &block, keeping)
            else:
                self.run_block(w, state, inputs, &block, steps, keeping)
            member = end

    cdef void take_block(
        self, Block* b, const Inputs* inputs, Py_ssize_t first, Py_ssize_t end, const signed char* gone
    ) noexcept nogil:
        cdef Py_ssize_t member
        b.count = 0
        for member in range(first, end):
            if gone == NULL or not gone[member]:
                b.member[b.count] = member
                b.count += 1
        # All members that the block has: then it can be stepped where it is.
        b.side_by_side = first % LANES == 0 and b.count == end - first and (
            b.count == LANES or end == inputs.members
        )

    cdef void run_block(
        self, LaneWork w, Arrays state, Inputs* inputs, Block* b, Py_ssize_t steps, const Kept* keeping
    ) noexcept nogil:
        """Step a block many times, telling nothing that nobody asks for; if a member fails, all again step by step."""
        cdef Py_ssize_t i, first = b.member[0], end = b.member[b.count - 1] + 1
        self.begin(w, state, b)
        w.gives_up, w.gave_up = True, False
        w.tells = True
        for i in range(steps):
            w.told_before = w.tells
            inputs.now, w.tells = i, i + 1 == steps or keeping.place[i] >= 0
            self.step_members(w, state, inputs, b)
            if w.gave_up:
                break
            self.keep_results(w, state, inputs, b, keeping)
        w.gives_up = False
        if not w.gave_up:
            return
        self.begin_again(w, state, b)
        w.tells, w.told_before, w.gave_up = True, True, False
        for i in range(steps):
            inputs.now = i
            self.step_members(w, state, inputs, b)
            self.take_block(b, inputs, first, end, w.gone)
            if b.count == 0:
                return
            self.keep_results(w, state, inputs, b, keeping)

    cdef void begin(self, LaneWork w, Arrays state, Block* b) noexcept nogil:
        """Remember what the block is before many steps."""
        cdef Py_ssize_t i
        self.bring(w, state, b)
        self.keep(w.begun, state, b)
        for i in range(4):
            w.begun.ledger[i] = self.load(b, &state.total_j[i, 0])
        w.begun.ledger[4] = self.load(b, &state.stored_j[0])

    cdef void begin_again(self, LaneWork w, Arrays state, Block* b) noexcept nogil:
        cdef Py_ssize_t i, k
        self.bring(w, state, b)
        for k in range(LANES):
            w.code[k] = 0
        self.take_back(w, w.begun, state, b, True)
        self.bring_back(w, state, b)
        for k in range(b.count):
            for i in range(4):
                state.total_j[i, b.member[k]] = (<double*> &w.begun.ledger[i])[k]
            state.stored_j[b.member[k]] = (<double*> &w.begun.ledger[4])[k]

    cdef void keep_results(
        self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b, const Kept* keeping
    ) noexcept nogil:
        """Of a step that was told, what is asked for."""
        cdef Py_ssize_t i, k, member
        cdef double* out
        if keeping == NULL or keeping.place[inputs.now] < 0 or keeping.columns == 0:
            return
        out = keeping.out + keeping.place[inputs.now] * keeping.columns * keeping.members
        for i in range(keeping.columns):
            for k in range(b.count):
                member = b.member[k]
                if not w.gone[member]:
                    out[i * keeping.members + member] = keeping.column[i][member * keeping.member[i]]

    cdef void take_cooling(self, LaneWork w, double dt) noexcept nogil:
        cdef Py_ssize_t i
        if w.cooling_dt != dt:
            for i in range(self.pipe_count):
                w.cooling[i] = cooling(&self.pipes.pipe[i], dt)
            w.cooling_dt = dt

    def stored_energy_j(self, Arrays state, double[::1] out):
        """Heat content of water and walls above 0 degC, filled into out (members,)."""
        cdef Py_ssize_t number, member
        cdef Block block
        with nogil:
            for number in range(state.rows.shape[0]):
                member = number * LANES
                self.lay_out(&block, <lane*> &state.rows[number, 0])
                put_back(
                    &out[0], member, LANES if member + LANES <= out.shape[0] else out.shape[0] - member,
                    self.stored(&block),
                )

    cdef lane stored(self, const Block* b) noexcept nogil:
        """Heat content in J."""
        cdef Py_ssize_t i
        cdef lane total = spread(0.0)
        for i in range(self.pipe_count):
            total = total + contents_kg_k(&self.pipes.pipe[i], b.row + self.pipes.offset[i], ENERGY_ZERO)
        for i in range(self.edges):
            total = total + b.owed[i]
        return HEAT_CAPACITY * total

    cdef void lay_out(self, Block* b, lane* row) noexcept nogil:
        b.row = row
        b.flow = b.row + self.pipes.width
        b.cut = b.flow + self.edges
        b.node_temp = b.cut + self.edges
        b.owed = b.node_temp + self.nodes
        b.pressure = b.owed + self.edges
        b.memory = b.pressure + self.nodes

    cdef void step_members(self, LaneWork w, Arrays state, const Inputs* inputs, Block* b) noexcept nogil:
        """Step some members of one block, together as far as their flows allow it."""
        cdef Block other
        cdef Py_ssize_t k, edge
        cdef lane flow
        self.bring(w, state, b)
        edge = self.step_block(w, state, inputs, b)
        if edge < 0:
            if not w.gave_up:
                self.bring_back(w, state, b)
            return
        # Their flows in this edge differ: those of one direction first, then the others.
        flow = w.solving.flow[edge]
        other.count = 0
        other.side_by_side = False
        for k in range(b.count):
            if (<double*> &flow)[k] > 0.0:
                other.member[other.count] = b.member[k]
                other.count += 1
        self.step_members(w, state, inputs, &other)
        if not w.gave_up:
            self.step_rest(w, state, inputs, b, &other)

    cdef void bring(self, LaneWork w, Arrays state, Block* b) noexcept nogil:
        """See that the members stand side by side."""
        cdef Py_ssize_t k, member
        if b.side_by_side:
            self.lay_out(b, <lane*> &state.rows[b.member[0] // LANES, 0])
            return
        self.lay_out(b, w.row_apart)
        for k in range(LANES):
            member = b.member[k if k < b.count else 0]
            self.copy_lane(&state.rows[member // LANES, 0], member % LANES, <double*> b.row, k)

    cdef void bring_back(self, LaneWork w, Arrays state, const Block* b) noexcept nogil:
        cdef Py_ssize_t k
        if b.side_by_side:
            return
        for k in range(b.count):
            if w.code[k] == 0:
                self.copy_lane(<double*> b.row, k, &state.rows[b.member[k] // LANES, 0], b.member[k] % LANES)

    cdef void step_rest(
        self, LaneWork w, Arrays state, const Inputs* inputs, Block* b, const Block* done
    ) noexcept nogil:
        """Step those that are not done yet."""
        cdef Block other
        cdef Py_ssize_t k, i = 0
        other.count = 0
        other.side_by_side = False
        for k in range(b.count):
            if i < done.count and done.member[i] == b.member[k]:
                i += 1
                continue
            other.member[other.count] = b.member[k]
            other.count += 1
        self.step_members(w, state, inputs, &other)

    cdef void copy_lane(self, const double* source, Py_ssize_t of, double* goal, Py_ssize_t to) noexcept nogil:
        """Copy what one lane is in a block into a lane of another."""
        cdef Py_ssize_t i, k, field, at, count
        cdef double plugs
        for i in range(self.pipe_count):
            at = self.pipes.offset[i]
            for k in range(HEAD):
                goal[(at + k) * LANES + to] = source[(at + k) * LANES + of]
            plugs = source[(at + AHEAD) * LANES + of]
            count = <Py_ssize_t> ((plugs if plugs > 0.0 else -plugs) - 1.0)
            for k in range(self.pipes.pipe[i].capacity):
                at = self.pipes.offset[i] + HEAD + PLUG * k
                if k >= count and goal[(at + MASS) * LANES + to] == 0.0:
                    break
                for field in range(PLUG):
                    goal[(at + field) * LANES + to] = source[(at + field) * LANES + of] if k < count else 0.0
        for i in range(self.pipes.width, self.width):
            goal[i * LANES + to] = source[i * LANES + of]

    cdef inline lane given(
        self, const Inputs* inputs, const Block* b, const Source* source, Py_ssize_t thing
    ) noexcept nogil:
        """Of an input, for this step."""
        cdef const double* row = source.at + inputs.now * source.step + thing * source.thing
        return self.load(b, row) if source.member else spread(row[0])

    cdef inline double of_one(
        self, const Inputs* inputs, const Source* source, Py_ssize_t thing, Py_ssize_t member
    ) noexcept nogil:
        return source.at[inputs.now * source.step + thing * source.thing + member * source.member]

    cdef inline lane load(self, const Block* b, const double* row) noexcept nogil:
        """Of a row (members,)."""
        cdef lane found
        cdef Py_ssize_t k
        if b.side_by_side and b.count == LANES:
            return (<const lane*> (row + b.member[0]))[0]
        found = spread(row[b.member[0]])
        for k in range(b.count):
            (<double*> &found)[k] = row[b.member[k]]
        return found

    cdef inline void tell(self, LaneWork w, const Block* b, double* row, lane values) noexcept nogil:
        """Of a result (members,)."""
        cdef Py_ssize_t k
        if b.side_by_side and b.count == LANES and not w.any_failed:
            (<lane*> (row + b.member[0]))[0] = values
            return
        for k in range(b.count):
            if w.code[k] == 0:
                row[b.member[k]] = (<double*> &values)[k]

    cdef Py_ssize_t step_block(
        self, LaneWork w, Arrays state, const Inputs* inputs, Block* b
    ) noexcept nogil:
        """Step a block, or return the edge in which flows differ so that it has to be stepped in parts."""
        cdef Py_ssize_t i, k, edge
        cdef bint keeps, once = inputs.inner_steps == 1
        self.take_inputs(w, inputs, b)
        keeps = not once or (not w.gives_up and self.may_fail(w))
        for i in range(4):
            w.ledger[i] = spread(0.0)
        w.stored = spread(0.0)
        if w.tells:
            w.stored_before = self.load(b, &state.stored_j[0]) if w.told_before else self.stored(b)
        w.any_failed = False
        for k in range(LANES):
            w.code[k] = 0
        if w.tells and not once:
            memset(w.mean_temp, 0, self.nodes * sizeof(lane))
            memset(w.sum_flow, 0, self.edges * sizeof(lane))
            memset(w.edge_mass, 0, self.edges * sizeof(lane))
            memset(w.edge_heat, 0, self.edges * sizeof(lane))
            memset(w.sum_result, 0, LANES * self.results * sizeof(double))
        if keeps:
            self.keep(w.before, state, b)
        for k in range(inputs.inner_steps):
            edge = self.flows(w, state, inputs, b, k == 0)
            if edge >= 0:
                if keeps:
                    self.take_back(w, w.before, state, b, True)
                return edge
            if w.any_failed and w.gives_up:
                w.gave_up = True
                return -1
            if not keeps and w.any_failed:
                self.keep(w.before, state, b)  # what has failed so far has not changed yet
                keeps = True
            self.keep_order(w, b, inputs.dt)
            self.transport(w, state, inputs, b, 1.0 / (k + 1), w.tells and k + 1 == inputs.inner_steps)
        if w.any_failed and w.gives_up:
            w.gave_up = True
            return -1
        self.report(w, state, inputs, b)
        if w.any_failed:
            self.take_back(w, w.before, state, b, False)
            self.tell_failure(w, inputs, b)
        return -1

    cdef void tell_failure(self, LaneWork w, const Inputs* inputs, const Block* b) noexcept nogil:
        cdef Py_ssize_t k
        for k in range(b.count):
            if w.code[k] == 0:
                continue
            if w.gone != NULL:
                w.gone[b.member[k]] = 1
            if w.failed_code == 0 or b.member[k] < w.failed_member:
                w.failed_code, w.failed_member, w.failed_step = w.code[k], b.member[k], inputs.now
                w.failed_culprit, w.failed_iterations = w.culprit[k], w.iterations[k]

    cdef void take_inputs(self, LaneWork w, const Inputs* inputs, const Block* b) noexcept nogil:
        """Ambient, demands and commands of this step; what stays through a run only once for a block."""
        cdef Py_ssize_t i, k
        cdef bint anew = not b.side_by_side or w.loaded != b.member[0]
        cdef const Course* course
        cdef lane demand
        w.loaded = b.member[0] if b.side_by_side else -1
        w.ambient = self.given(inputs, b, &inputs.source[AMBIENT], 0)
        if anew or inputs.source[DEMAND].step:
            w.any_demand = False
            for i in range(self.nodes):
                demand = spread(0.0)
                if not self.source[i]:
                    demand = self.given(inputs, b, &inputs.source[DEMAND], self.node_row[i])
                w.any_demand = w.any_demand or any_of(less(spread(0.0), size_of(demand)))
                w.solving.demand[i] = demand
        if anew:
            for i in range(self.commands):
                w.command[i] = self.given(inputs, b, &inputs.source[COMMANDS], i)
        for k in range(inputs.courses):
            course = &inputs.course[k]
            for i in range(course.count):
                w.command[course.column[i]] = self.given(inputs, b, &course.source, i)

    cdef bint may_fail(self, LaneWork w) noexcept nogil:
        """Whether a unit could give off what is not liquid, so that its member has to be put back."""
        cdef Py_ssize_t i, k
        cdef double[MOST_COMMANDS] command
        for i in range(self.units):
            for k in range(LANES):
                self.command_of(w, i, k, command)
                if not stays_liquid(<int> self.unit_kind[i], &self.parameter[self.parameter_first[i]], command):
                    return True
                if self.unit_kind[i] == HEAT_LOAD:  # it does not depend on commands
                    break
        return False

    cdef inline void command_of(self, LaneWork w, Py_ssize_t unit, Py_ssize_t k, double* command) noexcept nogil:
        """Commands of a unit for one member."""
        cdef Py_ssize_t i, first = self.command_first[unit]
        for i in range(self.command_first[unit + 1] - first):
            command[i] = (<double*> &w.command[first + i])[k]

    cdef void keep(self, Before* before, Arrays state, const Block* b) noexcept nogil:
        """Remember what the block is."""
        cdef Py_ssize_t i, k
        for i in range(self.pipe_count):
            copy_plugs(&self.pipes.pipe[i], b.row + self.pipes.offset[i], before.row + self.pipes.offset[i])
        memcpy(
            before.row + self.pipes.width, b.row + self.pipes.width, (self.width - self.pipes.width) * sizeof(lane)
        )
        if self.states:
            for k in range(b.count):
                memcpy(before.states + k * self.states, &state.records[b.member[k], 0], self.states * sizeof(double))

    cdef void take_back(
        self, LaneWork w, const Before* before, Arrays state, const Block* b, bint everything
    ) noexcept nogil:
        """Make all members, or those that failed, what they were."""
        cdef Py_ssize_t k
        for k in range(LANES):
            if everything or w.code[k if k < b.count else 0] != 0:
                self.copy_lane(<const double*> before.row, k, <double*> b.row, k)
                if self.states and k < b.count:
                    memcpy(
                        &state.records[b.member[k], 0], before.states + k * self.states, self.states * sizeof(double)
                    )

    cdef Py_ssize_t flows(
        self, LaneWork w, Arrays state, const Inputs* inputs, Block* b, bint first
    ) noexcept nogil:
        """See that the flows are those of now; returns the edge in which members differ too much, or -1."""
        cdef Py_ssize_t i, edge, k
        cdef lane flow
        cdef lane* new = w.solving.flow
        cdef mask renewed = less(spread(0.0), spread(1.0)), settled
        cdef bint onward, backward
        if self.has_pressures:
            renewed = self.ask(w, state, inputs, b, first)
            if not any_of(renewed):
                return -1
            self.find_flows(w, state, inputs, b, renewed)
        elif first:
            self.tree_flows(w)
        else:
            return -1
        for i in range(self.edges):
            flow = new[i]
            if i < self.pipe_count:
                flow = choose(less(size_of(flow) * inputs.dt, spread(self.least_kg[i])), spread(0.0), flow)
            if self.has_pressures:
                flow = choose(less(size_of(flow), spread(LEAST_FLOW)), spread(0.0), flow)
            new[i] = flow
            onward = any_of(less(spread(0.0), flow))
            backward = any_of(less(flow, spread(0.0)))
            w.new_way[i] = ONWARD * onward + BACKWARD * backward
            if onward and backward and (
                i >= self.pipe_count
                or any_of(less(spread(MOST_RELEASE * self.pipes.pipe[i].ring_kg), size_of(flow) * inputs.dt))
            ):
                return i
        memcpy(b.flow, new, self.edges * sizeof(lane))
        return -1

    cdef mask ask(
        self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b, bint first
    ) noexcept nogil:
        """What flows units want and how warm the water is; in which lanes flows have to be worked out."""
        cdef Py_ssize_t i, k, edge
        cdef lane temp, flow
        cdef double* setting
        cdef mask is_new = less(spread(0.0), spread(1.0))
        if not first:
            is_new = less(spread(1.0), spread(0.0))
        cdef lane* new_temp = w.solving.temp if first else w.new_temp
        w.asked = new_temp
        w.knows_all = w.tells or inputs.inner_steps > 1 or not self.lane_hydraulics.able
        if w.knows_all:
            self.take_temps(b, NULL, self.pipe_count, new_temp)
        else:  # of dead ends nothing but pressures is to be found
            i = self.lane_hydraulics.forest
            self.take_temps(b, self.lane_hydraulics.pipe_edge + i, self.lane_hydraulics.pipes - i, new_temp)
        for i in range(self.pipe_count, self.edges):
            new_temp[i] = b.node_temp[self.start[i]]
        if not first:
            for i in range(self.edges):
                is_new = either(is_new, less(spread(SAME_TEMP), size_of(new_temp[i] - w.solving.temp[i])))
        for i in range(self.units):
            edge = self.edges - self.units + i
            temp = choose(
                less(b.flow[edge], spread(0.0)), b.node_temp[self.end[edge]], b.node_temp[self.start[edge]]
            )
            flow = self.wish(w, state, b, i, temp)
            if first:
                w.solving.setting[edge] = flow
            else:
                w.new_wish[i] = flow
                is_new = either(is_new, less(SAME_FLOW * size_of(flow), size_of(flow - w.solving.setting[edge])))
        if not first and any_of(is_new):
            for i in range(self.edges):
                w.solving.temp[i] = choose(is_new, w.new_temp[i], w.solving.temp[i])
            for i in range(self.units):
                edge = self.edges - self.units + i
                w.solving.setting[edge] = choose(is_new, w.new_wish[i], w.solving.setting[edge])
        return is_new

    cdef void take_temps(
        self, const Block* b, const Py_ssize_t* edges, Py_ssize_t count, lane* temp
    ) noexcept nogil:
        """How warm some pipes, or the first ones, are for the hydraulics."""
        cdef Py_ssize_t i, edge
        cdef const lane* record
        for i in range(count):
            edge = i if edges == NULL else edges[i]
            record = b.row + self.pipes.offset[edge]
            temp[edge] = 0.5 * (record[INLET] + record[OUTLET])
            if i + AHEAD_OF < count:
                edge = i + AHEAD_OF if edges == NULL else edges[i + AHEAD_OF]
                bring_near(b.row + self.pipes.offset[edge], OUTLET + 1)

    cdef lane wish(
        self, LaneWork w, Arrays state, const Block* b, Py_ssize_t i, lane temp
    ) noexcept nogil:
        cdef lane flow = spread(0.0)
        cdef Py_ssize_t k
        cdef const double* parameters = &self.parameter[self.parameter_first[i]]
        cdef double[MOST_COMMANDS] command
        if self.unit_kind[i] == HEAT_LOAD:
            return flow_of_load(<const LoadParameters*> parameters, w.command + self.command_first[i], temp)
        if self.unit_kind[i] == HEAT_SOURCE:
            return flow_of_source(<const SourceParameters*> parameters, w.command + self.command_first[i], temp)
        for k in range(b.count):
            self.command_of(w, i, k, command)
            (<double*> &flow)[k] = wanted_flow_kg_s(
                <int> self.unit_kind[i], parameters, self.state_of(state, b.member[k], i), command, (<double*> &temp)[k]
            )
        for k in range(b.count, LANES):
            (<double*> &flow)[k] = (<double*> &flow)[0]
        return flow

    cdef double* state_of(self, Arrays state, Py_ssize_t member, Py_ssize_t unit) noexcept nogil:
        return &state.records[member, 0] + self.state_first[unit]

    cdef void find_flows(
        self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b, mask wanted
    ) noexcept nogil:
        """Flows that fit the pressures into w.solving.flow, in the wanted lanes."""
        cdef Py_ssize_t i, k
        cdef lane is_wanted = choose(wanted, spread(1.0), spread(0.0)), is_solved = spread(0.0)
        cdef mask solved
        for i in range(self.nodes):
            if self.holds[i]:
                w.pressure[i] = self.given(inputs, b, &inputs.source[PRESSURE], self.node_row[i])
        if not self.lane_hydraulics.able:
            memcpy(w.solving.flow, b.flow, self.edges * sizeof(lane))
        else:
            solved = self.lane_hydraulics.solve(&w.solving, b.flow, w.pressure, self.tolerance, wanted, w.tells)
            is_solved = choose(solved, spread(1.0), spread(0.0))
            if not every_of(solved):
                for i in range(self.edges):
                    w.solving.flow[i] = choose(solved, w.solving.flow[i], b.flow[i])
            if w.tells:
                for i in range(self.nodes):
                    b.pressure[i] = choose(solved, w.pressure[i], b.pressure[i])
        # Members whose flows stay keep what they were told.
        if every_of(wanted):
            w.all_supplied = True
        elif not w.all_supplied:
            for i in range(self.nodes):
                w.unsupplied[i] = choose(wanted, spread(0.0), w.unsupplied[i])
        for k in range(b.count):
            if (<double*> &is_wanted)[k] == (<double*> &is_solved)[k]:
                continue
            if not w.knows_all:
                self.take_temps(b, NULL, self.pipe_count, w.solving.temp)
                w.knows_all = True
            self.find_flows_of(w, state, inputs, b, k)

    cdef void find_flows_of(
        self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b, Py_ssize_t k
    ) noexcept nogil:
        """Flows of one member, by the hydraulics for one at a time; lanes to spare get those of the first."""
        cdef Py_ssize_t i, edge = self.pipe_count, to
        cdef double* demand = w.numbers
        cdef double* fixed = demand + self.nodes
        cdef double* pressure = fixed + self.nodes
        cdef double* setting = pressure + self.nodes
        cdef double* temp = setting + self.edges
        cdef double* flow = temp + self.edges
        cdef double* memory = flow + self.edges
        cdef const Source* source
        cdef Given given
        cdef Found found
        for i in range(self.nodes):
            demand[i] = (<double*> &w.solving.demand[i])[k]
            fixed[i] = self.of_one(inputs, &inputs.source[PRESSURE], self.node_row[i], b.member[k])
            pressure[i] = (<double*> &b.pressure[i])[k]
        for i in range(self.edges):
            setting[i] = (<double*> &w.solving.setting[i])[k]
            temp[i] = (<double*> &w.solving.temp[i])[k]
            flow[i] = (<double*> &b.flow[i])[k]
        for i in range(inputs.valves):
            source = &inputs.source[VALVE_FLOW if self.kind[edge] == FLOW else OPENING]
            setting[edge] = self.of_one(inputs, source, i, b.member[k])
            edge += 1
        for i in range(inputs.pumps):
            source = &inputs.source[SPEED if self.kind[edge] == PUMP_SPEED else RISE]
            setting[edge] = self.of_one(inputs, source, i, b.member[k])
            edge += 1
        for i in range(self.memory_width):
            memory[i] = (<double*> &b.memory[i])[k]
        given.demand_kg_s, given.fixed_pressure_pa, given.setting, given.temp_k = demand, fixed, setting, temp
        given.tolerance = self.tolerance
        found.flow_kg_s, found.pressure_pa, found.memory, found.unsupplied = flow, pressure, memory, w.flags
        found.culprit = -1
        if self.hydraulics.solve_member(w.room, &given, &found) != SOLVED:
            w.code[k], w.culprit[k], w.iterations[k] = NO_FLOWS, found.culprit, found.iterations
            w.any_failed = True
            return
        if w.all_supplied:
            for i in range(self.nodes):
                if w.flags[i]:
                    w.all_supplied = False
            if not w.all_supplied:
                memset(w.unsupplied, 0, self.nodes * sizeof(lane))
        for to in range(k, LANES):
            if to > k and (k > 0 or to < b.count):
                continue
            for i in range(self.nodes):
                (<double*> &b.pressure[i])[to] = pressure[i]
                if not w.all_supplied:
                    (<double*> &w.unsupplied[i])[to] = w.flags[i]
            for i in range(self.edges):
                (<double*> &w.solving.flow[i])[to] = flow[i]
            for i in range(self.memory_width):
                (<double*> &b.memory[i])[to] = memory[i]

    cdef void tree_flows(self, LaneWork w) noexcept nogil:
        """Mass balance from the leaves to the source."""
        cdef Py_ssize_t k, node, edge, before
        cdef lane* out = w.solving.outflow
        memcpy(out, w.solving.demand, self.nodes * sizeof(lane))
        for k in range(self.nodes - 1, 0, -1):
            node = self.tree_order[k]
            edge = self.tree_edge[k]
            if self.end[edge] == node:
                w.solving.flow[edge] = out[node]
                before = self.start[edge]
            else:
                w.solving.flow[edge] = spread(0.0) - out[node]
                before = self.end[edge]
            out[before] = out[before] + out[node]

    cdef void keep_order(self, LaneWork w, const Block* b, double dt) noexcept nogil:
        """See that the order of the nodes is that of the present flows."""
        cdef Py_ssize_t k, edge
        # Where the flows themselves decided what takes in water late, they decide again.
        cdef bint same = w.ordered and not w.decided and memcmp(w.way, w.new_way, self.edges) == 0
        for k in range(w.releases):
            edge = w.released[k]
            same = same and self.releases(b, edge, dt, 1.0)
        if same:
            return
        memcpy(w.way, w.new_way, self.edges)
        self.sort(w, b, dt)
        w.ordered = True

    cdef bint releases(self, const Block* b, Py_ssize_t pipe, double dt, double margin) noexcept nogil:
        return not any_of(
            less(spread(MOST_RELEASE * self.pipes.pipe[pipe].ring_kg), margin * dt * size_of(b.flow[pipe]))
        )

    cdef inline Py_ssize_t goal(self, LaneWork w, Py_ssize_t edge) noexcept nogil:
        return self.end[edge] if w.way[edge] != BACKWARD else self.start[edge]

    cdef inline Py_ssize_t origin(self, LaneWork w, Py_ssize_t edge) noexcept nogil:
        return self.start[edge] if w.way[edge] != BACKWARD else self.end[edge]

    cdef void sort(self, LaneWork w, const Block* b, double dt) noexcept nogil:
        """Topological order of the nodes, with cuts where there is none."""
        cdef Py_ssize_t i, known
        w.decided = False
        w.stands = 0
        for i in range(self.edges):
            w.cut[i] = WHOLE
            if w.way[i] == MIXED:
                w.cut[i] = RELEASED
            elif w.way[i] == NONE:
                if i < self.pipe_count or i >= self.edges - self.units:
                    w.standing[w.stands] = i
                    w.stands += 1
            elif self.in_ring[i]:
                w.cut[i] = LATE
        while True:
            known = self.follow(w)
            if known == self.nodes or not self.cut_cycles(w, b, dt):
                break
        self.look_around(w)
        w.releases = 0
        w.lates = 0
        for i in range(self.edges):
            if w.cut[i] == RELEASED:
                w.released[w.releases] = i
                w.releases += 1
            elif w.cut[i] == LATE:
                w.late[w.lates] = i
                w.lates += 1

    cdef void look_around(self, LaneWork w) noexcept nogil:
        """What is beside each node, in the order of the nodes."""
        cdef Py_ssize_t i, k, node, edge, role, count = 0
        for i in range(self.nodes):
            node = w.order[i]
            w.near_first[i] = count
            for k in range(self.beside_first[node], self.beside_first[node + 1]):
                edge = self.beside[k]
                if w.way[edge] == NONE:
                    continue
                role = 0 if self.end[edge] == node else STARTS
                if w.way[edge] == MIXED or self.goal(w, edge) == node:
                    role += COMES
                if w.way[edge] == MIXED or self.origin(w, edge) == node:
                    role += LEAVES
                w.near[count].edge, w.near[count].role = edge, role
                count += 1
        w.near_first[self.nodes] = count

    cdef Py_ssize_t follow(self, LaneWork w) noexcept nogil:
        """Order nodes from those that nothing comes to; returns how many were reached."""
        cdef Py_ssize_t i, k, node, edge, goal, done = 0, next = 0, top = 0, left = 0
        memset(w.waiting, 0, self.nodes * sizeof(Py_ssize_t))
        for i in range(self.edges):
            if w.way[i] != NONE and w.cut[i] == WHOLE:
                w.waiting[self.goal(w, i)] += 1
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
                edge = self.beside[k]
                if w.way[edge] == NONE or w.cut[edge] == RELEASED or node != self.origin(w, edge):
                    continue
                w.leaving[left] = edge
                left += 1
                if w.cut[edge] == WHOLE:
                    goal = self.goal(w, edge)
                    w.waiting[goal] -= 1
                    if w.waiting[goal] == 0 and goal < next:
                        w.ready[top] = goal
                        top += 1
        w.first[done] = left
        return done

    cdef bint cut_cycles(self, LaneWork w, const Block* b, double dt) noexcept nogil:
        """Where water goes round without a producer: release pipes there, or let something take water in late."""
        cdef Py_ssize_t i, best = -1
        cdef bint released = False
        for i in range(self.edges):
            if w.way[i] == NONE or w.cut[i] != WHOLE or not w.waiting[self.goal(w, i)]:
                continue
            if not w.waiting[self.origin(w, i)]:
                continue
            if i < self.pipe_count and self.releases(b, i, dt, CUT_MARGIN):
                w.cut[i] = RELEASED
                released = True
            if best < 0 or (best < self.pipe_count and i >= self.pipe_count):
                best = i
        if released or best < 0:
            return released
        w.cut[best] = LATE
        w.decided = True
        return True

    cdef void transport(
        self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b, double part, bint last
    ) noexcept nogil:
        """Move water and heat through all edges once, in the order of the graph."""
        cdef Py_ssize_t i, k, node, edge
        cdef double dt = inputs.dt
        cdef lane flow, temp, before, mass
        cdef Passed out
        if not b.side_by_side or w.owing_of != b.member[0]:
            w.owing_of, w.owing = b.member[0] if b.side_by_side else -1, False
            for i in range(self.edges):
                w.owes[i] = any_of(less(spread(0.0), size_of(b.owed[i])))
                w.owing = w.owing or w.owes[i]
        if w.owing:
            w.lowest = w.highest = w.ambient
            for i in range(self.nodes):
                w.lowest = smaller(b.node_temp[i], w.lowest)
                w.highest = larger(b.node_temp[i], w.highest)
        for k in range(w.releases):
            edge = w.released[k]
            out = first_out(
                &self.pipes.pipe[edge], b.row + self.pipes.offset[edge], &w.cooling[edge], dt * b.flow[edge], w.ambient
            )
            w.heat_temp[edge] = out.temp
            w.lost[edge] = out.lost
        for k in range(w.lates):
            edge = w.late[k]
            self.through_edge(w, state, inputs, b, edge, b.node_temp[self.origin(w, edge)], last)
        for k in range(w.stands):
            edge = w.standing[k]
            self.through_edge(w, state, inputs, b, edge, b.node_temp[self.start[edge]], last)
        for k in range(self.nodes):
            node = w.order[k]
            if k + AHEAD_OF < self.nodes:
                bring_near(b.node_temp + w.order[k + AHEAD_OF], 1)
            before = b.node_temp[node]
            temp = self.mixed(w, inputs, b, k, node)
            b.node_temp[node] = temp
            if not w.stands_still[node]:
                self.node_done(w, state, inputs, b, node, part)
            for i in range(w.first[k], w.first[k + 1]):
                edge = w.leaving[i]
                if i + AHEAD_OF < w.first[self.nodes]:
                    self.fetch_edge(w, b, w.leaving[i + AHEAD_OF])
                if w.cut[edge] == LATE:
                    mass = dt * size_of(b.flow[edge])
                    b.owed[edge] = b.owed[edge] + mass * (temp - before)
                    w.owes[edge] = w.owing = True
                else:
                    self.through_edge(w, state, inputs, b, edge, temp, last)
        for k in range(w.releases):
            edge = w.released[k]
            flow = b.flow[edge]
            temp = choose(less(flow, spread(0.0)), b.node_temp[self.end[edge]], b.node_temp[self.start[edge]])
            if w.owes[edge]:
                temp = self.repaid(w, b, edge, dt * size_of(flow), temp)
            w.lost[edge] = w.lost[edge] + then_in(
                &self.pipes.pipe[edge], b.row + self.pipes.offset[edge], &w.cooling[edge], dt * flow, temp, w.ambient
            )
            self.pipe_done(w, state, inputs, b, edge, last)
        # Where none came, after all pipes: so it does not matter in which order they were advanced.
        for node in range(self.nodes):
            if w.stands_still[node]:
                b.node_temp[node] = choose(
                    less(spread(0.0), w.mass[node]), b.node_temp[node], self.standing_temp(b, node)
                )
                self.node_done(w, state, inputs, b, node, part)
        for i in range(self.pipe_count):
            w.ledger[LOSS] = w.ledger[LOSS] + w.lost[i]
            if last:
                w.stored = w.stored + w.holds[i]
        for i in range(self.nodes):
            if w.crosses[i]:
                w.ledger[IN] = w.ledger[IN] + w.came[i]
                w.ledger[OUT] = w.ledger[OUT] + w.went[i]
        for i in range(self.units):
            w.ledger[IN] = w.ledger[IN] + larger(w.heat[i], spread(0.0))
            w.ledger[OUT] = w.ledger[OUT] + larger(spread(0.0) - w.heat[i], spread(0.0))
        if w.tells and inputs.inner_steps > 1:
            for i in range(self.edges):
                w.sum_flow[i] = w.sum_flow[i] + b.flow[i]
            for i in range(LANES * self.results):
                w.sum_result[i] += w.result[i]

    cdef inline void fetch_edge(self, LaneWork w, const Block* b, Py_ssize_t edge) noexcept nogil:
        """Edges follow the water, not their numbers: the processor does not guess which is next."""
        bring_near(w.heat_temp + edge, 1)
        if edge < self.pipe_count:
            bring_near(b.row + self.pipes.offset[edge], HEAD + 3 * PLUG)
            bring_near(w.lost + edge, 1)
            bring_near(<const lane*> &self.pipes.pipe[edge], 1)
            bring_near(<const lane*> &w.cooling[edge], 1)
        elif edge >= self.edges - self.units:
            bring_near(w.command + self.command_first[edge - (self.edges - self.units)], 4)

    cdef inline void node_done(
        self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b, Py_ssize_t node, double part
    ) noexcept nogil:
        if not w.tells:
            return
        if inputs.inner_steps > 1:
            w.mean_temp[node] = w.mean_temp[node] + (b.node_temp[node] - w.mean_temp[node]) * part
        else:
            self.tell(w, b, &state.node_temp_k[self.node_row[node], 0], b.node_temp[node])

    cdef lane mixed(
        self, LaneWork w, const Inputs* inputs, const Block* b, Py_ssize_t place, Py_ssize_t node
    ) noexcept nogil:
        """Temperature of the water at a node, and what crosses the border there into the ledger."""
        cdef Py_ssize_t k
        cdef const Near* near
        cdef double dt = inputs.dt
        cdef lane zero = spread(0.0), mass = zero, heat = zero, out = zero, toward, fed, taken, temp, demand, over, came
        cdef mask is_over
        for k in range(w.near_first[place], w.near_first[place + 1]):
            near = &w.near[k]
            if k + LOOKED_AHEAD < w.near_first[self.nodes]:
                bring_near(b.flow + w.near[k + LOOKED_AHEAD].edge, 1)
            toward = b.flow[near.edge]
            if near.role & STARTS:
                toward = zero - toward
            if near.role & COMES:
                fed = larger(toward, zero)
                mass = mass + fed
                heat = heat + fed * w.heat_temp[near.edge]
            if near.role & LEAVES:
                out = out + larger(zero - toward, zero)
        fed = taken = zero
        if self.open_end[node] or w.any_demand:
            demand = w.solving.demand[node]
            if not w.all_supplied:
                demand = choose(less(zero, w.unsupplied[node]), zero, demand)
            fed = larger(zero - demand, zero)
            taken = larger(demand, zero)
            if self.open_end[node]:
                over = out - mass + demand
                fed = fed + larger(over, zero)
                taken = taken + larger(zero - over, zero)
        w.crosses[node] = any_of(less(zero, fed + taken))
        came = zero
        if w.crosses[node] and any_of(less(zero, fed)):
            temp = self.given(inputs, b, &inputs.source[SUPPLY], self.node_row[node])
            mass = mass + fed
            heat = heat + fed * temp
            came = dt * fed * (temp - ENERGY_ZERO)
        temp = heat / choose(less(zero, mass), mass, spread(1.0))
        w.stands_still[node] = any_of(at_most(mass, zero))
        if w.stands_still[node]:
            temp = choose(less(zero, mass), temp, b.node_temp[node])
            w.mass[node] = mass
        # Flows that count as none leave something over; what comes to an end that gives or takes it is on its way out.
        over = out + taken - mass
        is_over = less(ROUNDING * (out + mass), size_of(over))
        if w.crosses[node] or any_of(is_over):
            w.crosses[node] = True
            over = choose(is_over, over, zero)
            w.came[node] = came + dt * larger(over, zero) * (temp - ENERGY_ZERO)
            w.went[node] = dt * (taken + larger(zero - over, zero)) * (temp - ENERGY_ZERO)
        return temp

    cdef lane standing_temp(self, const Block* b, Py_ssize_t node) noexcept nogil:
        """Of the water at a node to which none comes: that which stands in a pipe there, or was there last."""
        cdef Py_ssize_t edge
        if self.beside_first[node] < self.beside_first[node + 1] and (self.source[node] or not self.open_end[node]):
            edge = self.beside[self.beside_first[node]]
            if edge < self.pipe_count:  # pipes come first
                return end_temp(b.row + self.pipes.offset[edge], self.end[edge] == node)
        return b.node_temp[node]

    cdef lane repaid(self, LaneWork w, const Block* b, Py_ssize_t edge, lane mass, lane temp) noexcept nogil:
        """The temperature of what goes in, with a little of what the edge owes, within what is around."""
        cdef lane zero = spread(0.0), owed = b.owed[edge], most, change
        cdef mask pays = both(less(zero, size_of(owed)), less(zero, mass))
        if not any_of(pays):
            return temp
        most = smaller(choose(less(zero, owed), w.highest - temp, temp - w.lowest), spread(MOST_REPAID))
        pays = both(pays, less(zero, most))
        change = choose(less(zero, owed), most, zero - most)
        change = choose(
            at_most(size_of(owed), most * mass), owed / choose(less(zero, mass), mass, spread(1.0)), change
        )
        b.owed[edge] = choose(
            pays, choose(at_most(size_of(owed), most * mass), zero, owed - change * mass), owed
        )
        return choose(pays, temp + change, temp)

    cdef void through_edge(
        self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b, Py_ssize_t edge, lane temp, bint last
    ) noexcept nogil:
        """Let water of `temp` enter an edge in the direction of its flow."""
        cdef Passed out
        if w.owes[edge]:
            temp = self.repaid(w, b, edge, inputs.dt * size_of(b.flow[edge]), temp)
        if edge < self.pipe_count:
            out = through(
                &self.pipes.pipe[edge], b.row + self.pipes.offset[edge], &w.cooling[edge], inputs.dt * b.flow[edge],
                temp, w.ambient,
            )
            w.heat_temp[edge] = out.temp
            w.lost[edge] = out.lost
            self.pipe_done(w, state, inputs, b, edge, last)
        elif edge >= self.edges - self.units:
            self.through_unit(w, state, inputs, b, edge, temp)
        else:
            w.heat_temp[edge] = temp

    cdef inline void pipe_done(
        self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b, Py_ssize_t edge, bint last
    ) noexcept nogil:
        """What a pipe holds at the end of the step, and what came out of it."""
        cdef const lane* record = b.row + self.pipes.offset[edge]
        cdef lane mass = size_of(b.flow[edge])
        if last:
            w.holds[edge] = contents_kg_k(&self.pipes.pipe[edge], record, ENERGY_ZERO)
        if not w.tells:
            return
        if inputs.inner_steps == 1:
            self.tell(
                w, b, &state.pipe_outlet_temp_k[self.edge_row[edge], 0],
                choose(less(spread(0.0), mass), w.heat_temp[edge], end_temp(record, True)),
            )
        else:
            w.edge_mass[edge] = w.edge_mass[edge] + mass
            w.edge_heat[edge] = w.edge_heat[edge] + mass * w.heat_temp[edge]

    cdef void through_unit(
        self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b, Py_ssize_t edge, lane temp
    ) noexcept nogil:
        """Advance a unit of all members."""
        cdef Py_ssize_t i = edge - (self.edges - self.units), k
        cdef lane mass = inputs.dt * b.flow[edge], size = size_of(mass), heat = spread(0.0)
        cdef lane[MOST_RESULTS] found
        cdef double[MOST_COMMANDS] command
        cdef const double* parameters = &self.parameter[self.parameter_first[i]]
        cdef double* result
        if self.has_pressures:  # what stands is as warm as before the step, whatever it is in company with
            temp = choose(less(spread(0.0), size), temp, w.asked[edge])
        if self.unit_kind[i] == HEAT_LOAD or self.unit_kind[i] == HEAT_SOURCE:
            if self.unit_kind[i] == HEAT_LOAD:
                through_load(
                    <const LoadParameters*> parameters, w.command + self.command_first[i], temp, mass, inputs.dt, found
                )
            else:
                through_source(
                    <const SourceParameters*> parameters, w.command + self.command_first[i], temp, mass, inputs.dt,
                    found
                )
            heat = found[HEAT]
            if w.tells:
                self.tell_unit(w, state, inputs, b, i, found)
        else:
            for k in range(b.count):
                result = w.result + k * self.results + self.result_first[i]
                self.command_of(w, i, k, command)
                advance_unit(
                    <int> self.unit_kind[i], parameters, self.state_of(state, b.member[k], i), command,
                    (<double*> &temp)[k], (<double*> &mass)[k], inputs.dt, result,
                )
                (<double*> &heat)[k] = result[HEAT]
            for k in range(b.count, LANES):
                (<double*> &heat)[k] = (<double*> &heat)[0]
        heat = choose(less(spread(0.0), size), heat * (1.0 / HEAT_CAPACITY), spread(0.0))
        temp = temp + heat / choose(less(spread(0.0), size), size, spread(1.0))
        w.heat_temp[edge] = temp
        w.heat[i] = heat
        if any_of(either(less(temp, spread(COLDEST)), less(spread(HOTTEST), temp))):
            for k in range(b.count):
                if not COLDEST <= (<double*> &temp)[k] <= HOTTEST and w.code[k] == 0 and (<double*> &size)[k] > 0.0:
                    w.code[k], w.culprit[k] = NO_WATER, edge
                    w.any_failed = True
        if w.tells and inputs.inner_steps > 1:
            w.edge_mass[edge] = w.edge_mass[edge] + size
            w.edge_heat[edge] = w.edge_heat[edge] + size * temp

    cdef void tell_unit(
        self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b, Py_ssize_t unit, const lane* found
    ) noexcept nogil:
        """Results of an ideal unit, and its state: the heat that it gave or took."""
        cdef Py_ssize_t i, k, first = self.result_first[unit]
        cdef lane heat = found[HEAT] / spread(inputs.dt)
        if self.unit_kind[unit] == HEAT_LOAD:
            heat = spread(0.0) - heat
        for k in range(b.count):
            for i in range(self.result_first[unit + 1] - first):
                w.result[k * self.results + first + i] = (<double*> &found[i])[k]
            self.state_of(state, b.member[k], unit)[0] = (<double*> &heat)[k]

    cdef void report(self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b) noexcept nogil:
        """Means over the step, what is stored and the ledger."""
        cdef Py_ssize_t i, k
        cdef lane part
        for k in range(LOSS + 1):
            part = HEAT_CAPACITY * w.ledger[k]
            self.tell(w, b, &state.step_j[k, 0], part)
            self.tell(w, b, &state.total_j[k, 0], self.load(b, &state.total_j[k, 0]) + part)
        if not w.tells:
            return
        for i in range(self.edges):
            if w.owes[i]:
                w.stored = w.stored + b.owed[i]
        part = HEAT_CAPACITY * w.stored
        self.tell(w, b, &state.stored_j[0], part)
        self.tell(w, b, &state.step_j[STORED, 0], part - w.stored_before)
        self.tell_all(w, state, inputs, b)

    cdef void tell_all(self, LaneWork w, Arrays state, const Inputs* inputs, const Block* b) noexcept nogil:
        cdef Py_ssize_t i, k, row
        cdef bint once = inputs.inner_steps == 1
        cdef double part = 1.0 / inputs.inner_steps
        cdef lane mass
        for i in range(self.edges):
            self.tell(
                w, b, &state.edge_flow_kg_s[self.edge_row[i], 0], b.flow[i] if once else w.sum_flow[i] * part
            )
        for i in range(self.nodes):
            row = self.node_row[i]
            self.tell(w, b, &state.node_pressure_pa[row, 0], b.pressure[i])
            self.tell(w, b, &state.node_unsupplied[row, 0], spread(0.0) if w.all_supplied else w.unsupplied[i])
        if not once:
            for i in range(self.nodes):
                self.tell(w, b, &state.node_temp_k[self.node_row[i], 0], w.mean_temp[i])
            for i in range(self.pipe_count):
                mass = w.edge_mass[i]
                self.tell(w, b, &state.pipe_outlet_temp_k[self.edge_row[i], 0], choose(
                    less(spread(0.0), mass), w.edge_heat[i] / choose(less(spread(0.0), mass), mass, spread(1.0)),
                    end_temp(b.row + self.pipes.offset[i], True),
                ))
        for k in range(b.count):
            if w.code[k] == 0:
                self.report_units(w, &state.unit_results[b.member[k], 0], k, once, part)

    cdef void report_units(
        self, LaneWork w, double* result, Py_ssize_t k, bint once, double part
    ) noexcept nogil:
        """Results of the units of one member."""
        cdef Py_ssize_t i, edge, at
        cdef const double* found = (w.result if once else w.sum_result) + k * self.results
        cdef double mass
        for i in range(self.results):
            result[self.result_row[i]] = found[i] if self.is_sum[i] else found[i] * part
        for i in range(self.units):
            edge = self.edges - self.units + i
            at = self.result_row[self.result_first[i] + OUTLET_TEMP]
            if once:
                if (<double*> &w.solving.flow[edge])[k] != 0.0:
                    result[at] = (<double*> &w.heat_temp[edge])[k]
                continue
            mass = (<double*> &w.edge_mass[edge])[k]
            if mass > 0.0:
                result[at] = (<double*> &w.edge_heat[edge])[k] / mass


def rings_through(Py_ssize_t nodes, start, end, produces):
    """Per edge, whether it is one of those that produce and its ends are joined in another way too."""
    found = []
    for edge, is_producer in enumerate(produces):
        if not is_producer:
            found.append(0)
            continue
        beside = [[] for _ in range(nodes)]
        for other, (a, b) in enumerate(zip(start, end, strict=True)):
            if other != edge:
                beside[a].append(b)
                beside[b].append(a)
        reached = {int(start[edge])}
        frontier = list(reached)
        while frontier:
            for node in beside[frontier.pop()]:
                if int(node) not in reached:
                    reached.add(int(node))
                    frontier.append(int(node))
        found.append(int(int(end[edge]) in reached))
    return found
