# Flows and pressures of members side by side: the method of hydraulics.pyx, for networks in which nothing but pipes and
# open elements has an unknown flow. What a lane does never depends on the others. A member that does not settle in a
# few Newton steps, or whose flows cannot be held, is left to hydraulics.pyx.

cdef double PER_LN10 = 0.8685889638065036  # 2 / ln(10)
cdef double LAMINAR = 2000.0
cdef double TURBULENT = 4000.0
cdef Py_ssize_t MOST_STEPS = 10

# The tables of hydraulics.pyx: value and rise of one after those of the other.
cdef double[4 * TABLE] WATER


cdef void fill_water() noexcept nogil:
    cdef Py_ssize_t i
    cdef double temp
    for i in range(TABLE):
        temp = TABLE_START_K + 0.125 * i
        WATER[4 * i] = density_kg_m3(temp)
        WATER[4 * i + 1] = density_kg_m3(temp + 0.125) - WATER[4 * i]
        WATER[4 * i + 2] = viscosity_pa_s(temp)
        WATER[4 * i + 3] = viscosity_pa_s(temp + 0.125) - WATER[4 * i + 2]


fill_water()


cdef struct Water:
    lane density
    lane viscosity


cdef inline Water water_at(lane temp) noexcept nogil:
    cdef Water water
    cdef lane x = smaller(larger(8.0 * (temp - TABLE_START_K), spread(0.0)), spread(1200.0)), whole = floor_of(x)
    x = x - whole
    water.density = pick(WATER, whole) + x * pick(WATER + 1, whole)
    water.viscosity = pick(WATER + 2, whole) + x * pick(WATER + 3, whole)
    return water


# A pipe as friction sees it: Reynolds number per flow and viscosity, pressure drop per factor, flow squared and
# density, the same for local losses, acceleration times fall, and the wall (see friction.pxd).
cdef struct Duct:
    double reynolds
    double friction
    double local
    double gravity
    double haaland  # the rough part of Haaland's formula, which the search for the factor begins with
    Wall wall


cdef struct Drop:
    lane pa
    lane slope
    lane weight


cdef Drop drop_in(const Duct* duct, Water water, lane flow) noexcept nogil:
    """Pressure drop with the sign of the flow, its slope, and what gravity gives.

    Colebrook by two Newton steps from Haaland's formula, within 1e-9 of friction.pyx.
    """
    cdef Drop out
    cdef lane thinness = spread(1.0) / water.density, friction = duct.friction * thinness, local = duct.local * thinness
    cdef lane per_flow = spread(duct.reynolds) / water.viscosity, q = size_of(flow), reynolds = q * per_flow
    cdef lane inverse = spread(1.0) / larger(reynolds, spread(TURBULENT)), part = 2.51 * inverse
    cdef lane x = (-0.9 * PER_LN10) * log_of(duct.haaland + 6.9 * inverse)
    cdef lane inside = duct.wall.rough + part * x, logarithm = log_of(inside), both_ways = spread(1.0) / inside
    cdef lane u = spread(0.0) - (x + PER_LN10 * logarithm) / (1.0 + PER_LN10 * part * both_ways), factor, r, a, b
    cdef mask is_other
    x = x + u
    u = u * part * both_ways  # the argument of the logarithm moved by this part of itself, 2 % at most
    logarithm = logarithm + u * (1.0 + u * (-0.5 + u * (1.0 / 3.0 + u * (-0.25 + u * (0.2 - u * (1.0 / 6.0))))))
    inside = duct.wall.rough + part * x
    both_ways = spread(1.0) / (inside + PER_LN10 * part)
    x = x - (x + PER_LN10 * logarithm) * inside * both_ways
    factor = friction / (x * x)
    out.pa = (factor + local) * q * flow
    out.slope = 2.0 * (factor * (1.0 - PER_LN10 * part * both_ways) + local) * q
    out.weight = duct.gravity * water.density
    is_other = less(reynolds, spread(TURBULENT))
    if any_of(is_other):
        # Between laminar and turbulent: Hermite in Re / 2000 - 1.
        r = reynolds * (1.0 / 2000.0) - 1.0
        a = spread(duct.wall.factor_4000)
        b = duct.wall.slope_4000 + 0.032 - 2.0 * a
        factor = 0.032 + r * (-0.032 + r * ((a - b) + r * b))
        u = (-0.032 + r * (2.0 * (a - b) + 3.0 * r * b)) * (1.0 / 2000.0)
        out.pa = choose(is_other, (friction * factor + local) * q * flow, out.pa)
        out.slope = choose(is_other, (2.0 * (friction * factor + local) + friction * u * reynolds) * q, out.slope)
        is_other = at_most(reynolds, spread(LAMINAR))
        factor = spread(64.0) / per_flow  # times flow: linear where the water stands
        out.pa = choose(is_other, (friction * factor + local * q) * flow, out.pa)
        out.slope = choose(is_other, friction * factor + 2.0 * local * q, out.slope)
    return out


