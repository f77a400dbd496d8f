# Part of engine.pyx, compiled with it: how parts go from machine to buffer to machine.

# ---- giving -----------------------------------------------------------------------------------------------------

cdef inline void enter(Sim* sim, Py_ssize_t b, int amount) noexcept nogil:
    """Parts come into a buffer that has a place; consumers that wait may begin."""
    cdef Buffer* buffer = &sim.buffer[b]
    change_level(sim, b, amount)
    buffer.entered += amount
    if buffer.level > buffer.most:
        buffer.most = buffer.level
    if buffer.waiting > 0:
        wake(sim, b)
        if buffer.level == 0:
            buffer.passed += amount


cdef Py_ssize_t open_way(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The output that a part of a server with several alternatives takes now, or -1."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Py_ssize_t k, found = -1
    cdef int64_t level, least = 0
    for k in range(plan.give_first, plan.give_first + plan.n_gives):
        if sim.give[k].buffer < 0:
            level = 0
        elif has_place(sim, sim.give[k].buffer, sim.give[k].amount):
            level = sim.buffer[sim.give[k].buffer].level
        else:
            continue
        if plan.give_rule == FIRST_FREE:
            return k
        if found < 0 or level < least:
            found = k
            least = level
    return found


cdef inline void follow(Sim* sim, Py_ssize_t k, const Part* part) noexcept nogil:
    """Records for the parts that go by output `k`."""
    cdef Py_ssize_t n
    for n in range(sim.give[k].amount):
        if sim.give[k].buffer < 0:
            deliver(sim, part)
        else:
            store(sim, sim.give[k].buffer, part)


cdef inline void leave(Sim* sim, Py_ssize_t s, Py_ssize_t k, const Part* part) noexcept nogil:
    """One part goes by output `k`."""
    if sim.n_parts > 0:
        follow(sim, k, part)
    if sim.give[k].buffer < 0:
        sim.server[s].delivered += sim.give[k].amount
    else:
        enter(sim, sim.give[k].buffer, sim.give[k].amount)


cdef bint give_one(Sim* sim, Py_ssize_t s) noexcept nogil:
    """One finished part leaves the server, if there is a place; where the capacity is 0 there is none."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t k
    cdef Part part
    if plan.n_gives == 0 and server.way < 0:
        server.delivered += 1
        if sim.n_parts > 0:
            part = give_part(sim, s)
            deliver(sim, &part)
        return True
    if server.way >= 0:
        k = server.way
        if sim.give[k].buffer >= 0 and not has_place(sim, sim.give[k].buffer, sim.give[k].amount):
            return False
        if sim.n_parts > 0:
            part = give_part(sim, s)
        leave(sim, s, k, &part)
        server.way = -1
        return True
    if plan.give_rule == SPLIT:
        for k in range(plan.give_first, plan.give_first + plan.n_gives):
            if sim.give[k].buffer >= 0 and not has_place(sim, sim.give[k].buffer, sim.give[k].amount):
                return False
        if sim.n_parts > 0:
            part = give_part(sim, s)
        for k in range(plan.give_first, plan.give_first + plan.n_gives):
            leave(sim, s, k, &part)
        return True
    k = open_way(sim, s)
    if k < 0:
        return False
    if sim.n_parts > 0:
        part = give_part(sim, s)
    leave(sim, s, k, &part)
    return True


cdef Py_ssize_t way_of_step(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The output to the next step of the first part on the server."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef const Part* part
    cdef const int32_t* route
    cdef Py_ssize_t k
    cdef int32_t b
    if sim.held[s].first < 0:  # only after TOO_MANY_PARTS
        return plan.give_first
    part = &sim.part[sim.held[s].first]
    route = &sim.route[2 * part.product]
    b = sim.step_plan[route[0] + part.step].buffer if part.step < route[1] else -1
    for k in range(plan.give_first, plan.give_first + plan.n_gives):
        if sim.give[k].buffer == b:
            return k
    sim.head.fault |= NO_WAY
    return plan.give_first


cdef void draw_way(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Choose the output of the next finished part where chance does."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Py_ssize_t k
    cdef double u
    sim.server[s].way = -1
    if sim.n_quality > 0 and sim.held[s].first >= 0 and sim.part[sim.held[s].first].rejected:
        sim.server[s].way = sim.quality_plan[s].rejects
        return
    if plan.give_rule == TABLE:
        sim.server[s].way = <int32_t>way_of_step(sim, s)
        return
    if plan.give_rule != CHANCE:
        return
    u = uniform(&sim.streams[ROUTES * sim.n_servers + s])
    for k in range(plan.give_first, plan.give_first + plan.n_gives):
        sim.server[s].way = <int32_t>k
        u -= sim.give[k].weight
        if u < 0.0:
            return


cdef void give_all(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Give the finished parts as far as there are places; then the server is empty, or blocked."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t k
    while server.load > 0:
        if server.way < 0:
            draw_way(sim, s)
        if not give_one(sim, s):
            break
        server.load -= 1
    if server.load == 0:
        server.phase = EMPTY
        push(sim, s)
        return
    if server.shown != BLOCKED:
        show(sim, s, BLOCKED)
    enlist(sim, s, GIVING)
    schedule(sim, s)
    if sim.rare_plan[s].furnace >= 0:
        heat(sim, s)
    # A consumer of a buffer without places takes from the blocked server; one that sleeps may wake.
    for k in range(plan.give_first, plan.give_first + plan.n_gives):
        if server.enlisted == GIVING and sim.give[k].buffer >= 0 and sim.buffer[sim.give[k].buffer].waiting > 0:
            wake(sim, sim.give[k].buffer)
    if sim.rare_plan[s].loses and server.enlisted == GIVING:
        delist(sim, s)
        server.lost += server.load
        drop(sim, s, server.load)
        server.load = 0
        server.way = -1
        server.phase = EMPTY
        push(sim, s)


cdef void drop(Sim* sim, Py_ssize_t s, int n) noexcept nogil:
    """Parts on the server are lost or thrown away."""
    cdef Part part
    cdef int k
    if sim.n_parts > 0:
        for k in range(n):
            part = give_part(sim, s)
            throw_away(sim, &part)


cdef void one_given(Sim* sim, Py_ssize_t s) noexcept nogil:
    """A blocked server has got rid of one part: it gives the next one of its batch, or takes again."""
    cdef Server* server = &sim.server[s]
    delist(sim, s)
    server.load -= 1
    server.way = -1
    if server.load == 0:
        server.phase = EMPTY
    push(sim, s)


cdef void admit(Sim* sim, Py_ssize_t b) noexcept nogil:
    """Places came free in `b`: blocked producers give, the longest blocked first."""
    cdef Py_ssize_t s, k
    cdef const ServerPlan* plan
    cdef Part part
    cdef Buffer* buffer = &sim.buffer[b]
    s = buffer.only_giver
    if s >= 0 and sim.server_plan[s].give_plain == b:  # the usual case written out; the state may be of another plan
        buffer.area -= sim.now
        buffer.level += 1
        buffer.entered += 1
        buffer.blocked = 0
        sim.server[s].enlisted = NOWHERE
        sim.server[s].load = 0
        sim.server[s].phase = EMPTY
        push(sim, s)
        if buffer.waiting > 0:
            push_buffer(sim, b)
        return
    while sim.buffer[b].blocked > 0 and has_place(sim, b, 1):
        s = longest_blocked(sim, b)
        if s < 0:
            break
        plan = &sim.server_plan[s]
        k = plan.give_first
        if sim.n_parts > 0:
            part = give_part(sim, s)
        if sim.server[s].way >= 0:
            put_by(sim, s, sim.server[s].way, &part)
        elif plan.give_rule == SPLIT:
            for k in range(plan.give_first, plan.give_first + plan.n_gives):
                put_by(sim, s, k, &part)
        else:
            while sim.give[k].buffer != b:
                k += 1
            put_by(sim, s, k, &part)
        one_given(sim, s)
    if sim.buffer[b].waiting > 0:
        push_buffer(sim, b)


cdef void put_by(Sim* sim, Py_ssize_t s, Py_ssize_t k, const Part* part) noexcept nogil:
    """Like `leave`, but consumers are looked at later: this happens while one of them takes."""
    cdef Py_ssize_t b = sim.give[k].buffer
    if sim.n_parts > 0:
        follow(sim, k, part)
    if b < 0:
        sim.server[s].delivered += sim.give[k].amount
        return
    change_level(sim, b, sim.give[k].amount)
    sim.buffer[b].entered += sim.give[k].amount
    if sim.buffer[b].level > sim.buffer[b].most:
        sim.buffer[b].most = sim.buffer[b].level
    if sim.buffer[b].waiting > 0:
        push_buffer(sim, b)


# ---- utilities --------------------------------------------------------------------------------------------------

cdef bint suffices(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Whether there is enough of all that the server uses at work."""
    cdef Py_ssize_t k
    cdef Utility* utility
    for k in range(sim.rare_plan[s].use_first, sim.rare_plan[s].use_first + sim.rare_plan[s].n_uses):
        utility = &sim.utility[sim.use[k].buffer]
        if utility.used + sim.use[k].weight > utility.limit * (1.0 + 1e-12):
            return False
    return True


cdef void use(Sim* sim, Py_ssize_t s, int sign) noexcept nogil:
    """Take what the server uses, or give it back: then those who are short of it may begin."""
    cdef Py_ssize_t k
    cdef Utility* utility
    for k in range(sim.rare_plan[s].use_first, sim.rare_plan[s].use_first + sim.rare_plan[s].n_uses):
        utility = &sim.utility[sim.use[k].buffer]
        utility.used += sign * sim.use[k].weight
        if utility.used < 0.0:  # by rounding
            utility.used = 0.0
    sim.server[s].using = sign > 0
    if sign < 0:
        sim.head.relieved = 1


cdef Py_ssize_t longest_short(Sim* sim) noexcept nogil:
    """The server that has been short for longest and for which there is enough now, or -1."""
    cdef Py_ssize_t s, found = -1
    for s in range(sim.n_servers):
        if sim.server[s].hindrances == SHORT and (found < 0 or sim.server[s].since < sim.server[found].since):
            if suffices(sim, s):
                found = s
    return found


cdef void keep_to_limit(Sim* sim, Py_ssize_t u) noexcept nogil:
    """Stop machines that use utility `u` until it suffices, the last one of the list first."""
    cdef Py_ssize_t s, k
    cdef const ServerPlan* plan
    for s in range(sim.n_servers - 1, -1, -1):
        if sim.utility[u].used <= sim.utility[u].limit * (1.0 + 1e-12):
            return
        plan = &sim.server_plan[s]
        if not sim.server[s].using:
            continue
        for k in range(sim.rare_plan[s].use_first, sim.rare_plan[s].use_first + sim.rare_plan[s].n_uses):
            if sim.use[k].buffer == u and sim.use[k].weight > 0.0:
                hinder(sim, s, SHORT, SHORTAGE)
                break


# ---- taking -----------------------------------------------------------------------------------------------------

cdef inline int64_t available(Sim* sim, Py_ssize_t b) noexcept nogil:
    """Parts that a consumer can take now; without places those that blocked producers hold."""
    if sim.buffer[b].capacity == 0:
        return sim.buffer[b].blocked
    return sim.buffer[b].level - (sim.queue[b].n_fresh if sim.n_parts > 0 else 0)


cdef Py_ssize_t taken_input(Sim* sim, Py_ssize_t s) noexcept nogil:
    """First input with enough parts for a machine of rule FIRST, or -1."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Py_ssize_t k
    for k in range(plan.take_first, plan.take_first + plan.n_takes):
        if available(sim, sim.take[k].buffer) >= sim.take[k].amount:
            return k
    return -1


cdef bint enough(Sim* sim, Py_ssize_t s, int64_t parts) noexcept nogil:
    """Whether a batch can begin with so many parts: at least the least, or any after waiting as long as it should."""
    if parts >= sim.server_plan[s].batch_least:
        return True
    return parts > 0 and sim.rare_plan[s].batch_wait < INFINITY and sim.server[s].until <= sim.now


cdef void wait_for_batch(Sim* sim, Py_ssize_t s) noexcept nogil:
    """A batch machine waits: from the first part that it sees on only so long."""
    cdef Server* server = &sim.server[s]
    if server.until < INFINITY or sim.rare_plan[s].batch_wait == INFINITY:
        return
    if available(sim, sim.take[sim.server_plan[s].take_first].buffer) > 0:
        server.until = sim.now + sim.rare_plan[s].batch_wait
        schedule(sim, s)


cdef bint can_take(Sim* sim, Py_ssize_t s) noexcept nogil:
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Py_ssize_t k
    if plan.take_plain >= 0:
        return available(sim, plan.take_plain) > 0
    if sim.n_parts > 0 and sim.recipe_plan[s].n_orders > 0:
        return sim.held[s].order < sim.recipe_plan[s].n_orders
    if plan.batch_most > 1:
        return enough(sim, s, available(sim, sim.take[plan.take_first].buffer))
    if plan.take_rule == FIRST:
        return taken_input(sim, s) >= 0
    for k in range(plan.take_first, plan.take_first + plan.n_takes):
        if available(sim, sim.take[k].buffer) < sim.take[k].amount:
            return False
    return True


cdef inline void pull(Sim* sim, Py_ssize_t b, int amount, Py_ssize_t taker) noexcept nogil:
    """Take parts that are there; blocked producers move up."""
    cdef Py_ssize_t s
    cdef Part part
    cdef int k
    if sim.buffer[b].capacity == 0:
        for k in range(amount):
            s = longest_blocked(sim, b)
            sim.buffer[b].entered += 1
            sim.buffer[b].passed += 1
            if sim.n_parts > 0:
                part = give_part(sim, s)
                append(sim, &sim.held[taker].first, &sim.held[taker].last, &part)
            one_given(sim, s)
        return
    if sim.n_parts > 0:
        for s in range(amount):
            fetch(sim, b, taker)
    change_level(sim, b, -amount)
    if sim.buffer[b].blocked > 0:
        admit(sim, b)


cdef void take(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Take what `can_take` found."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Py_ssize_t k
    cdef int64_t n
    sim.server[s].load = 1
    if plan.take_plain >= 0:
        pull(sim, plan.take_plain, 1, s)
    elif plan.batch_most > 1:
        k = plan.take_first
        n = available(sim, sim.take[k].buffer)
        sim.server[s].until = INFINITY
        sim.server[s].load = <int32_t>(n if n < plan.batch_most else plan.batch_most)
        pull(sim, sim.take[k].buffer, sim.server[s].load, s)
        return
    elif plan.take_rule == FIRST and plan.n_takes > 0:
        k = taken_input(sim, s)
        pull(sim, sim.take[k].buffer, sim.take[k].amount, s)
    else:
        for k in range(plan.take_first, plan.take_first + plan.n_takes):
            pull(sim, sim.take[k].buffer, sim.take[k].amount, s)
    if sim.n_parts > 0:
        if plan.n_takes == 0:
            create(sim, s)
        else:
            make_one(sim, s)


cdef inline void begin(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The parts are on the machine, which nothing hinders: work begins, or the changeover before it."""
    if sim.n_parts > 0 and set_up(sim, s):
        return
    work(sim, s)


cdef inline void work(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Draw the cycle time and begin."""
    start(sim, s, recipe_time(sim, s) if sim.n_parts > 0 else cycle_time(sim, s))
    if sim.rare_plan[s].furnace >= 0:
        heat(sim, s)


cdef inline void start(Sim* sim, Py_ssize_t s, double left) noexcept nogil:
    """A cycle of `left` seconds begins on a server that did something else until now."""
    cdef Server* server = &sim.server[s]
    server.phase = WORK
    if server.shown != BUSY:
        show(sim, s, BUSY)
    begin_cycle(sim, s, left)


cdef inline void begin_cycle(Sim* sim, Py_ssize_t s, double left) noexcept nogil:
    """When the cycle ends; a failure may come before."""
    cdef Server* server = &sim.server[s]
    cdef double time = sim.now + left, until_failure = server.working_due - server.worked
    server.left = left
    if until_failure >= left and server.anytime_due >= time:
        server.event = FINISH
        if bits_of(left) == sim.usual:
            set_due_last(&sim.agenda, s, &server.listed, time)
        else:
            set_due(&sim.agenda, s, &server.listed, time)
        return
    server.event = FAIL_WORKING
    if until_failure < left:
        time = sim.now + (until_failure if until_failure > 0.0 else 0.0)
    if server.anytime_due < time:
        time = server.anytime_due
        server.event = FAIL_ANYTIME
    set_due(&sim.agenda, s, &server.listed, time)


cdef inline double cycle_time(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Of a server whose parts are not followed."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    if plan.fixed >= 0.0:
        return plan.fixed
    if plan.fixed > -INFINITY:
        return -plan.fixed * exponential(&sim.streams[CYCLES * sim.n_servers + s], sim.layers)
    return draw(sim, s, plan.cycle, CYCLES)


cdef inline void start_plain(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Begin where parts are not followed."""
    start(sim, s, cycle_time(sim, s))


cdef bint maintenance_due(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Begin a maintenance job that is due; the server is empty."""
    cdef Py_ssize_t m
    for m in range(sim.rare_plan[s].mode_first, sim.rare_plan[s].mode_first + sim.rare_plan[s].n_modes):
        if (sim.mode_plan[m].kind == MAINTAIN_WORKING and sim.mode_due[m] <= sim.server[s].worked) or (
            sim.mode_plan[m].kind == MAINTAIN_ANYTIME and sim.mode_due[m] <= sim.now
        ) or (sim.mode_plan[m].kind == ON_CONDITION and asked_for(sim, m) and someone_free(sim, m)):
            break_down(sim, s, m)
            return True
    return False


cdef inline void try_take(Sim* sim, Py_ssize_t s) noexcept nogil:
    """An empty server that nothing hinders begins, or waits for parts."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Server* server = &sim.server[s]
    if plan.asks:
        if maintenance_due(sim, s):
            return
        if sim.rare_plan[s].calendar >= 0 and sim.server[sim.n_servers + sim.rare_plan[s].calendar].shown == OFF:
            hinder(sim, s, OFF_SHIFT, OFF)
            return
    if can_take(sim, s):
        if plan.asks and sim.rare_plan[s].n_uses > 0:
            if not suffices(sim, s):
                hinder(sim, s, SHORT, SHORTAGE)
                return
            use(sim, s, 1)
        take(sim, s)
        if sim.n_quality == 0 or not refuse(sim, s):
            begin(sim, s)
        return
    enlist(sim, s, TAKING)
    show(sim, s, STARVED)
    server.until = INFINITY
    if plan.sleep_after < INFINITY:
        server.until = sim.now + plan.sleep_after
        if plan.sleep_after <= 0.0:
            fall_asleep(sim, s)
            return
    schedule(sim, s)
    if plan.asks:
        wait_for_batch(sim, s)
        if sim.rare_plan[s].furnace >= 0:
            heat(sim, s)


cdef void wake(Sim* sim, Py_ssize_t b) noexcept nogil:
    """Consumers that wait for parts of `b` begin, in the order of the list, as long as there are parts."""
    cdef const BufferPlan* plan = &sim.buffer_plan[b]
    cdef Buffer* buffer = &sim.buffer[b]
    cdef Py_ssize_t k, s = buffer.only_taker
    cdef Server* server
    if s >= 0 and buffer.level > 0:
        server = &sim.server[s]
        if sim.server_plan[s].take_plain == b and server.hindrances == 0:  # the usual case written out
            buffer.waiting = 0
            server.enlisted = NOWHERE
            server.load = 1
            buffer.area += sim.now
            buffer.level -= 1
            if buffer.blocked > 0:
                admit(sim, b)
            start_plain(sim, s)
            return
    for k in range(plan.consumer_first, plan.consumer_first + plan.n_consumers):
        s = sim.consumers[k]
        server = &sim.server[s]
        if server.enlisted != TAKING:
            continue
        if server.hindrances & ASLEEP:
            if available(sim, b) >= sim.rare_plan[s].wake_at:
                warm_up(sim, s)
        elif can_take(sim, s):
            delist(sim, s)
            try_take(sim, s)
        elif sim.server_plan[s].batch_most > 1:
            wait_for_batch(sim, s)
        if sim.buffer[b].waiting == 0 or available(sim, b) == 0:
            return
