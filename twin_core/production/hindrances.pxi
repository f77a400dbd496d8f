# Part of engine.pyx, compiled with it: what keeps a machine from working: sleep, shifts, failures and the crews that repair them.

# ---- sleep ------------------------------------------------------------------------------------------------------

cdef void fall_asleep(Sim* sim, Py_ssize_t s) noexcept nogil:
    sim.server[s].hindrances |= ASLEEP
    sim.server[s].until = INFINITY
    show(sim, s, SLEEPING)
    schedule(sim, s)
    if sim.rare_plan[s].furnace >= 0:
        heat(sim, s)


cdef void warm_up(Sim* sim, Py_ssize_t s) noexcept nogil:
    cdef Server* server = &sim.server[s]
    delist(sim, s)
    server.until = sim.now + draw(sim, s, sim.rare_plan[s].warm_up, ROUTES)
    show(sim, s, WARMING)
    schedule(sim, s)
    if sim.rare_plan[s].furnace >= 0:
        heat(sim, s)


# ---- hindrances -------------------------------------------------------------------------------------------------

cdef void stop_work(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Keep what is left of work or setup; leave the lists. For a server that nothing hindered until now."""
    bring_up(sim, s)
    if sim.server[s].enlisted != NOWHERE:
        delist(sim, s)


cdef void bring_up(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Make `left` and `worked` of a server at work those of this moment."""
    cdef Server* server = &sim.server[s]
    cdef double dt = sim.now - server.since
    if server.shown == BUSY or server.shown == SETTING_UP:
        server.left -= dt
        if server.left < 0.0:  # by rounding; NaN, not known, stays
            server.left = 0.0
        if server.shown == BUSY:
            server.worked += dt
            server.since = sim.now
        else:
            show(sim, s, SETTING_UP)


cdef void hinder(Sim* sim, Py_ssize_t s, int hindrance, int state) noexcept nogil:
    cdef Server* server = &sim.server[s]
    if server.hindrances == 0:
        stop_work(sim, s)
    elif server.enlisted != NOWHERE:  # asleep
        delist(sim, s)
    if server.using:
        use(sim, s, -1)
    server.hindrances |= hindrance
    show(sim, s, state if hindrance == DOWN else shown_of(server))
    schedule(sim, s)
    if sim.rare_plan[s].furnace >= 0:
        heat(sim, s)


cdef void unhinder(Sim* sim, Py_ssize_t s, int hindrance) noexcept nogil:
    """One hindrance less; without any the server goes on where it was."""
    cdef Server* server = &sim.server[s]
    server.hindrances &= ~hindrance
    if server.hindrances == 0 and server.phase == WORK and sim.rare_plan[s].n_uses > 0:
        if suffices(sim, s):
            use(sim, s, 1)
        else:
            server.hindrances = SHORT
    show(sim, s, shown_of(server))
    if server.hindrances == 0:
        server.until = INFINITY
        if server.phase == EMPTY or server.phase == DONE:
            push(sim, s)
    elif server.hindrances == ASLEEP and server.until == INFINITY:
        server.hindrances = 0  # awake again after a repair: it looks for work first
        show(sim, s, shown_of(server))
        push(sim, s)
    schedule(sim, s)
    if sim.rare_plan[s].furnace >= 0:
        heat(sim, s)


# ---- calendars --------------------------------------------------------------------------------------------------

cdef void set_switch(Sim* sim, Py_ssize_t c, double after) noexcept nogil:
    """Set the row of calendar `c` to its next switch after a moment, and show whether a shift is on."""
    cdef const CalendarPlan* plan = &sim.calendar_plan[c]
    cdef Server* row = &sim.server[sim.n_servers + c]
    cdef double begun = floor(after / plan.period) * plan.period
    cdef Py_ssize_t k = 0
    while True:
        if k == plan.n:
            begun += plan.period
            k = 0
        if begun + sim.table[plan.first + k] > after:
            break
        k += 1
    row.mode = <int32_t>k
    # Even switches begin a shift, so before one there is none. A shift over the border of the period is two that touch.
    row.shown = OFF if k % 2 == 0 else BUSY
    row.event = SWITCH
    row.until = begun + sim.table[plan.first + k]
    set_due(&sim.agenda, sim.n_servers + c, &row.listed, row.until)


cdef void follow_calendar(Sim* sim, Py_ssize_t c) noexcept nogil:
    """Machines and crews do what the shift that is shown asks of them."""
    cdef bint off = sim.server[sim.n_servers + c].shown == OFF
    cdef Py_ssize_t s
    cdef Server* server
    for s in range(sim.n_servers):
        server = &sim.server[s]
        if sim.rare_plan[s].calendar != c:
            continue
        if off and not server.hindrances & OFF_SHIFT:
            # Who does not pause finishes the part first; `try_take` sends it off then.
            if sim.rare_plan[s].pauses or server.phase == EMPTY:
                hinder(sim, s, OFF_SHIFT, OFF)
        elif not off and server.hindrances & OFF_SHIFT:
            unhinder(sim, s, OFF_SHIFT)
    for s in range(sim.n_crews):
        if sim.crew_plan[s].calendar == c:
            sim.crew[s].off = off
            serve(sim, s)


# ---- failures and crews -----------------------------------------------------------------------------------------

cdef void next_failures(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The mode of each kind that is due first."""
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t m
    server.working_due = INFINITY
    server.anytime_due = INFINITY
    for m in range(sim.rare_plan[s].mode_first, sim.rare_plan[s].mode_first + sim.rare_plan[s].n_modes):
        if ages_at_work(sim.mode_plan[m].kind) and sim.mode_due[m] < server.working_due:
            server.working_due = sim.mode_due[m]
            server.working_mode = <int32_t>m
        elif ages_anytime(sim.mode_plan[m].kind) and sim.mode_due[m] < server.anytime_due:
            server.anytime_due = sim.mode_due[m]
            server.anytime_mode = <int32_t>m


cdef inline bint by_clock(int kind) noexcept nogil:
    return kind == ANYTIME or kind == MAINTAIN_ANYTIME or kind == WEAR_ANYTIME


cdef inline bint ages_at_work(int kind) noexcept nogil:
    return kind == WORKING or kind == WEAR_WORKING


cdef inline bint ages_anytime(int kind) noexcept nogil:
    return kind == ANYTIME or kind == WEAR_ANYTIME


cdef inline bint is_maintenance(int kind) noexcept nogil:
    return kind == MAINTAIN_WORKING or kind == MAINTAIN_ANYTIME or kind == ON_CONDITION


cdef void begin_repair(Sim* sim, Py_ssize_t s, Py_ssize_t m) noexcept nogil:
    cdef Server* server = &sim.server[s]
    server.until = sim.now + draw(sim, s, sim.mode_plan[m].to_repair, REPAIRS)
    sim.mode[m].jobs += 1
    show(sim, s, MAINTAINED if is_maintenance(sim.mode_plan[m].kind) else REPAIRED)
    schedule(sim, s)


cdef void break_down(Sim* sim, Py_ssize_t s, Py_ssize_t m) noexcept nogil:
    """The server stops by mode `m`; a free worker of a crew that can do it begins at once."""
    cdef const ModePlan* plan = &sim.mode_plan[m]
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t k, c
    server.until = INFINITY
    server.mode = <int32_t>m
    server.crew = -1
    if not is_maintenance(plan.kind):
        server.failures += 1
    hinder(sim, s, DOWN, WAITING)
    # The clocks of the other modes stand still: what was due at `t` is now a residual time.
    for k in range(sim.rare_plan[s].mode_first, sim.rare_plan[s].mode_first + sim.rare_plan[s].n_modes):
        if k != m and by_clock(sim.mode_plan[k].kind):
            sim.mode_due[k] -= sim.now
    if plan.n_crews == 0:
        begin_repair(sim, s, m)
        return
    for k in range(plan.crew_first, plan.crew_first + plan.n_crews):
        c = sim.mode_crews[k]
        if sim.crew[c].free > 0 and not sim.crew[c].off:
            sim.crew[c].free -= 1
            server.crew = <int32_t>c
            begin_repair(sim, s, m)
            return
    change_waiting(sim, m, 1)


cdef void change_waiting(Sim* sim, Py_ssize_t m, int change) noexcept nogil:
    """Count a job of mode `m` at the crews that can do it."""
    cdef Py_ssize_t k
    for k in range(sim.mode_plan[m].crew_first, sim.mode_plan[m].crew_first + sim.mode_plan[m].n_crews):
        sim.crew[sim.mode_crews[k]].waiting += change


cdef bint crew_can(Sim* sim, Py_ssize_t m, Py_ssize_t c) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(sim.mode_plan[m].crew_first, sim.mode_plan[m].crew_first + sim.mode_plan[m].n_crews):
        if sim.mode_crews[k] == c:
            return True
    return False


cdef void next_job(Sim* sim, Py_ssize_t c) noexcept nogil:
    """A worker of crew `c` is free: the job of the highest priority, of equal ones the one that waits longest."""
    cdef Py_ssize_t s, m, found = -1
    cdef int priority = 0
    cdef Server* server
    while sim.crew[c].waiting > 0 and sim.crew[c].free > 0 and not sim.crew[c].off:
        found = -1
        for s in range(sim.n_servers):
            server = &sim.server[s]
            if server.shown != WAITING or not crew_can(sim, server.mode, c):
                continue
            m = server.mode
            if found < 0 or sim.mode_plan[m].priority > priority or (
                sim.mode_plan[m].priority == priority and server.since < sim.server[found].since
            ):
                found = s
                priority = sim.mode_plan[m].priority
        if found < 0:
            return
        m = sim.server[found].mode
        change_waiting(sim, m, -1)
        sim.crew[c].free -= 1
        sim.server[found].crew = <int32_t>c
        begin_repair(sim, found, m)


cdef void repaired(Sim* sim, Py_ssize_t s) noexcept nogil:
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t m = server.mode, c = server.crew, k
    cdef Py_ssize_t renewed = sim.mode_plan[m].wear if sim.mode_plan[m].kind == ON_CONDITION else m
    for k in range(sim.rare_plan[s].mode_first, sim.rare_plan[s].mode_first + sim.rare_plan[s].n_modes):
        if k != m and by_clock(sim.mode_plan[k].kind):
            sim.mode_due[k] += sim.now
    sim.mode[renewed].stage = 0
    sim.mode_due[renewed] = draw_failure(sim, s, renewed)
    sim.mode_due[renewed] += sim.now if by_clock(sim.mode_plan[renewed].kind) else server.worked
    next_failures(sim, s)
    server.mode = -1
    server.crew = -1
    server.until = INFINITY
    unhinder(sim, s, DOWN)
    if c >= 0:
        sim.crew[c].free += 1
        serve(sim, c)
