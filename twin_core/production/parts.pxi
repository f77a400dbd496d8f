# Part of engine.pyx, compiled with it: parts that are followed one by one, orders and recipes.

# ---- parts that are followed ------------------------------------------------------------------------------------

cdef void append(Sim* sim, int32_t* first, int32_t* last, const Part* like) noexcept nogil:
    """A record like `like` at the end of a list."""
    cdef int32_t p = <int32_t>sim.head.free_part
    if p < 0:
        sim.head.fault = TOO_MANY_PARTS
        return
    sim.head.free_part = sim.part[p].next
    sim.part[p] = like[0]
    sim.part[p].next = -1
    if first[0] < 0:
        first[0] = p
    else:
        sim.part[last[0]].next = p
    last[0] = p


cdef Part new_part(Sim* sim) noexcept nogil:
    """Of no order, sound, at the beginning of its route."""
    cdef Part part
    part.born = part.entered = part.flawed = sim.now
    part.known = INFINITY
    part.next = part.order = part.flaw = part.inspector = -1
    part.product = part.priority = part.step = part.rejected = 0
    return part


cdef Part take_first(Sim* sim, int32_t* first, int32_t* last) noexcept nogil:
    """The record at the beginning of a list, which leaves it."""
    cdef Part part
    cdef int32_t p = first[0]
    if p < 0:  # only after TOO_MANY_PARTS
        return new_part(sim)
    part = sim.part[p]
    first[0] = part.next
    if part.next < 0:
        last[0] = -1
    sim.part[p].next = <int32_t>sim.head.free_part
    sim.head.free_part = p
    return part


