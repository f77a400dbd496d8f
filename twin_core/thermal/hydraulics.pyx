"""Flows and pressures of a network of pipes, valves, pumps and units, quasi-static; see docs/models/hydraulics.md.

Newton on the flows of links and the pressures of junctions (global gradient method). What is no unknown is not solved
for: dead ends are summed up, pipes in series are one link. A step allocates nothing. SI units, temperatures in K.
"""

cimport cython
from libc.math cimport fabs, pi, sqrt
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from uem.twin_core.thermal.friction cimport Wall, make_wall, pressure_drops
from uem.twin_core.thermal.water cimport density_kg_m3, viscosity_pa_s

from uem.twin_core.errors import InvalidInput, NotConverged
from uem.twin_core.thermal.friction import LAWS
from uem.twin_core.thermal.hydraulic_network import MOST_CRITICAL_PUMPS, take_apart

# A shut check valve lets this little through, so that a pressure is defined behind it: 1e-7 kg/s at 10 bar.
cdef double LEAK_PA_S_KG = 1e13
cdef double SHUT_KG_S_PA = 1e-12  # what conducts less is shut
# What would have to leak more than this cannot be supplied (the pressure would be 1e9 Pa).
cdef double MOST_LEAK_KG_S = 1e-4
# The first guess is the flow under a pressure drop that grows with the flow as it does at this speed.
cdef double FIRST_SPEED_M_S = 0.5
cdef double FIRST_DROP_PA = 1e4  # the same for valves and units
cdef double MOST_FLOW_KG_S = 1e7  # bound of the search for the flow of a link
cdef double MOST_RISE_PA = 1e7  # of a pump that holds the pressure of a critical pair
cdef double LEAST_MISMATCH_PA = 0.3  # between what drives an element and what its law says
cdef double ROUNDING = 1e-15  # of pressures: what flows change by that counts as none where steps do not settle
cdef double LEAST_HOLD = 1e-4  # change of a critical pair with the rise of its pump, below which there is no hold
cdef Py_ssize_t MOST_ITERATIONS = 40
cdef Py_ssize_t FREE_STEPS = 10  # Newton steps that are not checked for whether they gain
cdef Py_ssize_t MOST_DESCENTS = 100
cdef Py_ssize_t MOST_ROUNDS = 4

# Within 2e-8 and 3e-6.
cdef double[TABLE] DENSITY
cdef double[TABLE] VISCOSITY


cdef void fill_tables() noexcept nogil:
    cdef Py_ssize_t i
    for i in range(TABLE):
        DENSITY[i] = density_kg_m3(TABLE_START_K + 0.125 * i)
        VISCOSITY[i] = viscosity_pa_s(TABLE_START_K + 0.125 * i)


fill_tables()


cdef inline double looked_up(const double* table, double temp_k) noexcept nogil:
    cdef double x = 8.0 * (temp_k - TABLE_START_K)
    x = 0.0 if not x > 0.0 else 1200.0 if x > 1200.0 else x  # NaN counts as the lowest temperature
    cdef Py_ssize_t i = <Py_ssize_t>x
    return table[i] + (x - i) * (table[i + 1] - table[i])


cdef Py_ssize_t* integers(list kept, values) except NULL:
    """A C array of the values, alive as long as `kept`."""
    cdef Py_ssize_t[::1] view = np.concatenate([np.asarray(values, np.intp), np.zeros(1, np.intp)])
    kept.append(view)
    return &view[0]


cdef double* numbers(list kept, values) except NULL:
    cdef double[::1] view = np.concatenate([np.asarray(values, np.float64), np.zeros(1)])
    kept.append(view)
    return &view[0]


