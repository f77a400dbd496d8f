# Part of engine.pyx, compiled with it: what a machine's state means for its furnace.

cdef int product_on(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Of the parts on a server, by the first of them."""
    if sim.n_parts > 0 and sim.held[s].first >= 0:
        return sim.part[sim.held[s].first].product
    return 0


cdef void heat(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Tell the furnace of server `s` the state that is shown now; a batch comes in or leaves with it."""
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t f = sim.rare_plan[s].furnace
    cdef bint works = server.phase == WORK
    cdef int mode = UNHEATED, product
    if server.hindrances == 0:
        mode = RECIPE if works else STANDBY
    elif server.hindrances == ASLEEP and server.until < INFINITY:
        mode = STANDBY
    if sim.heating.state[f].parts > 0 and not works:
        unload(&sim.heating, f, sim.now)
    elif sim.heating.state[f].parts == 0 and works:
        product = product_on(sim, s)
        load(&sim.heating, f, sim.now, server.load, product, recipe_seconds(&sim.heating, f, product) - server.left)
    set_mode(&sim.heating, f, sim.now, mode, server.shown)


cdef void heat_seen(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The state was seen from outside; of a batch whose rest is not known the whole recipe is to come."""
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t f = sim.rare_plan[s].furnace
    cdef double seconds
    if server.phase == WORK:
        seconds = recipe_seconds(&sim.heating, f, product_on(sim, s))
        if isnan(server.left):
            server.left = seconds
        if sim.heating.state[f].parts != server.load and sim.heating.state[f].parts > 0:
            unload(&sim.heating, f, sim.now)  # it was another batch
        if sim.heating.state[f].parts > 0:
            set_position(&sim.heating, f, sim.now, seconds - server.left)
    heat(sim, s)