cdef Part give_part(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The first part on the server leaves it."""
    cdef Part part = take_first(sim, &sim.held[s].first, &sim.held[s].last)
    if sim.recipe_plan[s].arrives:
        part.born = sim.now
    if part.rejected:
        part.rejected = 0
    else:
        part.step += sim.server_plan[s].give_rule == TABLE
    return part


cdef void done(Sim* sim, const Part* part) noexcept nogil:
    """A part has left the factory or was thrown away: its order has one less to wait for."""
    cdef Order* order
    if part.order < 0:
        return
    order = &sim.order[part.order]
    order.left -= 1
    if order.left == 0:
        order.finished = sim.now


cdef void throw_away(Sim* sim, const Part* part) noexcept nogil:
    if part.flaw >= 0:
        sim.quality[part.flaw].gone += 1
    done(sim, part)


cdef void deliver(Sim* sim, const Part* part) noexcept nogil:
    sim.head.flows += 1
    sim.head.flow_s += sim.now - part.born
    if part.flaw >= 0:
        sim.quality[part.flaw].escaped += 1
    done(sim, part)


cdef void set_timer(Sim* sim, Py_ssize_t b) noexcept nogil:
    """When the buffer's next part can be taken, or its oldest one is too old."""
    cdef const QueuePlan* plan = &sim.queue_plan[b]
    cdef Queue* queue = &sim.queue[b]
    cdef double time = INFINITY
    cdef Py_ssize_t row = sim.n_servers + sim.n_calendars + plan.timer
    if plan.timer < 0:
        return
    if queue.fresh >= 0:
        time = sim.part[queue.fresh].entered + plan.delay
    if queue.first >= 0 and sim.part[queue.first].entered + plan.longest < time:
        time = sim.part[queue.first].entered + plan.longest
    sim.server[row].event = RIPE
    set_due(&sim.agenda, row, &sim.server[row].listed, time)


cdef void store(Sim* sim, Py_ssize_t b, const Part* like) noexcept nogil:
    """A part comes into a buffer, at the place that its order gives it."""
    cdef Queue* queue = &sim.queue[b]
    cdef int32_t p, before = -1, old_last = queue.last
    cdef int32_t at
    append(sim, &queue.first, &queue.last, like)
    if sim.head.fault:
        return
    p = queue.last
    sim.part[p].entered = sim.now
    if sim.queue_plan[b].delay > 0.0:
        if queue.fresh < 0:
            queue.fresh = p
        queue.n_fresh += 1
    elif sim.queue_plan[b].order != FIFO and old_last >= 0:
        at = queue.first
        if sim.queue_plan[b].order == PRIORITY:
            while at != p and sim.part[at].priority >= sim.part[p].priority:
                before = at
                at = sim.part[at].next
        if at != p:
            queue.last = old_last
            sim.part[old_last].next = -1
            sim.part[p].next = at
            if before < 0:
                queue.first = p
            else:
                sim.part[before].next = p
    set_timer(sim, b)


cdef void fetch(Sim* sim, Py_ssize_t b, Py_ssize_t s) noexcept nogil:
    """The first part of a buffer goes onto a server."""
    cdef Part part = take_first(sim, &sim.queue[b].first, &sim.queue[b].last)
    append(sim, &sim.held[s].first, &sim.held[s].last, &part)
    set_timer(sim, b)


cdef void create(Sim* sim, Py_ssize_t s) noexcept nogil:
    """A server that takes nothing begins a part: of its next order, or of none."""
    cdef const RecipePlan* plan = &sim.recipe_plan[s]
    cdef Held* held = &sim.held[s]
    cdef Part part = new_part(sim)
    part.product = plan.product
    if plan.n_orders > 0:
        part.order = plan.first_order + held.order
        part.product = sim.order_plan[part.order].product
        part.priority = sim.order_plan[part.order].priority
        held.released += 1
        if held.released == sim.order_plan[part.order].quantity:
            held.released = 0
            held.order += 1
    append(sim, &held.first, &held.last, &part)


cdef void make_one(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The parts of an assembly become one, like the first of them; it is flawed if one of them is."""
    cdef Held* held = &sim.held[s]
    cdef Part first = take_first(sim, &held.first, &held.last), other
    while held.first >= 0:
        other = take_first(sim, &held.first, &held.last)
        if other.flaw >= 0 and first.flaw >= 0:
            sim.quality[other.flaw].gone += 1
        elif other.flaw >= 0:
            first.flaw = other.flaw
            first.flawed = other.flawed
        if other.known < first.known:
            first.known = other.known
            first.inspector = other.inspector
    append(sim, &held.first, &held.last, &first)


cdef void ripen(Sim* sim, Py_ssize_t b) noexcept nogil:
    """The moment that `set_timer` set: a part can be taken now, or the oldest one is thrown away."""
    cdef const QueuePlan* plan = &sim.queue_plan[b]
    cdef Queue* queue = &sim.queue[b]
    cdef Part part
    if queue.fresh >= 0 and sim.part[queue.fresh].entered + plan.delay <= sim.now:
        queue.fresh = sim.part[queue.fresh].next
        queue.n_fresh -= 1
    elif queue.first >= 0:
        part = take_first(sim, &queue.first, &queue.last)
        throw_away(sim, &part)
        queue.aged += 1
        change_level(sim, b, -1)
        if sim.buffer[b].blocked > 0:
            admit(sim, b)
    set_timer(sim, b)
    if sim.buffer[b].waiting > 0:
        push_buffer(sim, b)


cdef bint set_up(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Begin the changeover to the product of the part on the server; False where there is none to make."""
    cdef Held* held = &sim.held[s]
    cdef int32_t product = sim.part[held.first].product if held.first >= 0 else 0, before = held.product
    cdef double seconds = 0.0
    held.product = product
    if before >= 0 and sim.recipe_plan[s].changeovers >= 0:
        seconds = sim.table[sim.recipe_plan[s].changeovers + before * sim.n_products + product]
    if seconds <= 0.0:
        return False
    sim.server[s].phase = SETUP
    sim.server[s].left = seconds
    show(sim, s, SETTING_UP)
    schedule(sim, s)
    if sim.rare_plan[s].furnace >= 0:
        heat(sim, s)
    return True


cdef int cycle_law(Sim* sim, Py_ssize_t s, const Part* part) noexcept nogil:
    """Of a part on a server: that of its step, or of its product."""
    cdef const StepPlan* step
    if sim.server_plan[s].give_rule == TABLE and part.step > 0:
        step = &sim.step_plan[sim.route[2 * part.product] + part.step - 1]
        if step.cycle >= 0:
            return step.cycle
    return sim.product_laws[sim.recipe_plan[s].cycles + part.product]


cdef double recipe_time(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Cycle time of the part on the server; an order that is not released yet is waited for."""
    cdef const RecipePlan* plan = &sim.recipe_plan[s]
    cdef int32_t p = sim.held[s].first
    cdef double left, wait
    if p < 0:
        return draw(sim, s, sim.server_plan[s].cycle, CYCLES)
    left = draw(sim, s, cycle_law(sim, s, &sim.part[p]), CYCLES)
    if sim.part[p].order < 0:
        return left
    if plan.n_orders > 0:
        wait = sim.order_plan[sim.part[p].order].release - sim.now
        return left + wait if wait > 0.0 else left
    sim.order[sim.part[p].order].energy_j += left * plan.busy_w
    return left