cdef enum:
    SOME_ROOM = 1 << 16  # bytes
    MUCH_ROOM = 1 << 24


cdef class Arena:
    """Room for arrays that live as long as it: side by side, so that few pages of the memory are in use.

    Much of it comes in large pages where the system has them: what follows the water is read from everywhere.
    """

    cdef list pieces
    cdef size_t at
    cdef size_t end
    cdef Py_ssize_t piece

    def __cinit__(self, Py_ssize_t numbers):
        """`numbers`: about how many doubles there will be."""
        self.pieces, self.at, self.end = [], 0, 0
        self.piece = MUCH_ROOM if 8 * numbers > 16 * SOME_ROOM else SOME_ROOM

    cdef void* take(self, Py_ssize_t size) except NULL:
        """Zeros at the beginning of a line of the cache."""
        cdef double[::1] piece
        cdef size_t here = (self.at + 63) & ~<size_t> 63
        if here + size > self.end:
            piece = np.zeros((size if size > self.piece else self.piece) // 8 + 9)
            self.pieces.append(piece)
            here = (<size_t> &piece[0] + 63) & ~<size_t> 63
            self.end = <size_t> &piece[0] + 8 * piece.shape[0]
        self.at = here + size
        return <void*> here


cdef lane* lanes_for(Arena kept, Py_ssize_t count) except NULL:
    return <lane*> kept.take((count + 1) * sizeof(lane))


cdef Py_ssize_t* integers(Arena kept, values) except NULL:
    cdef Py_ssize_t[::1] view = np.concatenate([np.asarray(values, np.intp), np.zeros(1, np.intp)])
    cdef void* here = kept.take(view.shape[0] * sizeof(Py_ssize_t))
    memcpy(here, &view[0], view.shape[0] * sizeof(Py_ssize_t))
    return <Py_ssize_t*> here


cdef struct Solving:  # room to solve in
    # [edges]
    lane* temp
    lane* setting
    lane* flow
    # [nodes]
    lane* demand
    lane* outflow
    # [pipes of chains]
    lane* offset
    Water* water
    # [links]
    lane* link_flow
    lane* head
    lane* conductance
    # [cores]
    lane* excess
    lane* inverse
    lane* right
    lane* pressure
    lane* core_demand
    lane* scratch
    # [entries]
    lane* weights
    lane* lower


cdef class LaneHydraulics:
    """Flows that follow from pressures, compiled for members side by side; `able` tells whether it can."""

    cdef readonly bint able
    cdef Arena kept
    cdef Py_ssize_t nodes, forest, pipes, chains, links, elements, unknowns, cores, entries, spans, given, pumped
    cdef Py_ssize_t *start
    cdef Py_ssize_t *end
    cdef Py_ssize_t *pipe_edge
    cdef Py_ssize_t *tree_node
    cdef Py_ssize_t *tree_parent
    cdef Py_ssize_t *pipe_head
    cdef Py_ssize_t *chain_start
    cdef Py_ssize_t *link_a
    cdef Py_ssize_t *link_b
    cdef Py_ssize_t *core_node
    cdef Py_ssize_t *column
    cdef Py_ssize_t *row
    cdef Py_ssize_t *cross
    cdef Py_ssize_t *cross_column
    cdef Py_ssize_t *cross_entry
    cdef Py_ssize_t *link_entry
    cdef Py_ssize_t *span_link
    cdef Py_ssize_t *span_node
    cdef Py_ssize_t *element_edge
    cdef Py_ssize_t *given_edge
    cdef double[::1] pipe_sign
    cdef double[::1] per_density  # [edges] of elements
    cdef double[::1] resistance
    cdef double[::1] elevation  # [nodes]
    cdef Duct* duct  # [pipes]

    def __init__(self, graph):
        """`graph`: a HydraulicGraph."""
        cdef Py_ssize_t i
        holds = np.flatnonzero(graph.kind == FLOW)
        pumped = np.flatnonzero(graph.kind == PUMPED)
        shape = take_apart(graph, ((graph.kind != PUMPED) & (graph.kind != FLOW)).tolist())
        self.kept = Arena(16 * len(graph.edges))
        self.nodes = len(graph.nodes)
        self.forest, self.pipes, self.chains = shape.forest, len(shape.pipe_edge), len(shape.chain_start) - 1
        self.links, self.elements = len(shape.link_a), len(shape.element_edge)
        self.unknowns, self.cores, self.entries = shape.unknowns, len(shape.core_node), len(shape.row)
        self.spans, self.given, self.pumped = len(shape.span_link), len(pumped) + len(holds), len(pumped)
        kept = self.kept
        self.start, self.end = integers(kept, graph.start), integers(kept, graph.end)
        self.pipe_edge = integers(kept, shape.pipe_edge)
        self.tree_node = integers(kept, shape.tree_node)
        self.tree_parent = integers(kept, shape.tree_parent)
        self.pipe_head = integers(kept, shape.pipe_head)
        self.chain_start = integers(kept, shape.chain_start)
        self.link_a, self.link_b = integers(kept, shape.link_a), integers(kept, shape.link_b)
        self.core_node = integers(kept, shape.core_node)
        self.column, self.row = integers(kept, shape.column), integers(kept, shape.row)
        self.cross = integers(kept, shape.cross)
        self.cross_column = integers(kept, shape.cross_column)
        self.cross_entry = integers(kept, shape.cross_entry)
        self.link_entry = integers(kept, shape.link_entry)
        self.span_link, self.span_node = integers(kept, shape.span_link), integers(kept, shape.span_node)
        self.element_edge = integers(kept, shape.element_edge)
        self.given_edge = integers(kept, np.concatenate([pumped, holds]))
        self.pipe_sign = np.concatenate([shape.pipe_sign, [0.0]])
        with np.errstate(divide="ignore", invalid="ignore"):
            area = np.pi / 4.0 * graph.diameter_m**2
            self.per_density = np.where(area > 0.0, graph.loss_coefficient / (2.0 * area**2), 0.0)
        self.resistance = np.array(graph.resistance_pa_s2_kg2)
        self.elevation = np.array(graph.elevation_m)
        self.duct = <Duct*> kept.take((self.pipes + 1) * sizeof(Duct))
        for i, e in enumerate(shape.pipe_edge.tolist()):
            diameter, area = graph.diameter_m[e], np.pi / 4.0 * graph.diameter_m[e] ** 2
            self.duct[i].reynolds = diameter / area
            self.duct[i].friction = graph.length_m[e] / diameter / (2.0 * area**2)
            self.duct[i].local = graph.loss_coefficient[e] / (2.0 * area**2)
            fall = graph.elevation_m[graph.start[e]] - graph.elevation_m[graph.end[e]]
            self.duct[i].gravity = GRAVITY * fall * shape.pipe_sign[i]
            make_wall(COLEBROOK, graph.roughness_m[e] / diameter, &self.duct[i].wall)
            self.duct[i].haaland = self.duct[i].wall.rough ** 1.11
        fixed_cores = self.cores - self.unknowns
        # Everything hangs on a held pressure, and no element but open ones has a flow to be found.
        self.able = (
            bool((graph.kind[shape.element_edge] == FREE).all())
            and self.spans == self.cores - (fixed_cores if fixed_cores else 1) and fixed_cores > 0
        )

    cdef Solving room(self, Arena kept, Py_ssize_t edges) except *:
        cdef Solving w
        w.temp, w.setting, w.flow = lanes_for(kept, edges), lanes_for(kept, edges), lanes_for(kept, edges)
        w.demand, w.outflow = lanes_for(kept, self.nodes), lanes_for(kept, self.nodes)
        w.offset = lanes_for(kept, self.pipes)
        w.water = <Water*> kept.take((self.pipes + 1) * sizeof(Water))
        w.link_flow = lanes_for(kept, self.links)
        w.head, w.conductance = lanes_for(kept, self.links), lanes_for(kept, self.links)
        w.excess, w.inverse = lanes_for(kept, self.cores), lanes_for(kept, self.cores)
        w.right, w.pressure = lanes_for(kept, self.cores), lanes_for(kept, self.cores)
        w.core_demand, w.scratch = lanes_for(kept, self.cores), lanes_for(kept, self.cores)
        w.weights, w.lower = lanes_for(kept, self.entries), lanes_for(kept, self.entries)
        return w

    cdef mask solve(
        self, const Solving* w, const lane* before, lane* pressure, double tolerance, mask wanted, bint tells
    ) noexcept nogil:
        """Flows into w.flow, from those of the last step, and, where asked for, pressures of all nodes into `pressure`,
        which hold what is fixed; returns which of the wanted lanes are solved."""
        cdef Py_ssize_t i, step, edge
        cdef lane moving = spread(0.0), change
        cdef mask open_lanes, solved
        self.take_demands(w)
        for i in range(self.unknowns, self.cores):
            w.pressure[i] = pressure[self.core_node[i]]
        for i in range(self.chains):
            edge = self.pipe_edge[self.chain_start[i]]
            w.link_flow[i] = self.pipe_sign[self.chain_start[i]] * before[edge]
            moving = moving + size_of(w.link_flow[i])
        for i in range(self.elements):
            w.link_flow[self.chains + i] = before[self.element_edge[i]]
            moving = moving + size_of(w.link_flow[self.chains + i])
        self.scale(w)
        for i in range(self.forest, self.pipes):
            w.water[i] = water_at(w.temp[self.pipe_edge[i]])
        # From rest a first guess is needed: not here.
        open_lanes = wanted
        if self.links:
            open_lanes = both(wanted, less(spread(0.0), moving))
        solved = but_not(open_lanes, open_lanes)
        for step in range(MOST_STEPS):
            if not any_of(open_lanes):
                break
            if self.links:
                self.heads(w)
                self.factorise(w)
                self.pressures(w, open_lanes)
                change = self.move(w, open_lanes, tolerance)
            else:
                change = spread(0.0)
            # Not a number is not at most the tolerance.
            solved = either(solved, both(open_lanes, at_most(change, spread(tolerance))))
            open_lanes = but_not(open_lanes, solved)
        self.balance(w)
        self.report_flows(w)
        if tells or self.given > self.pumped:
            self.report_pressures(w, pressure)
        if self.given > self.pumped:
            solved = both(solved, self.flows_can_be_held(w, pressure))
        return solved

    cdef void scale(self, const Solving* w) noexcept nogil:
        """Bring the flows of the last step to the sum of the demands of this one: demands mostly rise and fall
        together, and then one Newton step less is needed."""
        cdef Py_ssize_t i
        cdef lane before = spread(0.0), now = spread(0.0), ratio
        cdef mask known
        memset(w.right, 0, self.unknowns * sizeof(lane))
        for i in range(self.links):
            if self.link_a[i] < self.unknowns:
                w.right[self.link_a[i]] = w.right[self.link_a[i]] - w.link_flow[i]
            if self.link_b[i] < self.unknowns:
                w.right[self.link_b[i]] = w.right[self.link_b[i]] + w.link_flow[i]
        for i in range(self.unknowns):
            before = before + size_of(w.right[i])
            now = now + size_of(w.core_demand[i])
        known = both(less(0.5 * before, now), less(now, 2.0 * before))
        ratio = choose(known, now / choose(known, before, spread(1.0)), spread(1.0))
        for i in range(self.links):
            w.link_flow[i] = ratio * w.link_flow[i]

    cdef void take_demands(self, const Solving* w) noexcept nogil:
        """From demands per node: flows of dead ends, offsets within chains, demands at the core."""
        cdef Py_ssize_t i, c, edge
        cdef lane flow
        memcpy(w.outflow, w.demand, self.nodes * sizeof(lane))
        for i in range(self.given):
            edge = self.given_edge[i]
            flow = w.setting[edge] if i < self.pumped else larger(w.setting[edge], spread(0.0))
            w.outflow[self.start[edge]] = w.outflow[self.start[edge]] + flow
            w.outflow[self.end[edge]] = w.outflow[self.end[edge]] - flow
            w.flow[edge] = flow
        for i in range(self.forest - 1, -1, -1):
            flow = w.outflow[self.tree_node[i]]
            w.outflow[self.tree_parent[i]] = w.outflow[self.tree_parent[i]] + flow
            w.flow[self.pipe_edge[i]] = self.pipe_sign[i] * flow
        for i in range(self.unknowns):
            w.core_demand[i] = w.outflow[self.core_node[i]]
        for c in range(self.chains):
            flow = spread(0.0)
            for i in range(self.chain_start[c], self.chain_start[c + 1]):
                w.offset[i] = spread(0.0) - flow
                if i + 1 < self.chain_start[c + 1]:
                    flow = flow + w.outflow[self.pipe_head[i]]
            w.core_demand[self.link_b[c]] = w.core_demand[self.link_b[c]] + flow  # of a fixed node nobody asks

    cdef void heads(self, const Solving* w) noexcept nogil:
        """Pressure drops less gravity of all links at link_flow, and their conductances."""
        cdef Py_ssize_t c, i
        cdef lane head, slope
        cdef Drop drop
        for c in range(self.chains):
            head = slope = spread(0.0)
            for i in range(self.chain_start[c], self.chain_start[c + 1]):
                drop = drop_in(&self.duct[i], w.water[i], w.link_flow[c] + w.offset[i])
                head = head + (drop.pa - drop.weight)
                slope = slope + drop.slope
            w.head[c] = head
            w.conductance[c] = spread(1.0) / slope
        for i in range(self.elements):
            c = self.chains + i
            drop = self.element_drop(self.element_edge[i], w.temp[self.element_edge[i]], w.link_flow[c])
            w.head[c] = drop.pa - drop.weight
            w.conductance[c] = spread(1.0) / drop.slope

    cdef Drop element_drop(self, Py_ssize_t edge, lane temp, lane flow) noexcept nogil:
        """Resistance times flow squared, but linear about zero."""
        cdef Drop drop
        cdef lane density = water_at(temp).density
        cdef lane resistance = larger(
            spread(self.per_density[edge]) / density + self.resistance[edge], spread(LEAST_RESISTANCE)
        )
        cdef lane linear = larger(spread(LEAST_SLOPE_PA_S_KG) / resistance, spread(LINEAR_KG_S))
        cdef lane size = root(flow * flow + linear * linear)
        drop.slope = resistance * (size + flow * flow / size)
        drop.pa = resistance * flow * size
        drop.weight = GRAVITY * (self.elevation[self.start[edge]] - self.elevation[self.end[edge]]) * density
        return drop

    cdef void factorise(self, const Solving* w) noexcept nogil:
        """L D L^T of the conductances between unknown pressures, see hydraulics.pyx."""
        cdef Py_ssize_t i, k, p, t, a, b, end
        cdef lane factor, total
        memset(w.weights, 0, self.entries * sizeof(lane))
        memset(w.excess, 0, self.unknowns * sizeof(lane))
        for i in range(self.links):
            a = self.link_a[i]
            b = self.link_b[i]
            if self.link_entry[i] >= 0:
                w.weights[self.link_entry[i]] = w.weights[self.link_entry[i]] + w.conductance[i]
            elif a != b:
                if a < self.unknowns:
                    w.excess[a] = w.excess[a] + w.conductance[i]
                elif b < self.unknowns:
                    w.excess[b] = w.excess[b] + w.conductance[i]
        for k in range(self.unknowns):
            end = self.column[k + 1]
            for p in range(self.column[k], end):
                w.scratch[self.row[p]] = w.weights[p]
            total = w.excess[k]
            for t in range(self.cross[k], self.cross[k + 1]):
                p = self.cross_entry[t]
                factor = w.lower[p]
                total = total + factor * w.excess[self.cross_column[t]]
                for i in range(p + 1, self.column[self.cross_column[t] + 1]):
                    w.scratch[self.row[i]] = w.scratch[self.row[i]] + factor * w.weights[i]
            w.excess[k] = total
            for p in range(self.column[k], end):
                w.weights[p] = w.scratch[self.row[p]]
                total = total + w.weights[p]
            w.inverse[k] = spread(1.0) / total
            for p in range(self.column[k], end):
                w.lower[p] = w.weights[p] * w.inverse[k]

    cdef void pressures(self, const Solving* w, mask open_lanes) noexcept nogil:
        """Pressures at which the linearised links balance the demands."""
        cdef Py_ssize_t i, k, p, a, b
        cdef lane flow, value
        cdef lane* right = w.right
        for i in range(self.unknowns):
            right[i] = spread(0.0) - w.core_demand[i]
        for i in range(self.links):
            a = self.link_a[i]
            b = self.link_b[i]
            if a == b:
                continue
            flow = w.link_flow[i] - w.conductance[i] * w.head[i]
            if a < self.unknowns:
                right[a] = right[a] - flow
                if b >= self.unknowns:
                    right[a] = right[a] + w.conductance[i] * w.pressure[b]
            if b < self.unknowns:
                right[b] = right[b] + flow
                if a >= self.unknowns:
                    right[b] = right[b] + w.conductance[i] * w.pressure[a]
        for k in range(self.unknowns):
            value = right[k]
            for p in range(self.column[k], self.column[k + 1]):
                right[self.row[p]] = right[self.row[p]] + w.lower[p] * value
            right[k] = value * w.inverse[k]
        for k in range(self.unknowns - 1, -1, -1):
            value = right[k]
            for p in range(self.column[k], self.column[k + 1]):
                value = value + w.lower[p] * right[self.row[p]]
            right[k] = value
            w.pressure[k] = choose(open_lanes, value, w.pressure[k])

    cdef lane move(self, const Solving* w, mask open_lanes, double tolerance) noexcept nogil:
        """Take the new flows over; returns the change of all flows over their sum."""
        cdef Py_ssize_t i
        cdef lane flow, total = spread(0.0), changes = spread(0.0)
        for i in range(self.links):
            flow = w.link_flow[i] + w.conductance[i] * (
                w.pressure[self.link_a[i]] - w.pressure[self.link_b[i]] - w.head[i]
            )
            changes = changes + size_of(flow - w.link_flow[i])
            total = total + size_of(flow)
            w.link_flow[i] = choose(open_lanes, flow, w.link_flow[i])
        # So little in every link is nothing: water at rest counts as settled.
        return changes / (total + 0.1 * LEAST_FLOW_KG_S * self.links / tolerance)

    cdef void balance(self, const Solving* w) noexcept nogil:
        """Make the flows of a spanning forest carry exactly what the demands and the other links leave to them."""
        cdef Py_ssize_t i, node, link
        cdef lane missing
        for i in range(self.unknowns):
            w.right[i] = w.core_demand[i]
        for i in range(self.links):
            if self.link_a[i] < self.unknowns:
                w.right[self.link_a[i]] = w.right[self.link_a[i]] + w.link_flow[i]
            if self.link_b[i] < self.unknowns:
                w.right[self.link_b[i]] = w.right[self.link_b[i]] - w.link_flow[i]
        for i in range(self.spans):
            node, link = self.span_node[i], self.span_link[i]
            missing = w.right[node]
            if self.link_b[link] == node:
                w.link_flow[link] = w.link_flow[link] + missing
                node = self.link_a[link]
            else:
                w.link_flow[link] = w.link_flow[link] - missing
                node = self.link_b[link]
            if node < self.unknowns:
                w.right[node] = w.right[node] + missing

    cdef void report_flows(self, const Solving* w) noexcept nogil:
        """From the core to all flows."""
        cdef Py_ssize_t i, c
        for c in range(self.chains):
            for i in range(self.chain_start[c], self.chain_start[c + 1]):
                w.flow[self.pipe_edge[i]] = self.pipe_sign[i] * (w.link_flow[c] + w.offset[i])
        for i in range(self.elements):
            w.flow[self.element_edge[i]] = w.link_flow[self.chains + i]

    cdef void report_pressures(self, const Solving* w, lane* pressure) noexcept nogil:
        """From the core to all pressures."""
        cdef Py_ssize_t i, c, edge
        cdef lane here, change, slope
        cdef Drop drop
        for c in range(self.chains):
            if self.chain_start[c + 1] - self.chain_start[c] == 1:
                continue
            # What is left between the pressures at both ends is shared by slope.
            here = w.pressure[self.link_a[c]]
            change = here - w.pressure[self.link_b[c]]
            slope = spread(0.0)
            for i in range(self.chain_start[c], self.chain_start[c + 1]):
                edge = self.pipe_edge[i]
                drop = drop_in(&self.duct[i], w.water[i], w.link_flow[c] + w.offset[i])
                w.setting[edge] = drop.weight - drop.pa
                change = change + w.setting[edge]
                slope = slope + drop.slope
                w.offset[i] = drop.slope
            change = change / slope
            for i in range(self.chain_start[c], self.chain_start[c + 1] - 1):
                here = here + w.setting[self.pipe_edge[i]] - w.offset[i] * change
                pressure[self.pipe_head[i]] = here
        for i in range(self.unknowns):
            pressure[self.core_node[i]] = w.pressure[i]
        for i in range(self.forest):
            edge = self.pipe_edge[i]
            drop = drop_in(&self.duct[i], water_at(w.temp[edge]), self.pipe_sign[i] * w.flow[edge])
            pressure[self.tree_node[i]] = pressure[self.tree_parent[i]] + drop.weight - drop.pa

    cdef mask flows_can_be_held(self, const Solving* w, const lane* pressure) noexcept nogil:
        """Whether every edge that holds its flow has the pressure for it."""
        cdef Py_ssize_t i, edge
        cdef lane drive
        cdef Drop drop
        cdef mask short_of = less(spread(1.0), spread(0.0))
        for i in range(self.pumped, self.given):
            edge = self.given_edge[i]
            drop = self.element_drop(edge, w.temp[edge], w.flow[edge])
            drive = pressure[self.start[edge]] - pressure[self.end[edge]] + drop.weight
            short_of = either(short_of, both(less(spread(0.0), w.flow[edge]), less(drive, drop.pa)))
        return but_not(less(spread(0.0), spread(1.0)), short_of)