cdef void* room_for(list kept, Py_ssize_t size) except NULL:
    cdef double[::1] view = np.zeros(size // 8 + 1)
    kept.append(view)
    return &view[0]


cdef double* zeros(list kept, Py_ssize_t count) except NULL:
    return <double*>room_for(kept, count * sizeof(double))


cdef inline bint one_way(int kind) noexcept nogil:
    return kind in (CHECK, FLOW, PUMP_SPEED, PUMP_PRESSURE, PUMP_CRITICAL)


cdef inline double quadratic(double resistance, double flow_kg_s, double* slope) noexcept nogil:
    """Drop of resistance times flow squared, but linear about zero; at most 0.5 Pa more than without that."""
    cdef double linear = LEAST_SLOPE_PA_S_KG / resistance
    linear = linear if linear > LINEAR_KG_S else LINEAR_KG_S
    cdef double root = sqrt(flow_kg_s * flow_kg_s + linear * linear)
    slope[0] = resistance * (root + flow_kg_s * flow_kg_s / root)
    return resistance * flow_kg_s * root


cdef inline double resistance_of(const Element* element, double setting, double density) noexcept nogil:
    cdef double resistance = element.per_density / density + element.resistance_pa_s2_kg2
    if element.kind == VALVE:
        resistance /= setting * setting
    return resistance if resistance > LEAST_RESISTANCE else LEAST_RESISTANCE


cdef Py_ssize_t element_law(
    const Element* element, double setting, double rise, double density, double flow_kg_s, double* drop_pa,
    double* slope
) noexcept nogil:
    """Pressure drop and its slope; returns which branch of the law holds: 0 open, 1 shut, 2 holding its flow."""
    cdef int kind = element.kind
    cdef double lift = 0.0, resistance, at_setting
    if kind == PUMP_SPEED:
        lift = element.shutoff_pa_m3_kg * density * setting * setting
    elif kind == PUMP_PRESSURE or kind == PUMP_CRITICAL:
        lift = rise
    if flow_kg_s < 0.0 and one_way(kind):
        slope[0] = LEAK_PA_S_KG
        drop_pa[0] = LEAK_PA_S_KG * flow_kg_s - lift
        return 1
    if kind == PUMP_PRESSURE or kind == PUMP_CRITICAL:
        slope[0] = LEAST_SLOPE_PA_S_KG
        drop_pa[0] = LEAST_SLOPE_PA_S_KG * flow_kg_s - lift
        return 0
    if kind == PUMP_SPEED:
        resistance = element.curve_m_s2 * density
        drop_pa[0] = quadratic(resistance if resistance > LEAST_RESISTANCE else LEAST_RESISTANCE, flow_kg_s, slope)
        drop_pa[0] -= lift
        return 0
    resistance = resistance_of(element, setting, density)
    if kind == FLOW and flow_kg_s > setting:
        at_setting = quadratic(resistance, setting if setting > 0.0 else 0.0, slope)
        slope[0] = LEAK_PA_S_KG
        drop_pa[0] = at_setting + LEAK_PA_S_KG * (flow_kg_s - (setting if setting > 0.0 else 0.0))
        return 2
    drop_pa[0] = quadratic(resistance, flow_kg_s, slope)
    return 0


@cython.final
cdef class Parts:
    def __init__(self, graph, shape, str law):
        cdef Py_ssize_t i
        cdef int number = LAWS.index(law)
        self.kept = []
        kept = self.kept
        self.forest = shape.forest
        self.pipes = len(shape.pipe_edge)
        self.chains = len(shape.chain_start) - 1
        self.links = len(shape.link_a)
        self.elements = len(shape.element_edge)
        self.unknowns = shape.unknowns
        self.cores = len(shape.core_node)
        self.entries = len(shape.row)
        self.spans = len(shape.span_link)
        self.pipe_edge = integers(kept, shape.pipe_edge)
        self.tree_node = integers(kept, shape.tree_node)
        self.tree_parent = integers(kept, shape.tree_parent)
        self.pipe_head = integers(kept, shape.pipe_head)
        self.chain_start = integers(kept, shape.chain_start)
        self.link_a = integers(kept, shape.link_a)
        self.link_b = integers(kept, shape.link_b)
        self.core_node = integers(kept, shape.core_node)
        self.column = integers(kept, shape.column)
        self.row = integers(kept, shape.row)
        self.cross = integers(kept, shape.cross)
        self.cross_column = integers(kept, shape.cross_column)
        self.cross_entry = integers(kept, shape.cross_entry)
        self.alike = integers(kept, shape.alike)
        self.link_entry = integers(kept, shape.link_entry)
        self.span_link = integers(kept, shape.span_link)
        self.span_node = integers(kept, shape.span_node)
        self.home = integers(kept, shape.home)
        self.pipe_sign = numbers(kept, shape.pipe_sign)
        edge = shape.pipe_edge
        diameter, area = graph.diameter_m[edge], pi / 4.0 * graph.diameter_m[edge] ** 2
        self.reynolds_area = numbers(kept, diameter / area)
        self.friction_area = numbers(kept, graph.length_m[edge] / diameter / (2.0 * area**2))
        self.first_flow = numbers(kept, FIRST_SPEED_M_S * 1000.0 * area)
        self.local_area = numbers(kept, graph.loss_coefficient[edge] / (2.0 * area**2))
        fall = graph.elevation_m[graph.start] - graph.elevation_m[graph.end]
        self.gravity = numbers(kept, GRAVITY * fall[edge] * shape.pipe_sign)

        self.wall = <Wall*>room_for(kept, self.pipes * sizeof(Wall))
        for i in range(self.pipes):
            make_wall(number, graph.roughness_m[edge[i]] / diameter[i], &self.wall[i])
        place = {node: i for i, node in enumerate(shape.core_node.tolist())}
        self.criticals = 0
        self.element = <Element*>room_for(kept, self.elements * sizeof(Element))
        for i, e in enumerate(shape.element_edge.tolist()):
            self.fill_element(i, graph, e, fall[e], place)
        self.link_lists(shape)

    def fill_element(self, Py_ssize_t i, graph, Py_ssize_t e, double fall_m, place):
        cdef Element* element = &self.element[i]
        cdef double diameter = graph.diameter_m[e], area = pi / 4.0 * diameter * diameter
        element.kind = graph.kind[e]
        element.edge = e
        element.per_density = graph.loss_coefficient[e] / (2.0 * area * area) if diameter > 0.0 else 0.0
        element.resistance_pa_s2_kg2 = graph.resistance_pa_s2_kg2[e]
        element.shutoff_pa_m3_kg = GRAVITY * graph.shutoff_head_m[e]
        element.curve_m_s2 = GRAVITY * graph.curve_m_s2_kg2[e] / graph.parallel[e] ** 2
        element.gravity_m2_s2 = GRAVITY * fall_m
        element.critical = -1
        if element.kind == PUMP_CRITICAL:
            element.critical = self.criticals
            element.critical_start = place[graph.critical_start[e]]
            element.critical_end = place[graph.critical_end[e]]
            self.criticals += 1

    def link_lists(self, shape):
        """Links beside each core node, and the parts that reach no fixed pressure even with everything open."""
        beside = [[] for _ in range(self.cores)]
        for link, (a, b) in enumerate(zip(shape.link_a.tolist(), shape.link_b.tolist(), strict=True)):
            beside[a].append(link)
            beside[b].append(link)
        self.beside = integers(self.kept, np.cumsum([0, *map(len, beside)]))
        self.beside_link = integers(self.kept, [link for some in beside for link in some])
        reached = set(range(self.unknowns, self.cores))
        frontier = list(reached)
        while frontier:
            node = frontier.pop()
            for link in beside[node]:
                other = int(shape.link_a[link] + shape.link_b[link]) - node
                if other not in reached:
                    reached.add(other)
                    frontier.append(other)
        self.lost = self.cores - len(reached)

    cdef Work work(self, list kept) except *:
        cdef Work work
        pipes, links, cores = self.pipes, self.links, self.cores
        work.temp = numbers(kept, np.full(pipes, np.nan))
        work.reynolds = zeros(kept, pipes)
        work.friction = zeros(kept, pipes)
        work.local = zeros(kept, pipes)
        work.weight = zeros(kept, pipes)
        work.flow = zeros(kept, pipes)
        work.drop = zeros(kept, pipes)
        work.slope = zeros(kept, pipes)
        work.offset = zeros(kept, pipes)
        work.link_flow = zeros(kept, links)
        work.link_new = zeros(kept, links)
        work.head = zeros(kept, links)
        work.conductance = zeros(kept, links)
        work.density = zeros(kept, self.elements)
        work.branch = <Py_ssize_t*>zeros(kept, self.elements)
        work.order = <Py_ssize_t*>zeros(kept, cores)
        work.via = <Py_ssize_t*>zeros(kept, cores)
        work.shut = <unsigned char*>zeros(kept, self.elements)
        work.lost = <unsigned char*>zeros(kept, cores)
        work.excess = zeros(kept, cores)
        work.inverse = zeros(kept, cores)
        work.right = zeros(kept, cores)
        work.pressure = zeros(kept, cores)
        work.demand = zeros(kept, cores)
        work.scratch = zeros(kept, cores)
        work.way = zeros(kept, cores)
        work.begin = zeros(kept, cores)
        work.response = zeros(kept, cores * self.criticals)
        work.weights = zeros(kept, self.entries)
        work.lower = zeros(kept, self.entries)
        work.rise = zeros(kept, self.criticals)
        return work

    cdef void take_water(self, Work* work, const double* temp_k) noexcept nogil:
        """Properties of the water in every pipe; those of a temperature met last time are still there."""
        cdef Py_ssize_t i
        cdef double temp, density
        for i in range(self.pipes):
            temp = temp_k[self.pipe_edge[i]]
            if temp != work.temp[i]:
                density = looked_up(DENSITY, temp)
                work.temp[i] = temp
                work.reynolds[i] = self.reynolds_area[i] / looked_up(VISCOSITY, temp)
                work.friction[i] = self.friction_area[i] / density
                work.local[i] = self.local_area[i] / density
                work.weight[i] = self.gravity[i] * density
        for i in range(self.elements):
            work.density[i] = looked_up(DENSITY, temp_k[self.element[i].edge])

    cdef Py_ssize_t shut_elements(self, Work* work, const double* setting) noexcept nogil:
        """Mark what is shut by command; returns how many are."""
        cdef Py_ssize_t i, count = 0
        cdef int kind
        for i in range(self.elements):
            kind = self.element[i].kind
            work.shut[i] = (kind == VALVE or kind == PUMP_SPEED) and not setting[self.element[i].edge] > 0.0
            count += work.shut[i]
        return count

    cdef Py_ssize_t find_lost(self, Work* work, Py_ssize_t* frontier) noexcept nogil:
        """Mark core nodes from which no fixed pressure can be reached; returns how many."""
        cdef Py_ssize_t i, k, node, other, link, found = 0
        for i in range(self.cores):
            work.lost[i] = i < self.unknowns
        for i in range(self.unknowns, self.cores):
            frontier[found] = i
            found += 1
        i = 0
        while i < found:
            node = frontier[i]
            i += 1
            for k in range(self.beside[node], self.beside[node + 1]):
                link = self.beside_link[k]
                if link >= self.chains and work.shut[link - self.chains]:
                    continue
                other = self.link_a[link] + self.link_b[link] - node
                if work.lost[other]:
                    work.lost[other] = 0
                    frontier[found] = other
                    found += 1
        return self.cores - found

    cdef void gather_demands(self, Work* work, double* outflow) noexcept nogil:
        """From demands per node: flows of dead ends, offsets within chains, demands at the core."""
        cdef Py_ssize_t i, c
        cdef double taken
        for i in range(self.forest - 1, -1, -1):
            work.flow[i] = outflow[self.tree_node[i]]
            outflow[self.tree_parent[i]] += work.flow[i]
        for i in range(self.unknowns):
            work.demand[i] = outflow[self.core_node[i]]
        for c in range(self.chains):
            taken = 0.0
            for i in range(self.chain_start[c], self.chain_start[c + 1]):
                work.offset[i] = -taken
                if i + 1 < self.chain_start[c + 1]:
                    taken += outflow[self.pipe_head[i]]
            work.demand[self.link_b[c]] += taken  # of a fixed node nobody asks

    cdef inline bint idle(self, Py_ssize_t link, const Work* work) noexcept nogil:
        """Whether nothing can flow in this link."""
        if link >= self.chains and work.shut[link - self.chains]:
            return True
        return work.lost[self.link_a[link]] or work.lost[self.link_b[link]]

    cdef void heads(self, int law, Work* work, const double* setting, bint fresh, bint cold) noexcept nogil:
        """Pressure drops less gravity of all links at link_flow; with `fresh` their conductances too."""
        cdef Py_ssize_t c, i, first = self.forest
        cdef const Element* element
        cdef double head, slope, drop, speed
        for c in range(self.chains):
            for i in range(self.chain_start[c], self.chain_start[c + 1]):
                work.flow[i] = work.link_flow[c] + work.offset[i]
                if cold:
                    work.flow[i] = self.first_flow[i]
        pressure_drops(
            law, self.pipes - first, &self.wall[first], &work.reynolds[first], &work.friction[first],
            &work.local[first], &work.flow[first], &work.drop[first], &work.slope[first]
        )
        for c in range(self.chains):
            head = 0.0
            slope = 0.0
            for i in range(self.chain_start[c], self.chain_start[c + 1]):
                if cold:
                    drop = work.drop[i] / work.flow[i]
                    work.slope[i] = drop
                    work.flow[i] = work.link_flow[c] + work.offset[i]
                    work.drop[i] = drop * work.flow[i]
                head += work.drop[i] - work.weight[i]
                if fresh:
                    slope += work.slope[i]
            work.head[c] = head
            if fresh:
                work.conductance[c] = 0.0 if self.idle(c, work) else 1.0 / slope
        for i in range(self.elements):
            c = self.chains + i
            if self.idle(c, work):
                work.head[c] = 0.0
                work.conductance[c] = 0.0
                continue
            element = &self.element[i]
            work.branch[i] = element_law(
                element, setting[element.edge], self.rise_of(work, element, setting), work.density[i],
                work.link_flow[c], &drop, &slope,
            )
            if cold and (element.kind == VALVE or element.kind == FREE or element.kind == FLOW):
                slope = sqrt(FIRST_DROP_PA * resistance_of(element, setting[element.edge], work.density[i]))
            work.head[c] = drop - element.gravity_m2_s2 * work.density[i]
            if fresh:
                work.conductance[c] = 1.0 / slope

    cdef double rise_of(self, const Work* work, const Element* element, const double* setting) noexcept nogil:
        return work.rise[element.critical] if element.critical >= 0 else setting[element.edge]

    cdef void factorise(self, Work* work) noexcept nogil:
        """L D L^T of the conductances between unknown pressures.

        Kept are the links between nodes and the excess of each row (what leads to fixed pressures), never the diagonal:
        then nothing is subtracted, and every entry is exact to rounding however far apart the conductances are.
        """
        cdef Py_ssize_t i, k, p, t, a, b, end
        cdef double given, factor, total
        memset(work.weights, 0, self.entries * sizeof(double))
        memset(work.excess, 0, self.unknowns * sizeof(double))
        for i in range(self.links):
            a = self.link_a[i]
            b = self.link_b[i]
            if self.link_entry[i] >= 0:
                work.weights[self.link_entry[i]] += work.conductance[i]
            elif a != b:
                if a < self.unknowns:
                    work.excess[a] += work.conductance[i]
                elif b < self.unknowns:
                    work.excess[b] += work.conductance[i]
        for k in range(self.unknowns):
            end = self.column[k + 1]
            for p in range(self.column[k], end):
                work.scratch[self.row[p]] = work.weights[p]
            total = work.excess[k]
            t = self.cross[k]
            while t < self.cross[k + 1]:
                if self.alike[t] == 4:  # columns of the same rows, four at a time: half the work is finding the rows
                    total += self.take_four(work, t)
                    t += 4
                    continue
                p = self.cross_entry[t]
                factor = work.lower[p]
                total += factor * work.excess[self.cross_column[t]]
                for i in range(p + 1, self.column[self.cross_column[t] + 1]):
                    work.scratch[self.row[i]] += factor * work.weights[i]
                t += 1
            work.excess[k] = total
            for p in range(self.column[k], end):
                work.weights[p] = work.scratch[self.row[p]]
                total += work.weights[p]
            # Nothing leads from here to a fixed pressure: a part without supply, whose pressure is left at zero.
            work.inverse[k] = 1.0 / total if total > 0.0 else 0.0
            for p in range(self.column[k], end):
                work.lower[p] = work.weights[p] * work.inverse[k]

    cdef double take_four(self, Work* work, Py_ssize_t t) noexcept nogil:
        """What the columns of cross t to t + 3 bring to a row, whose excess is returned."""
        cdef Py_ssize_t i, c = self.cross_column[t], p = self.cross_entry[t] + 1
        cdef Py_ssize_t count = self.column[c + 1] - p
        cdef const Py_ssize_t* row = &self.row[p]
        cdef const double* a = &work.weights[p]
        cdef const double* b = &work.weights[self.cross_entry[t + 1] + 1]
        cdef const double* d = &work.weights[self.cross_entry[t + 2] + 1]
        cdef const double* e = &work.weights[self.cross_entry[t + 3] + 1]
        cdef double fa = work.lower[p - 1], fb = work.lower[self.cross_entry[t + 1]]
        cdef double fd = work.lower[self.cross_entry[t + 2]], fe = work.lower[self.cross_entry[t + 3]]
        cdef double* scratch = work.scratch
        for i in range(count):
            scratch[row[i]] += (fa * a[i] + fb * b[i]) + (fd * d[i] + fe * e[i])
        return (fa * work.excess[c] + fb * work.excess[c + 1]) + (fd * work.excess[c + 2] + fe * work.excess[c + 3])

    cdef void solve(self, const Work* work, double* right) noexcept nogil:
        cdef Py_ssize_t k, p
        cdef double value
        for k in range(self.unknowns):
            value = right[k]
            for p in range(self.column[k], self.column[k + 1]):
                right[self.row[p]] += work.lower[p] * value
            right[k] = value * work.inverse[k]
        for k in range(self.unknowns - 1, -1, -1):
            value = right[k]
            for p in range(self.column[k], self.column[k + 1]):
                value += work.lower[p] * right[self.row[p]]
            right[k] = value

    cdef void respond(self, Work* work) noexcept nogil:
        """How all pressures move with the rise of each critical pump."""
        cdef Py_ssize_t i, k
        cdef double* response
        for i in range(self.elements):
            if self.element[i].critical < 0:
                continue
            response = &work.response[self.element[i].critical * self.cores]
            memset(response, 0, self.cores * sizeof(double))
            k = self.chains + i
            if self.link_a[k] < self.unknowns:
                response[self.link_a[k]] -= work.conductance[k]
            if self.link_b[k] < self.unknowns:
                response[self.link_b[k]] += work.conductance[k]
            self.solve(work, response)

    cdef void pressures(self, Work* work) noexcept nogil:
        """Move the pressures to where the linearised links balance the demands; link_new: their flows there.

        Flows follow from how far the pressures move (`right`), which is exact to its own rounding: that of a pressure
        of 1e8 Pa would be 1e-6 kg/s through a wide pipe.
        """
        cdef Py_ssize_t i
        cdef double flow
        memset(work.right, 0, self.cores * sizeof(double))
        for i in range(self.links):
            flow = work.link_flow[i] + work.conductance[i] * (
                work.pressure[self.link_a[i]] - work.pressure[self.link_b[i]] - work.head[i]
            )
            work.link_new[i] = flow
            work.right[self.link_a[i]] -= flow
            work.right[self.link_b[i]] += flow
        for i in range(self.unknowns):
            work.right[i] -= work.demand[i]
        memset(&work.right[self.unknowns], 0, (self.cores - self.unknowns) * sizeof(double))
        self.solve(work, work.right)
        for i in range(self.unknowns):
            work.pressure[i] += work.right[i]

    cdef void hold_critical(self, Work* work, const double* setting) noexcept nogil:
        """Move the rises of critical pumps so that each pair has its pressure difference (one sweep after another)."""
        cdef Py_ssize_t i, k, sweep
        cdef const Element* element
        cdef const double* response
        cdef double slope, missing, rise, change
        for sweep in range(1 if self.criticals == 1 else 20):
            for i in range(self.elements):
                element = &self.element[i]
                if element.critical < 0 or self.idle(self.chains + i, work):
                    continue
                response = &work.response[element.critical * self.cores]
                slope = response[element.critical_start] - response[element.critical_end]
                missing = setting[element.edge]
                missing -= work.pressure[element.critical_start] - work.pressure[element.critical_end]
                rise = work.rise[element.critical]
                if slope > LEAST_HOLD:
                    rise += missing / slope
                elif work.branch[i] == 1 and missing > 0.0:
                    # The pump is shut: it begins to act where it overcomes what holds it shut.
                    k = self.chains + i
                    missing = work.pressure[self.link_b[k]] - work.pressure[self.link_a[k]]
                    missing -= element.gravity_m2_s2 * work.density[i]
                    rise = missing if missing > rise else rise
                rise = 0.0 if rise < 0.0 else MOST_RISE_PA if rise > MOST_RISE_PA else rise
                change = rise - work.rise[element.critical]
                work.head[self.chains + i] -= change
                work.link_new[self.chains + i] += work.conductance[self.chains + i] * change
                for k in range(self.unknowns):
                    work.right[k] += change * response[k]
                    work.pressure[k] += change * response[k]
                work.rise[element.critical] = rise

    cdef bint span_is_open(self, const Work* work) noexcept nogil:
        """Whether no element of the spanning forest is shut."""
        cdef Py_ssize_t i
        for i in range(self.spans):
            if work.conductance[self.span_link[i]] <= SHUT_KG_S_PA:
                return False
        return True

    cdef Py_ssize_t span(self, Work* work) noexcept nogil:
        """Fill order and via with a spanning forest from the fixed nodes, through what is shut only where nothing else
        leads; returns how many nodes it has."""
        cdef Py_ssize_t i, k, node, other, link, found = 0, through
        for i in range(self.cores):
            work.via[i] = -1 if i < self.unknowns else self.links
        for i in range(self.unknowns, self.cores):
            work.order[found] = i
            found += 1
        i = 0
        while True:
            while i < found:
                node = work.order[i]
                i += 1
                for k in range(self.beside[node], self.beside[node + 1]):
                    link = self.beside_link[k]
                    other = self.link_a[link] + self.link_b[link] - node
                    if work.via[other] < 0 and work.conductance[link] > SHUT_KG_S_PA:
                        work.via[other] = link
                        work.order[found] = other
                        found += 1
            through = found
            for link in range(self.chains, self.links):
                if self.idle(link, work) or (work.via[self.link_a[link]] < 0) == (work.via[self.link_b[link]] < 0):
                    continue
                other = self.link_a[link] if work.via[self.link_a[link]] < 0 else self.link_b[link]
                work.via[other] = link
                work.order[found] = other
                found += 1
                break
            if found == through:
                return found

    cdef void balance(self, Work* work) noexcept nogil:
        """Make the flows of a spanning forest carry exactly what the demands and the other links leave to them."""
        cdef Py_ssize_t i, found
        memset(work.right, 0, self.cores * sizeof(double))
        for i in range(self.links):
            work.right[self.link_a[i]] += work.link_flow[i]
            work.right[self.link_b[i]] -= work.link_flow[i]
        for i in range(self.unknowns):
            work.right[i] += work.demand[i]
        if self.span_is_open(work):
            for i in range(self.spans):
                self.pass_on(work, self.span_node[i], self.span_link[i])
        else:
            found = self.span(work)
            for i in range(found - 1, self.cores - self.unknowns - 1, -1):
                self.pass_on(work, work.order[i], work.via[work.order[i]])

    cdef inline void pass_on(self, Work* work, Py_ssize_t node, Py_ssize_t link) noexcept nogil:
        """Balance a node by the link that leads to it."""
        cdef double missing = work.right[node]
        if self.link_b[link] == node:
            work.link_flow[link] += missing
            node = self.link_a[link]
        else:
            work.link_flow[link] -= missing
            node = self.link_b[link]
        work.right[node] += missing

    cdef double move(self, const Work* work, const double* setting, double tolerance, double rounding,
                     bint* turned, Py_ssize_t* worst) noexcept nogil:
        """Finish link_new; returns the change of all flows over their sum, and where it is largest.

        `rounding`: part of the pressures; changes of flow within it count as none.
        `turned`: whether an element came to another branch of its law by more than the tolerance.
        """
        cdef Py_ssize_t i, k
        cdef const Element* element
        cdef double change, drive, drop = 0.0, slope = 0.0, total = 0.0, changes = 0.0, largest = -1.0
        for i in range(self.links):
            work.link_new[i] += work.conductance[i] * (work.right[self.link_a[i]] - work.right[self.link_b[i]])
            if work.conductance[i] == 0.0:
                work.link_new[i] = 0.0
            change = fabs(work.link_new[i] - work.link_flow[i])
            if rounding > 0.0:
                change -= rounding * work.conductance[i] * (
                    fabs(work.pressure[self.link_a[i]]) + fabs(work.pressure[self.link_b[i]]) + fabs(work.head[i])
                )
                change = 0.0 if change < 0.0 else change
            changes += change
            total += fabs(work.link_new[i])
            if not change <= largest:
                largest = change
                worst[0] = i
        turned[0] = False
        for i in range(self.elements):
            k = self.chains + i
            element = &self.element[i]
            if branch_of(element, setting[element.edge], work.link_new[k]) == work.branch[i] or self.idle(k, work):
                continue
            if fabs(work.link_new[k] - work.link_flow[k]) > LEAST_FLOW_KG_S + 1e-3 * tolerance * total:
                turned[0] = True
            # Where steps do not settle, rounding may turn what is shut to and fro.
            if turned[0] or rounding > 0.0:
                continue
            # Where what is shut begins to open, no flow at all may be a difference of pressure.
            element_law(
                element, setting[element.edge], self.rise_of(work, element, setting), work.density[i],
                work.link_new[k], &drop, &slope,
            )
            drive = work.pressure[self.link_a[k]] - work.pressure[self.link_b[k]]
            drop -= element.gravity_m2_s2 * work.density[i] + drive
            if fabs(drop) > LEAST_MISMATCH_PA + 1e3 * tolerance * fabs(drive):
                turned[0] = True
        # So little in every link is nothing: water at rest counts as settled.
        return changes / (total + 0.1 * LEAST_FLOW_KG_S * self.links / tolerance)

    cdef double head_at(self, int law, Work* work, const double* setting, Py_ssize_t link, double flow_kg_s,
                        double* slope) noexcept nogil:
        """Pressure drop less gravity of one link."""
        cdef Py_ssize_t i, first, count
        cdef const Element* element
        cdef double head = 0.0
        if link >= self.chains:
            i = link - self.chains
            element = &self.element[i]
            work.branch[i] = element_law(
                element, setting[element.edge], self.rise_of(work, element, setting), work.density[i], flow_kg_s,
                &head, slope,
            )
            return head - element.gravity_m2_s2 * work.density[i]
        first = self.chain_start[link]
        count = self.chain_start[link + 1] - first
        for i in range(first, first + count):
            work.flow[i] = flow_kg_s + work.offset[i]
        pressure_drops(
            law, count, &self.wall[first], &work.reynolds[first], &work.friction[first], &work.local[first],
            &work.flow[first], &work.drop[first], &work.slope[first]
        )
        slope[0] = 0.0
        for i in range(first, first + count):
            head += work.drop[i] - work.weight[i]
            slope[0] += work.slope[i]
        return head

    cdef void flows_at_pressures(self, int law, Work* work, const double* setting) noexcept nogil:
        """Fill link_flow with what the pressures drive through each link, and conductance with its slope."""
        cdef Py_ssize_t link, tries
        cdef double drive, flow, following, low, high, slope = 1.0, missing
        for link in range(self.links):
            if self.idle(link, work):
                work.link_flow[link] = 0.0
                work.conductance[link] = 0.0
                continue
            drive = work.pressure[self.link_a[link]] - work.pressure[self.link_b[link]]
            flow = work.link_flow[link]
            low, high = -MOST_FLOW_KG_S, MOST_FLOW_KG_S
            if not low < flow < high:
                flow = 0.0
            for tries in range(200):
                missing = drive - self.head_at(law, work, setting, link, flow, &slope)
                if missing > 0.0:
                    low = flow
                else:
                    high = flow
                following = flow + missing / slope
                if not low < following < high:
                    following = 0.5 * (low + high)
                if fabs(following - flow) <= 1e-14 * fabs(flow) + 1e-16:
                    break
                flow = following
            work.link_flow[link] = flow
            work.conductance[link] = 1.0 / slope

    cdef double imbalance(self, Work* work, double* moved) noexcept nogil:
        """Fill `right` with what nodes lack (in - out - demand); returns its sum, `moved` is the sum of all flows."""
        cdef Py_ssize_t i
        cdef double total = 0.0
        moved[0] = 0.0
        for i in range(self.cores):
            work.right[i] = -work.demand[i]
        for i in range(self.links):
            work.right[self.link_a[i]] -= work.link_flow[i]
            work.right[self.link_b[i]] += work.link_flow[i]
            moved[0] += fabs(work.link_flow[i])
        for i in range(self.unknowns):
            if work.lost[i]:
                work.right[i] = 0.0
            total += fabs(work.right[i])
        return total

    cdef void descend(self, int law, Work* work, const double* setting, double tolerance,
                      Py_ssize_t* iterations) noexcept nogil:
        """Pressures by damped Newton steps on the convex function whose gradient is the imbalance of the nodes.

        Slower than steps in the flows, but every step gains, so that it cannot run in circles.
        """
        cdef Py_ssize_t i, k, tries
        cdef double moved = 0.0, before, after, part, low, high, lacking
        for i in range(self.unknowns):
            work.pressure[i] = work.pressure[self.unknowns] if self.cores > self.unknowns else 0.0
        self.flows_at_pressures(law, work, setting)
        for i in range(MOST_DESCENTS):
            lacking = self.imbalance(work, &moved)
            if lacking <= tolerance * moved + 1e-10 * self.links:
                return
            iterations[0] += 1
            self.factorise(work)
            before = 0.0
            for k in range(self.unknowns):
                work.scratch[k] = work.right[k]
            self.solve(work, work.right)
            for k in range(self.unknowns):
                before += work.scratch[k] * work.right[k]
                work.way[k] = work.right[k]
                work.begin[k] = work.pressure[k]
            low, high, part = 0.0, 1.0, 1.0
            for tries in range(40):
                for k in range(self.unknowns):
                    work.pressure[k] = work.begin[k] + part * work.way[k]
                self.flows_at_pressures(law, work, setting)
                self.imbalance(work, &moved)
                after = 0.0
                for k in range(self.unknowns):
                    after += work.right[k] * work.way[k]
                # `after` falls with the part of the way that is gone, and is zero at the lowest point on it.
                if fabs(after) <= 0.5 * before or (after > 0.0 and part == 1.0):
                    break
                if after < 0.0:
                    high = part
                else:
                    low = part
                part = 0.5 * (low + high)
            if tries == 39:
                return  # as far down as rounding lets see

    cdef double part_of_step(self, int law, Work* work, const double* setting) noexcept nogil:
        """How far to go from link_flow to link_new: 1, or less where the way begins to rise again.

        Between flows that balance, Newton steps go down on a convex function (the content of the links); its slope
        along the way is worked out here.
        """
        cdef Py_ssize_t i, tries
        cdef double change, slope, unused = 0.0, before = 0.0, low = 0.0, high = 1.0, part = 1.0
        for i in range(self.links):
            if work.conductance[i] > 0.0:
                change = work.link_new[i] - work.link_flow[i]
                before += change * change / work.conductance[i]
        for tries in range(40):
            slope = 0.0
            for i in range(self.links):
                change = work.link_new[i] - work.link_flow[i]
                if change != 0.0:
                    slope += change * (
                        self.head_at(law, work, setting, i, work.link_flow[i] + part * change, &unused)
                        - work.pressure[self.link_a[i]] + work.pressure[self.link_b[i]]
                    )
            if fabs(slope) <= 0.5 * before or (slope < 0.0 and part == 1.0):
                break
            if slope > 0.0:
                high = part
            else:
                low = part
            part = 0.5 * (low + high)
        return part

    cdef void accept(self, Work* work, double part) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.links):
            if part == 1.0:
                work.link_flow[i] = work.link_new[i]
            else:
                work.link_flow[i] += part * (work.link_new[i] - work.link_flow[i])

    cdef Py_ssize_t worst_leak(self, const Work* work, const double* setting) noexcept nogil:
        """The element that would have to pass most of what it cannot, -1: none."""
        cdef Py_ssize_t i, worst = -1
        cdef double flow, held, beyond, most = MOST_LEAK_KG_S
        for i in range(self.elements):
            if work.shut[i] or not one_way(self.element[i].kind):
                continue
            flow = work.link_flow[self.chains + i]
            held = setting[self.element[i].edge]
            beyond = -flow
            if self.element[i].kind == FLOW and flow > 0.0:
                beyond = flow - (held if held > 0.0 else 0.0)
            if beyond > most:
                most = beyond
                worst = i
        return worst

    cdef void report(self, int law, Work* work, const Given* given, Found* found) noexcept nogil:
        """From the core to all flows and pressures."""
        cdef Py_ssize_t i, c, node
        cdef double pressure, change, slope
        for c in range(self.chains):
            # The drop was worked out before the last move, and the flow hardly changed since. What is left between the
            # pressures at both ends is shared by slope: a wide pipe must not take up the rounding of a narrow one.
            pressure = work.pressure[self.link_a[c]]
            change = pressure - work.pressure[self.link_b[c]]
            slope = 0.0
            for i in range(self.chain_start[c], self.chain_start[c + 1]):
                change += work.weight[i] - work.drop[i]
                slope += work.slope[i]
            change /= slope
            for i in range(self.chain_start[c], self.chain_start[c + 1]):
                pressure += work.weight[i] - work.drop[i] - work.slope[i] * change
                work.flow[i] = work.link_flow[c] + work.offset[i]
                if i + 1 < self.chain_start[c + 1]:
                    found.pressure_pa[self.pipe_head[i]] = pressure
        for i in range(self.cores):
            found.pressure_pa[self.core_node[i]] = work.pressure[i]
        pressure_drops(
            law, self.forest, self.wall, work.reynolds, work.friction, work.local, work.flow,
            work.drop, work.slope
        )
        for i in range(self.forest):
            found.pressure_pa[self.tree_node[i]] = (
                found.pressure_pa[self.tree_parent[i]] + work.weight[i] - work.drop[i]
            )
        for i in range(self.pipes):
            found.flow_kg_s[self.pipe_edge[i]] = self.pipe_sign[i] * work.flow[i]
        for i in range(self.elements):
            found.flow_kg_s[self.element[i].edge] = work.link_flow[self.chains + i]


