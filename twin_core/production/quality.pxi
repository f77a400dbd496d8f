# Part of engine.pyx, compiled with it: parts that are flawed, and inspections whose results come later.

cdef bint take_out(Sim* sim, Py_ssize_t s, Part* part) noexcept nogil:
    """Whether server `s` takes out a part: it is known to be bad. From then on it counts as found and no longer as flawed."""
    if part.known > sim.now:
        return False
    if part.flaw >= 0:
        sim.quality[part.flaw].found += 1
        if part.known > part.flawed:  # else it was known, by a false alarm, before it was flawed
            sim.quality[part.flaw].until_known += part.known - part.flawed
    else:
        sim.quality[part.inspector].alarms += 1
    part.flaw = -1
    part.known = INFINITY
    part.rejected = sim.quality_plan[s].rejects >= 0
    return True


cdef void inspect(Sim* sim, Py_ssize_t s, Part* part) noexcept nogil:
    """A finished part may be flawed now; where it is inspected a result comes, at once or later."""
    cdef const QualityPlan* plan = &sim.quality_plan[s]
    cdef Stream* stream = &sim.streams[ROUTES * sim.n_servers + s]
    if plan.defects > 0.0 and uniform(stream) < plan.defects and part.flaw < 0:
        part.flaw = <int32_t>s
        part.flawed = sim.now
        sim.quality[s].flawed += 1
    if plan.inspects and uniform(stream) < (plan.finds if part.flaw >= 0 else plan.alarms):
        if sim.now + plan.delay < part.known:
            part.known = sim.now + plan.delay
            part.inspector = <int32_t>s


cdef void judge(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The finished parts of a server, one by one: flawed or not, inspected, thrown away."""
    cdef Server* server = &sim.server[s]
    cdef Part part
    cdef int32_t k, n = server.load
    for k in range(n):
        part = take_first(sim, &sim.held[s].first, &sim.held[s].last)
        inspect(sim, s, &part)
        if take_out(sim, s, &part) and not part.rejected:
            done(sim, &part)
            server.load -= 1
            server.scrapped += 1
        else:
            append(sim, &sim.held[s].first, &sim.held[s].last, &part)


cdef bint refuse(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Parts that were known to be bad when the server took them are not worked on; whether none is left to work on.

    Of a batch those that have an output of their own leave it at its end only.
    """
    cdef Server* server = &sim.server[s]
    cdef Part part
    cdef int32_t k, n = server.load
    cdef bint rejected = False
    if n > 1 and sim.quality_plan[s].rejects >= 0:
        return False
    for k in range(n):
        part = take_first(sim, &sim.held[s].first, &sim.held[s].last)
        if take_out(sim, s, &part):
            sim.quality[s].refused += 1
            rejected = part.rejected
            if not rejected:
                done(sim, &part)
                server.load -= 1
                continue
        append(sim, &sim.held[s].first, &sim.held[s].last, &part)
    if server.load > 0 and not rejected:
        return False
    if server.using:
        use(sim, s, -1)
    server.way = -1
    server.phase = DONE
    give_all(sim, s)
    return True
