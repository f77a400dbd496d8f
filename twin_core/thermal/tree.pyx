"""Heat through a tree of pipes with imposed flows: flows from the mass balance, perfect mixing at every node.

Pure computation for network.py, which checks and names. SI units, temperatures in K. Nodes are numbered as in the
network; `order` lists them from the source outwards, so that a node comes after its parent.
"""

from libc.math cimport fabs

import numpy as np

from uem.twin_core.thermal.pipes cimport (
    ENERGY_ZERO, HEAT_CAPACITY, LEAST_MOVE, MEMO_WIDTH, Outflow, Pipe, Pipes, advance, end_temp_k, stored_energy_j
)

from uem.twin_core.errors import InvalidInput

# Rows of the scratch array.
cdef enum:
    DOWN_FLOW = 0  # kg/s in the pipe from the parent, positive away from the source
    OUT_FLOW = 1  # kg/s that leaves the node on all ways
    MASS = 2  # kg and kg K that came in during an inner step
    HEAT = 3
    TEMP = 4  # mixed
    SUM_MASS = 5  # over all inner steps, for means
    SUM_HEAT = 6
    PIPE_MASS = 7  # what came out of the pipe from the parent
    PIPE_HEAT = 8
    SCRATCH_WIDTH = 9

SCRATCH_ROWS = SCRATCH_WIDTH