cdef Py_ssize_t branch_of(const Element* element, double setting, double flow_kg_s) noexcept nogil:
    if one_way(element.kind) and flow_kg_s < 0.0:
        return 1
    if element.kind == FLOW and flow_kg_s > setting:
        return 2
    return 0


@cython.final
cdef class Room:
    def __init__(self, HydraulicPlan plan):
        self.kept = []
        self.held = plan.held.work(self.kept)
        self.whole = self.held if plan.whole is plan.held else plan.whole.work(self.kept)
        self.outflow = zeros(self.kept, plan.nodes)
        self.frontier = integers(self.kept, np.zeros(plan.nodes))


@cython.final
cdef class HydraulicPlan:
    def __init__(self, graph, friction="colebrook"):
        """Compile `graph` (a HydraulicGraph) with a law of friction (FrictionLaw).

        Raises:
            InvalidInput: an unknown law of friction, or too many pumps that hold critical pairs.
        """
        if friction not in LAWS:
            raise InvalidInput(f"friction law {friction!r}; there are {', '.join(LAWS)}")
        kind = graph.kind
        if np.count_nonzero(kind == PUMP_CRITICAL) > MOST_CRITICAL_PUMPS:
            raise InvalidInput(
                f"network {graph.name}: {np.count_nonzero(kind == PUMP_CRITICAL)} pumps hold critical pairs; "
                f"at most {MOST_CRITICAL_PUMPS} can"
            )
        self.graph = graph
        self.law = LAWS.index(friction)
        self.nodes, self.edges = len(graph.nodes), len(graph.edges)
        self.kept = []
        holds = np.flatnonzero(kind == FLOW)
        pumped = np.flatnonzero(kind == PUMPED)
        self.pumped, self.holding = len(pumped), len(holds)
        self.given_edge = integers(self.kept, np.concatenate([pumped, holds]))
        free = kind != PUMPED
        self.whole = Parts(graph, take_apart(graph, free.tolist()), friction)
        self.held = self.whole
        if len(holds):
            self.held = Parts(graph, take_apart(graph, (free & (kind != FLOW)).tolist()), friction)
        self.criticals = self.whole.criticals
        self.memory_width = 1 + self.criticals
        self.start = integers(self.kept, graph.start)
        self.end = integers(self.kept, graph.end)
        area = np.pi / 4.0 * graph.diameter_m**2
        with np.errstate(divide="ignore", invalid="ignore"):
            per_density = np.where(area > 0.0, graph.loss_coefficient / (2.0 * area**2), 0.0)
        self.per_density = numbers(self.kept, per_density)
        self.resistance = numbers(self.kept, graph.resistance_pa_s2_kg2)
        self.elevation = numbers(self.kept, graph.elevation_m)

    cdef int solve_member(self, Room room, const Given* given, Found* found) noexcept nogil:
        """Solve one member in place; returns SOLVED, or NOT_CONVERGED with the culprit in `found`."""
        cdef int code
        cdef Py_ssize_t i
        found.iterations = 0
        found.culprit = -1
        if self.holding and found.memory[0] == 0.0 and self.held.lost <= self.whole.lost:
            code = self.solve_parts(self.held, &room.held, room, given, found, self.pumped + self.holding)
            if code == SOLVED and self.flows_can_be_held(given, found):
                return code
        code = self.solve_parts(self.whole, &room.whole, room, given, found, self.pumped)
        if self.holding:
            found.memory[0] = 0.0 if code == SOLVED and self.flows_can_be_held(given, found) else 1.0
        return code

    cdef bint flows_can_be_held(self, const Given* given, const Found* found) noexcept nogil:
        """Whether every FLOW edge passes what it holds and has the pressure for it."""
        cdef Py_ssize_t i, edge
        cdef double drop, density, flow, resistance, unused = 0.0
        for i in range(self.pumped, self.pumped + self.holding):
            edge = self.given_edge[i]
            flow = given.setting[edge]
            if not flow > 0.0:
                continue
            if found.unsupplied[self.start[edge]] or found.unsupplied[self.end[edge]]:
                return False
            density = looked_up(DENSITY, given.temp_k[edge])
            resistance = self.per_density[edge] / density + self.resistance[edge]
            drop = found.pressure_pa[self.start[edge]] - found.pressure_pa[self.end[edge]]
            drop += GRAVITY * density * (self.elevation[self.start[edge]] - self.elevation[self.end[edge]])
            if drop < quadratic(resistance if resistance > LEAST_RESISTANCE else LEAST_RESISTANCE, flow, &unused):
                return False
        return True

    cdef int solve_parts(
        self, Parts parts, Work* work, Room room, const Given* given, Found* found, Py_ssize_t passing
    ) noexcept nogil:
        """Solve with the first `passing` of the given edges passing what they are set to."""
        cdef Py_ssize_t i, lost, edge, shut, first, leak
        cdef int code = SOLVED
        parts.take_water(work, given.temp_k)
        shut = parts.shut_elements(work, given.setting)
        for i in range(parts.criticals):
            work.rise[i] = found.memory[1 + i]
        memset(work.pressure, 0, parts.unknowns * sizeof(double))
        for i in range(parts.unknowns, parts.cores):
            work.pressure[i] = given.fixed_pressure_pa[parts.core_node[i]]
        for i in range(parts.chains):
            first = parts.chain_start[i]
            work.link_flow[i] = parts.pipe_sign[first] * found.flow_kg_s[parts.pipe_edge[first]]
        for i in range(parts.elements):
            work.link_flow[parts.chains + i] = found.flow_kg_s[parts.element[i].edge]
        while True:
            lost = 0
            if shut or parts.lost:
                lost = parts.find_lost(work, room.frontier)
            else:
                memset(work.lost, 0, parts.cores)
            self.take_demands(parts, work, room, given, found, passing, lost)
            if parts.links:
                code = self.flows_and_pressures(parts, work, given, found)
                # What leaks cannot be supplied through it: without it, it has another way or none.
                leak = parts.worst_leak(work, given.setting)
                if leak >= 0:
                    work.shut[leak] = 1
                    shut += 1
                    continue
                if code != SOLVED:
                    return code
            break
        parts.balance(work)
        parts.report(self.law, work, given, found)
        for i in range(passing):
            edge = self.given_edge[i]
            found.flow_kg_s[edge] = given.setting[edge]
            if i >= self.pumped and not given.setting[edge] > 0.0:
                found.flow_kg_s[edge] = 0.0
        for i in range(parts.criticals):
            found.memory[1 + i] = work.rise[i]
        memset(found.unsupplied, 0, self.nodes)
        if lost > 0:
            for i in range(self.nodes):
                if work.lost[parts.home[i]]:
                    found.unsupplied[i] = 1
                    found.pressure_pa[i] = 0.0
            for i in range(passing):
                edge = self.given_edge[i]
                if found.unsupplied[self.start[edge]] or found.unsupplied[self.end[edge]]:
                    found.flow_kg_s[edge] = 0.0
        return SOLVED

    cdef void take_demands(
        self, Parts parts, Work* work, Room room, const Given* given, Found* found, Py_ssize_t passing, Py_ssize_t lost
    ) noexcept nogil:
        cdef Py_ssize_t i, edge, start, end
        cdef double flow
        memcpy(room.outflow, given.demand_kg_s, self.nodes * sizeof(double))
        if lost > 0:
            for i in range(self.nodes):
                if work.lost[parts.home[i]]:
                    room.outflow[i] = 0.0
        for i in range(passing):
            edge = self.given_edge[i]
            flow = given.setting[edge]
            start = self.start[edge]
            end = self.end[edge]
            if i >= self.pumped and not flow > 0.0:
                continue
            if lost > 0 and (work.lost[parts.home[start]] or work.lost[parts.home[end]]):
                continue
            room.outflow[start] += flow
            room.outflow[end] -= flow
        parts.gather_demands(work, room.outflow)

    cdef int flows_and_pressures(self, Parts parts, Work* work, const Given* given, Found* found) noexcept nogil:
        """Flows of links and pressures of core nodes, from the last flows or, where these mislead, from rest."""
        cdef Py_ssize_t i
        cdef int code
        cdef double moving = 0.0
        for i in range(parts.links):
            if parts.idle(i, work):
                work.link_flow[i] = 0.0
            moving += fabs(work.link_flow[i])
        code = self.settle(parts, work, given, found, moving == 0.0)
        if code == SOLVED or moving == 0.0 or parts.worst_leak(work, given.setting) >= 0:
            return code
        memset(work.link_flow, 0, parts.links * sizeof(double))
        memset(work.rise, 0, parts.criticals * sizeof(double))
        return self.settle(parts, work, given, found, True)

    cdef int settle(
        self, Parts parts, Work* work, const Given* given, Found* found, bint cold
    ) noexcept nogil:
        """By Newton steps, and where these run in circles by descent."""
        cdef Py_ssize_t i, worst = 0
        cdef double closeness = 1e-2
        if self.newton(parts, work, given, found, cold, FREE_STEPS, True, &worst):
            return SOLVED
        for i in range(MOST_ROUNDS):
            if parts.worst_leak(work, given.setting) >= 0:
                return NOT_CONVERGED  # and has no solution: what leaks will be shut
            # Pressures alone say little about flows where the resistance is small: Newton has the last word.
            self.descend(parts, work, given, found, closeness)
            # A pair that cannot be held is left with the pump as it is.
            if self.newton(parts, work, given, found, False, 1, i + 1 < MOST_ROUNDS, &worst):
                return SOLVED
            closeness *= 1e-2
        found.culprit = (
            parts.pipe_edge[parts.chain_start[worst]] if worst < parts.chains
            else parts.element[worst - parts.chains].edge
        )
        return NOT_CONVERGED

    cdef bint newton(
        self, Parts parts, Work* work, const Given* given, Found* found, bint cold, Py_ssize_t free, bint hold,
        Py_ssize_t* worst
    ) noexcept nogil:
        """Newton steps from link_flow, after `free` of them no longer than they gain; returns whether they settle.

        `hold`: whether pumps follow their critical pairs.
        `worst`: the link that changed most.
        """
        cdef Py_ssize_t i
        cdef double change, part
        cdef bint fresh = True, turned = False
        for i in range(MOST_ITERATIONS):
            found.iterations += 1
            parts.heads(self.law, work, given.setting, fresh, cold)
            if fresh:
                parts.factorise(work)
                parts.respond(work)
            parts.pressures(work)
            if parts.criticals and hold:
                parts.hold_critical(work, given.setting)
            change = parts.move(
                work, given.setting, given.tolerance, 0.0 if i < free else ROUNDING, &turned, worst
            )
            if not change < 1e300:
                return False
            if change <= given.tolerance and not turned and not cold:
                parts.accept(work, 1.0)
                return True
            # With the same slopes again an error shrinks by about the last relative change, which may do.
            fresh = turned or cold or change > 0.1 or change * change > 3.0 * given.tolerance
            cold = False
            if i < free:
                parts.accept(work, 1.0)
            else:
                part = parts.part_of_step(self.law, work, given.setting)
                parts.accept(work, part)
                fresh = True
        return False

    cdef void descend(
        self, Parts parts, Work* work, const Given* given, Found* found, double closeness
    ) noexcept nogil:
        """Come close by descent, with an outer loop for the pumps that hold critical pairs."""
        cdef Py_ssize_t i, k
        cdef double moved
        for i in range(10):
            parts.descend(self.law, work, given.setting, closeness, &found.iterations)
            if not parts.criticals:
                return
            moved = 0.0
            for k in range(parts.criticals):
                moved -= work.rise[k]
            parts.factorise(work)
            parts.respond(work)
            parts.hold_critical(work, given.setting)
            for k in range(parts.criticals):
                moved += work.rise[k]
            if fabs(moved) <= 1e6 * closeness:
                return

    def room(self):
        """Room for one thread to solve in."""
        return Room(self)

    def solve(self, demand_kg_s, fixed_pressure_pa, setting, temp_k, double[::1] flow_kg_s, double[::1] pressure_pa,
              double[::1] memory, unsigned char[::1] unsupplied, Room room, double tolerance=1e-8):
        """Solve one member in place, beginning from flow_kg_s and memory (zeros at first); returns the iterations.

        Shapes: demand_kg_s, fixed_pressure_pa, pressure_pa and unsupplied (nodes,), setting, temp_k and flow_kg_s
        (edges,), memory (memory_width,). What a setting is stands in EdgeKind.

        Raises:
            InvalidInput: a wrong shape, or what is not a number.
            NotConverged: with the name of the edge that keeps changing.
        """
        cdef Given given
        cdef Found found
        cdef int code
        cdef const double[::1] demand = self.checked("demand", demand_kg_s, self.nodes)
        cdef const double[::1] fixed = self.checked("fixed pressure", fixed_pressure_pa, self.nodes)
        cdef const double[::1] settings = self.checked("setting", setting, self.edges)
        cdef const double[::1] temps = self.checked("temperature", temp_k, self.edges)
        self.checked("flow", flow_kg_s, self.edges)
        if not (pressure_pa.shape[0] == unsupplied.shape[0] == self.nodes and memory.shape[0] == self.memory_width):
            raise InvalidInput(f"network {self.graph.name}: results have a wrong shape")
        given.demand_kg_s, given.fixed_pressure_pa = &demand[0], &fixed[0]
        given.setting, given.temp_k, given.tolerance = &settings[0], &temps[0], tolerance
        found.flow_kg_s, found.pressure_pa = &flow_kg_s[0], &pressure_pa[0]
        found.memory, found.unsupplied = &memory[0], &unsupplied[0]
        with nogil:
            code = self.solve_member(room, &given, &found)
        if code != SOLVED:
            raise NotConverged(self.graph.name, self.graph.edges[found.culprit], found.iterations)
        return found.iterations

    cdef const double[::1] checked(self, str what, values, Py_ssize_t size) except *:
        cdef const double[::1] view
        cdef const uint64_t* bits
        cdef uint64_t odd = 0
        cdef Py_ssize_t i
        try:
            view = values
        except (TypeError, ValueError):
            view = np.ascontiguousarray(values, np.float64).reshape(-1)
        if view.shape[0] != size:
            raise InvalidInput(f"network {self.graph.name}: {what} of shape ({view.shape[0]},); ({size},) is needed")
        # Numbers that are none have the largest exponent: one more and it runs over into the sign.
        bits = <const uint64_t*>&view[0] if size else NULL
        for i in range(size):
            odd |= (bits[i] & 0x7FF0000000000000ULL) + 0x0010000000000000ULL
        if odd < 0x8000000000000000ULL:
            return view
        for i in range(size):
            if view[i] - view[i] != 0.0:
                break
        raise InvalidInput(f"network {self.graph.name}: {what} {view[i]} is no number")
