# Part of engine.pyx, compiled with it: counts of state and time, and who waits for whom.

# ---- small acts -------------------------------------------------------------------------------------------------

cdef inline double draw(Sim* sim, Py_ssize_t s, int law, int purpose) noexcept nogil:
    return sample(&sim.laws[law], sim.table, &sim.streams[purpose * sim.n_servers + s], sim.layers)


cdef inline void show(Sim* sim, Py_ssize_t s, int state) noexcept nogil:
    cdef Server* server = &sim.server[s]
    sim.spent[s * N_SHOWN + server.shown] += sim.now - server.since
    server.since = sim.now
    server.shown = state


cdef inline void push(Sim* sim, Py_ssize_t s) noexcept nogil:
    if not sim.server[s].queued:
        sim.server[s].queued = 1
        sim.stack[sim.head.n_stack] = <int32_t>s
        sim.head.n_stack += 1


cdef inline void push_buffer(Sim* sim, Py_ssize_t b) noexcept nogil:
    if not sim.buffer_queued[b]:
        sim.buffer_queued[b] = 1
        sim.stack[sim.head.n_stack] = <int32_t>(-1 - b)
        sim.head.n_stack += 1


cdef inline void change_level(Sim* sim, Py_ssize_t b, int64_t change) noexcept nogil:
    cdef Buffer* buffer = &sim.buffer[b]
    buffer.area -= change * sim.now
    buffer.level += change


cdef int shown_of(const Server* server) noexcept nogil:
    """The state that phase and hindrances make; `shown` keeps which kind of being down or asleep it is."""
    if server.hindrances & DOWN:
        return server.shown
    if server.hindrances & OFF_SHIFT:
        return OFF
    if server.hindrances & SHORT:
        return SHORTAGE
    if server.hindrances & ASLEEP:
        return WARMING if server.until < INFINITY else SLEEPING
    if server.phase == WORK:
        return BUSY
    if server.phase == SETUP:
        return SETTING_UP
    return STARVED if server.phase == EMPTY else BLOCKED


cdef inline void schedule(Sim* sim, Py_ssize_t s) noexcept nogil:
    """When and what the server's next event is; `left` and `worked` are those of this moment."""
    cdef Server* server = &sim.server[s]
    cdef double time = INFINITY, until_failure
    cdef int event = NOTHING
    if server.hindrances:
        if server.hindrances & DOWN:
            time = server.until
            event = REPAIR_END
        elif server.hindrances == ASLEEP:
            time = server.until
            event = AWAKE
    elif server.phase == WORK:
        until_failure = server.working_due - server.worked
        if until_failure < server.left:
            time = sim.now + (until_failure if until_failure > 0.0 else 0.0)
            event = FAIL_WORKING
        else:
            time = sim.now + server.left
            event = FINISH
    elif server.phase == SETUP:
        time = sim.now + server.left
        event = READY
    elif server.phase == EMPTY:
        time = server.until
        event = FALL_ASLEEP
    if server.anytime_due < time and not server.hindrances & DOWN:
        time = server.anytime_due
        event = FAIL_ANYTIME
    server.event = event
    # A warm-up may have ended behind another hindrance.
    set_due(&sim.agenda, s, &server.listed, time if time > sim.now else sim.now)


# ---- lists of those who wait ------------------------------------------------------------------------------------

cdef void enlist(Sim* sim, Py_ssize_t s, int where) noexcept nogil:
    """Count the server as waiting at its inputs, or as blocked at the outputs that it could give to."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t k
    server.enlisted = where
    if where == TAKING:
        for k in range(plan.take_first, plan.take_first + plan.n_takes):
            sim.buffer[sim.take[k].buffer].waiting += 1
    elif server.way >= 0:
        sim.buffer[sim.give[server.way].buffer].blocked += 1
    else:
        for k in range(plan.give_first, plan.give_first + plan.n_gives):
            if sim.give[k].buffer >= 0:
                sim.buffer[sim.give[k].buffer].blocked += 1


cdef void delist(Sim* sim, Py_ssize_t s) noexcept nogil:
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t k
    if server.enlisted == TAKING:
        for k in range(plan.take_first, plan.take_first + plan.n_takes):
            sim.buffer[sim.take[k].buffer].waiting -= 1
    elif server.enlisted == GIVING and server.way >= 0:
        sim.buffer[sim.give[server.way].buffer].blocked -= 1
    elif server.enlisted == GIVING:
        for k in range(plan.give_first, plan.give_first + plan.n_gives):
            if sim.give[k].buffer >= 0:
                sim.buffer[sim.give[k].buffer].blocked -= 1
    server.enlisted = NOWHERE


cdef inline bint has_place(Sim* sim, Py_ssize_t b, int amount) noexcept nogil:
    return sim.buffer[b].level + amount <= sim.buffer[b].capacity


cdef inline bint fits(Sim* sim, Py_ssize_t k) noexcept nogil:
    """Whether the parts of output `k` have their places; without places a consumer takes them from the machine."""
    cdef Py_ssize_t b = sim.give[k].buffer
    return b < 0 or sim.buffer[b].capacity == 0 or has_place(sim, b, sim.give[k].amount)


cdef bint gives_to(Sim* sim, Py_ssize_t s, Py_ssize_t b) noexcept nogil:
    """Whether the blocked server gives its part to buffer `b` now."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t k
    if server.way >= 0:
        return sim.give[server.way].buffer == b and fits(sim, server.way)
    for k in range(plan.give_first, plan.give_first + plan.n_gives):
        if plan.give_rule == SPLIT:
            if not fits(sim, k):
                return False
        elif sim.give[k].buffer == b:
            return fits(sim, k)
    return True


cdef Py_ssize_t longest_blocked(Sim* sim, Py_ssize_t b) noexcept nogil:
    """The producer that is blocked longest and would give to `b`, or -1."""
    cdef const BufferPlan* plan = &sim.buffer_plan[b]
    cdef Py_ssize_t k, s, found = -1
    cdef double since = INFINITY
    for k in range(plan.producer_first, plan.producer_first + plan.n_producers):
        s = sim.producers[k]
        if sim.server[s].enlisted == GIVING and sim.server[s].since < since and gives_to(sim, s, b):
            found = s
            since = sim.server[s].since
    return found