cdef class Tree:
    """Topology: for every node but the source its parent, the pipe between them and whether it is drawn outwards."""

    cdef readonly Pipes pipes
    cdef readonly Py_ssize_t nodes
    cdef Py_ssize_t[::1] order
    cdef Py_ssize_t[::1] parent
    cdef Py_ssize_t[::1] pipe_of
    cdef double[::1] sense

    def __init__(self, Pipes pipes, order, parent, pipe_of, sense):
        self.pipes = pipes
        self.order = np.array(order, dtype=np.intp)
        self.parent = np.array(parent, dtype=np.intp)
        self.pipe_of = np.array(pipe_of, dtype=np.intp)
        self.sense = np.array(sense, dtype=np.float64)
        self.nodes = self.order.shape[0]
        if not (self.parent.shape[0] == self.pipe_of.shape[0] == self.sense.shape[0] == self.nodes == pipes.count + 1):
            raise InvalidInput("a tree has one pipe less than nodes")

    def step(self, double dt_s, Py_ssize_t inner_steps, double[:, ::1] rows, double[:, ::1] memos,
             double[:, ::1] scratch, const double[:, ::1] supply_temp_k, const double[:, ::1] demand_kg_s,
             const double[::1] ambient_temp_k, double[:, ::1] node_temp_k, double[:, ::1] pipe_flow_kg_s,
             double[:, ::1] pipe_outlet_temp_k, double[::1] stored_j, double[:, ::1] step_j, double[:, ::1] total_j):
        """Advance all members by `dt_s` in `inner_steps` equal parts; shapes as in network.py, checked there."""
        cdef Py_ssize_t member, k
        cdef double before
        with nogil:
            for member in range(rows.shape[0]):
                self.set_flows(member, dt_s / inner_steps, scratch, demand_kg_s, pipe_flow_kg_s)
                for k in range(4):
                    step_j[k, member] = 0.0
                for k in range(inner_steps):
                    self.inner_step(
                        member, dt_s / inner_steps, &rows[member, 0], &memos[member, 0], scratch,
                        supply_temp_k, demand_kg_s, ambient_temp_k[member], step_j,
                    )
                self.report(member, &rows[member, 0], scratch, node_temp_k, pipe_outlet_temp_k)
                before = stored_j[member]
                stored_j[member] = self.stored(&rows[member, 0])
                step_j[3, member] = stored_j[member] - before
                for k in range(4):
                    total_j[k, member] += step_j[k, member]

    def stored_energy_j(self, double[:, ::1] rows, double[::1] out):
        """Heat content of water and walls above 0 degC, filled into out (members,)."""
        cdef Py_ssize_t member
        with nogil:
            for member in range(rows.shape[0]):
                out[member] = self.stored(&rows[member, 0])

    cdef double stored(self, const double* row) noexcept nogil:
        cdef Py_ssize_t i
        cdef double total = 0.0
        for i in range(self.pipes.count):
            total += stored_energy_j(&self.pipes.pipe[i], row + self.pipes.offset[i])
        return total

    cdef void set_flows(self, Py_ssize_t member, double dt, double[:, ::1] scratch,
                        const double[:, ::1] demand, double[:, ::1] pipe_flow) noexcept nogil:
        """Mass balance from the leaves to the source. A flow too small to move anything counts as standstill."""
        cdef Py_ssize_t k, node, parent, pipe
        cdef double flow
        for node in range(self.nodes):
            scratch[DOWN_FLOW, node] = demand[node, member]
            for k in range(OUT_FLOW, SCRATCH_WIDTH):
                scratch[k, node] = 0.0
        node = self.order[0]
        scratch[DOWN_FLOW, node] = 0.0  # what the source gives follows from the others
        for k in range(self.nodes - 1, 0, -1):
            node = self.order[k]
            scratch[DOWN_FLOW, self.parent[node]] += scratch[DOWN_FLOW, node]
        for k in range(self.nodes):
            node = self.order[k]
            if k:
                parent = self.parent[node]
                pipe = self.pipe_of[node]
                flow = scratch[DOWN_FLOW, node]
                if fabs(flow) * dt < 2e3 * LEAST_MOVE * self.pipes.pipe[pipe].cell_volume_m3:
                    flow = 0.0
                    scratch[DOWN_FLOW, node] = 0.0
                pipe_flow[pipe, member] = flow * self.sense[node]
                if flow > 0.0:
                    scratch[OUT_FLOW, parent] += flow
                else:
                    scratch[OUT_FLOW, node] -= flow
                if demand[node, member] > 0.0:
                    scratch[OUT_FLOW, node] += demand[node, member]
            elif scratch[DOWN_FLOW, node] < 0.0:  # more is fed in than taken out: it leaves at the source
                scratch[OUT_FLOW, node] -= scratch[DOWN_FLOW, node]

    cdef void inner_step(self, Py_ssize_t member, double dt, double* row, double* memo, double[:, ::1] scratch,
                         const double[:, ::1] supply, const double[:, ::1] demand, double ambient,
                         double[:, ::1] step_j) noexcept nogil:
        """One part of a step: inwards through pipes that flow to the source, then outwards through all others."""
        cdef Py_ssize_t k, node
        cdef double fed
        for k in range(self.nodes):
            node = self.order[k]
            fed = scratch[DOWN_FLOW, node] if k == 0 else -demand[node, member]
            fed = fed * dt if fed > 0.0 else 0.0
            scratch[MASS, node] = fed
            scratch[HEAT, node] = fed * supply[node, member]
            step_j[0, member] += HEAT_CAPACITY * fed * (supply[node, member] - ENERGY_ZERO)
        for k in range(self.nodes - 1, 0, -1):
            node = self.order[k]
            if scratch[DOWN_FLOW, node] < 0.0:
                self.mix(node, scratch)
                self.through(member, node, node, self.parent[node], dt, row, memo, scratch, ambient, step_j)
        for k in range(self.nodes):
            node = self.order[k]
            if k and scratch[DOWN_FLOW, node] >= 0.0:
                self.through(member, node, self.parent[node], node, dt, row, memo, scratch, ambient, step_j)
            self.mix(node, scratch)
            scratch[SUM_MASS, node] += scratch[MASS, node]
            scratch[SUM_HEAT, node] += scratch[HEAT, node]
            step_j[1, member] += self.taken_j(k, node, member, scratch, demand)

    cdef void mix(self, Py_ssize_t node, double[:, ::1] scratch) noexcept nogil:
        if scratch[MASS, node] > 0.0:
            scratch[TEMP, node] = scratch[HEAT, node] / scratch[MASS, node]

    cdef double taken_j(self, Py_ssize_t k, Py_ssize_t node, Py_ssize_t member, double[:, ::1] scratch,
                        const double[:, ::1] demand) noexcept nogil:
        """Heat that leaves the network at a node: the share of its demand, or all if nothing else is there to take it."""
        cdef double flow = -scratch[DOWN_FLOW, node] if k == 0 else demand[node, member]
        cdef double share = 1.0
        if scratch[OUT_FLOW, node] > 0.0:
            share = flow / scratch[OUT_FLOW, node] if flow > 0.0 else 0.0
        return HEAT_CAPACITY * share * (scratch[HEAT, node] - scratch[MASS, node] * ENERGY_ZERO)

    cdef void through(self, Py_ssize_t member, Py_ssize_t child, Py_ssize_t origin, Py_ssize_t goal, double dt,
                      double* row, double* memo, double[:, ::1] scratch, double ambient,
                      double[:, ::1] step_j) noexcept nogil:
        """Push the pipe's share of what came to `origin` through the pipe of `child`."""
        cdef Py_ssize_t pipe = self.pipe_of[child]
        cdef double* record = row + self.pipes.offset[pipe]
        cdef double flow = fabs(scratch[DOWN_FLOW, child]), mass = 0.0, temp = record[1]
        cdef Outflow out
        if flow > 0.0 and scratch[MASS, origin] > 0.0:
            mass = scratch[MASS, origin] * (flow / scratch[OUT_FLOW, origin])
            temp = scratch[TEMP, origin]
        if (origin == child) == (self.sense[child] > 0.0):  # against the drawn direction
            mass = -mass
        out = advance(&self.pipes.pipe[pipe], record, memo + pipe * MEMO_WIDTH, mass, temp, dt, ambient)
        scratch[MASS, goal] += out.mass_kg
        scratch[HEAT, goal] += out.heat_kgk
        scratch[PIPE_MASS, child] += out.mass_kg
        scratch[PIPE_HEAT, child] += out.heat_kgk
        step_j[2, member] += out.loss_j

    cdef void report(self, Py_ssize_t member, const double* row, double[:, ::1] scratch,
                     double[:, ::1] node_temp, double[:, ::1] outlet_temp) noexcept nogil:
        """Means over the step. Where nothing moved: the water that stands at that end of the pipe."""
        cdef Py_ssize_t k, node, pipe, child
        cdef const double* record
        for k in range(1, self.nodes):
            node = self.order[k]
            pipe = self.pipe_of[node]
            record = row + self.pipes.offset[pipe]
            if scratch[PIPE_MASS, node] > 0.0:
                outlet_temp[pipe, member] = scratch[PIPE_HEAT, node] / scratch[PIPE_MASS, node]
            else:
                outlet_temp[pipe, member] = end_temp_k(&self.pipes.pipe[pipe], record, True)
        for k in range(self.nodes):
            node = self.order[k]
            if scratch[SUM_MASS, node] > 0.0:
                node_temp[node, member] = scratch[SUM_HEAT, node] / scratch[SUM_MASS, node]
            else:
                child = node if k else self.order[1]
                pipe = self.pipe_of[child]
                record = row + self.pipes.offset[pipe]
                node_temp[node, member] = end_temp_k(
                    &self.pipes.pipe[pipe], record, (self.sense[child] > 0.0) == (k > 0)
                )


def first_wrong(const double[:, ::1] values, double low, double high):
    """Index of the first value that is not a number within [low, high], or -1; rows first."""
    cdef Py_ssize_t i, k, found = -1
    with nogil:
        for i in range(values.shape[0]):
            for k in range(values.shape[1]):
                if found < 0 and not (low <= values[i, k] <= high):
                    found = i * values.shape[1] + k
    return found
