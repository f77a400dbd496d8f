# Part of engine.pyx, compiled with it: wear by stages, and the jobs that it asks for.

cdef double draw_failure(Sim* sim, Py_ssize_t s, Py_ssize_t m) noexcept nogil:
    """Time until mode `m` happens next, or until its wear reaches the next stage; of a job on condition never."""
    cdef const ModePlan* plan = &sim.mode_plan[m]
    if plan.kind == ON_CONDITION:
        return INFINITY
    if plan.n_stages > 0:
        return draw(sim, s, sim.stage_laws[plan.stages + sim.mode[m].stage], FAILURES)
    return draw(sim, s, plan.to_fail, FAILURES)


cdef bint at_hand(const Server* server) noexcept nogil:
    """Whether a job can begin at once: the server waits for parts, or sleeps."""
    return server.phase == EMPTY and (server.hindrances == 0 or server.shown == SLEEPING)


cdef void fail(Sim* sim, Py_ssize_t s, Py_ssize_t m) noexcept nogil:
    """Mode `m` is due: the server breaks down, or is worn one stage more and goes on."""
    cdef Server* server = &sim.server[s]
    if sim.mode[m].stage + 1 >= sim.mode_plan[m].n_stages:
        break_down(sim, s, m)
        return
    bring_up(sim, s)
    sim.mode[m].stage += 1
    sim.mode_due[m] = draw_failure(sim, s, m) + (sim.now if by_clock(sim.mode_plan[m].kind) else server.worked)
    next_failures(sim, s)
    if sim.n_requests > 0 and at_hand(server) and maintenance_due(sim, s):
        return
    schedule(sim, s)


cdef bint asked_for(Sim* sim, Py_ssize_t m) noexcept nogil:
    return sim.mode[sim.mode_plan[m].wear].stage >= sim.mode_plan[m].threshold


cdef bint someone_free(Sim* sim, Py_ssize_t m) noexcept nogil:
    """Whether a worker who can do the job is free, or none is needed."""
    cdef Py_ssize_t k
    cdef const Crew* crew
    for k in range(sim.mode_plan[m].crew_first, sim.mode_plan[m].crew_first + sim.mode_plan[m].n_crews):
        crew = &sim.crew[sim.mode_crews[k]]
        if crew.free > 0 and not crew.off:
            return True
    return sim.mode_plan[m].n_crews == 0


cdef Py_ssize_t request(Sim* sim, Py_ssize_t s, Py_ssize_t c) noexcept nogil:
    """The job of the highest priority that an idle server asks crew `c` for, or -1."""
    cdef Py_ssize_t m, found = -1
    if not at_hand(&sim.server[s]):
        return -1
    for m in range(sim.rare_plan[s].mode_first, sim.rare_plan[s].mode_first + sim.rare_plan[s].n_modes):
        if sim.mode_plan[m].kind != ON_CONDITION or not asked_for(sim, m) or not crew_can(sim, m, c):
            continue
        if found < 0 or sim.mode_plan[m].priority > sim.mode_plan[found].priority:
            found = m
    return found


cdef void serve(Sim* sim, Py_ssize_t c) noexcept nogil:
    """Crew `c` has free workers, perhaps: jobs that wait, then those that idle machines ask for."""
    cdef Py_ssize_t s, m, who, job
    if sim.crew[c].waiting > 0:
        next_job(sim, c)
    while sim.n_requests > 0 and sim.crew[c].free > 0 and not sim.crew[c].off:
        who = job = -1
        for s in range(sim.n_servers):
            m = request(sim, s, c)
            if m < 0:
                continue
            if who < 0 or sim.mode_plan[m].priority > sim.mode_plan[job].priority or (
                sim.mode_plan[m].priority == sim.mode_plan[job].priority and sim.server[s].since < sim.server[who].since
            ):
                who = s
                job = m
        if who < 0:
            return
        break_down(sim, who, job)
