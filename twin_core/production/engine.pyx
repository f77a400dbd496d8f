"""Event kernel: servers take parts from buffers, work on them and give them on; they fail, wait for crews, sleep.

Times in seconds. A machine with several slots is as many servers; a source is a server that takes nothing. A server has
a phase (EMPTY, SETUP, WORK, DONE) and a set of hindrances (DOWN, OFF_SHIFT, SHORT, ASLEEP): it takes, works and gives
only while nothing hinders it. The state that the ledger counts follows from both, so it is one at any time.

Conventions: blocking after service; a finished part goes into a buffer with a place or, where the capacity is 0,
straight to a consumer that waits and can begin; an assembly takes all its parts at the same time; of several waiting
consumers the first of the list is served, of several blocked producers the one that is blocked longest; of events at
the same time the one of the lowest row comes first; a run to T handles the events before T, those at T come later.

The plan is constant and shared. All that changes stands in one block of bytes without pointers, so that a copy of the
block is a copy of the factory: snapshot, restore and fork are copies, and a replication is a copy run with streams of
its own.
"""

from libc.math cimport INFINITY, NAN, floor, isnan
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from uem.twin_core.production.agenda cimport Agenda, set_due, time_of
from uem.twin_core.production.laws cimport Law, sample
from uem.twin_core.production.streams cimport Stream, Ziggurat, exponential_layers, seed_stream, uniform
from uem.twin_core.production.laws import LAW

cdef enum Shown:
    OFF
    SLEEPING
    WARMING
    STARVED
    SETTING_UP
    BUSY
    BLOCKED
    REPAIRED
    WAITING
    MAINTAINED
    SHORTAGE
    N_SHOWN

STATES = (
    "off", "sleeping", "warming_up", "starved", "setup", "busy", "blocked", "down", "waiting_for_crew", "maintenance",
    "short",
)

cdef enum Phase:
    EMPTY
    SETUP
    WORK
    DONE

cdef enum Hindrance:
    DOWN = 1
    OFF_SHIFT = 2
    SHORT = 4
    ASLEEP = 8

cdef enum Event:
    NOTHING
    FINISH
    READY  # set up
    FAIL_WORKING
    FAIL_ANYTIME
    REPAIR_END
    FALL_ASLEEP
    AWAKE
    SWITCH  # of a calendar: a row behind those of the servers
    RIPE  # a part of a buffer can be taken, or is too old: a row behind those of the calendars

cdef enum Enlisted:
    NOWHERE
    TAKING  # in `waiting` of the buffers that it takes from
    GIVING  # in `blocked` of the buffers that it gives to

cdef enum TakeRule:
    ALL  # one kit: the amount of every input at the same time
    FIRST  # the first input of the list that has enough

cdef enum GiveRule:
    SPLIT  # the amount of every output at the same time
    CHANCE  # one output, drawn by weight when the part is finished
    FIRST_FREE  # the first output of the list that has a place
    SHORTEST  # the output with the fewest parts; of equal ones the first

cdef enum ModeKind:
    WORKING  # ages while the machine works
    ANYTIME  # ages by the clock, except while the machine is down
    MAINTAIN_WORKING  # due by worked time, done when the machine has no part
    MAINTAIN_ANYTIME  # due by the clock, done when the machine has no part

cdef enum:
    SINK_ = -2
    NOTHING_NEEDED_ = -2


cdef enum Purpose:
    CYCLES
    FAILURES
    REPAIRS
    ROUTES
    N_PURPOSES

cdef enum Fault:
    FINE
    TOO_MANY_AT_ONCE  # an endless chain of events at one instant
    TOO_MANY_PARTS  # more than there is room for

# Events at the same instant after which a run gives up.
cdef int64_t AT_ONCE = 10_000_000


# What every event touches stands first, in one line of the cache; both structures fill two lines.
cdef struct ServerPlan:
    double sleep_after  # idle seconds until it falls asleep; inf: never
    double fixed  # the cycle time where it is always the same, or -1
    int32_t take_plain  # the buffer from which it takes one part, NOTHING_NEEDED, or -1
    int32_t give_plain  # the buffer to which it gives one part, SINK where parts leave the factory, or -1
    int32_t cycle  # law
    int32_t maintained  # whether one of its modes is maintenance
    int32_t take_first
    int32_t n_takes
    int32_t take_rule
    int32_t give_first
    int32_t n_gives
    int32_t give_rule
    int32_t batch_least
    int32_t batch_most  # > 1: a batch machine; it has one input and the parts stay parts

    int32_t mode_first
    int32_t n_modes
    int32_t warm_up  # law, or -1
    int32_t wake_at  # parts that wake it
    int32_t calendar  # or -1
    int32_t loses  # what finds no place is lost (a source); else it is blocked
    int32_t pauses  # at the end of the shift: 1 work stops and goes on later, 0 the part is finished first
    int32_t use_first
    double scrap  # probability that a finished part is thrown away
    int32_t n_uses
    int32_t spare[5]

cdef struct Link:
    double weight
    int32_t buffer  # -1: out of the factory
    int32_t amount

cdef struct BufferPlan:
    int32_t consumer_first
    int32_t n_consumers
    int32_t producer_first
    int32_t n_producers

cdef struct ModePlan:
    int32_t kind
    int32_t to_fail  # law
    int32_t to_repair  # law
    int32_t crew_first  # crews that can do it, in the order in which they are asked
    int32_t n_crews  # 0: repair begins at once
    int32_t priority  # of equal priority: first broken, first repaired

cdef struct CrewPlan:
    int32_t workers
    int32_t calendar  # or -1

cdef struct CalendarPlan:
    double period
    int32_t first  # of its switching times in the table
    int32_t n

cdef struct Head:
    double now
    double began  # of the ledger
    int64_t events
    int64_t fault
    int64_t n_stack
    int64_t awake  # whether unknown residual times were drawn
    int64_t relieved  # whether a utility was given back
    int64_t free_part  # first of the list of free places, or -1
    int64_t flows  # parts delivered, where they are followed
    double flow_s  # sum of the times from their birth

cdef struct Server:
    double since  # when the shown state began, or the cycle
    double left  # work or setup left at that moment; NaN: not known, to be drawn
    double worked  # operating time until that moment
    double working_due  # operating time at which the next failure of that kind falls
    double anytime_due  # the moment of the next failure by the clock
    int64_t made  # finished parts, scrap included
    int32_t load  # parts in work or finished on it
    int32_t way  # output drawn for the finished part, or -1
    int8_t shown
    int8_t phase
    int8_t hindrances
    int8_t event
    int8_t enlisted
    int8_t queued  # on the stack
    int8_t using  # of utilities
    int8_t spare

    double until  # end of repair, warm-up, or the moment to fall asleep
    int64_t scrapped
    int64_t lost
    int64_t delivered  # parts that left the factory from here
    int64_t failures
    int32_t working_mode
    int32_t anytime_mode
    int32_t mode  # that keeps it down, or -1
    int32_t crew  # that repairs it, or -1
    int64_t more

cdef struct Buffer:
    double area  # integral of the level since the ledger began, without level * now: each change counts its moment
    int64_t level
    int64_t capacity  # UNLIMITED: as many as come
    int64_t entered
    int64_t passed  # of them: parts that did not wait at all
    int64_t most
    int32_t waiting
    int32_t blocked
    int32_t queued
    int32_t spare

cdef struct Crew:
    int32_t free
    int32_t waiting
    int32_t off  # shift

cdef struct Utility:
    double limit
    double used

# Only where parts are followed: what a factory with orders, or with buffers that are more than places, needs.
cdef struct RecipePlan:  # of a server
    double busy_w
    int32_t cycles  # its law for product 0 in `product_laws`
    int32_t changeovers  # seconds from product 0 to product 0 in the table, or -1
    int32_t first_order  # that it releases
    int32_t n_orders
    int32_t arrives  # parts are born when they leave it, not when it begins them
    int32_t spare

cdef struct QueuePlan:  # of a buffer
    double delay  # until a part can be taken
    double longest  # after which it is thrown away, or inf
    int32_t order  # QueueOrder
    int32_t timer  # its row behind those of the calendars, or -1

cdef struct OrderPlan:
    double release
    int32_t product
    int32_t quantity
    int32_t priority
    int32_t spare

cdef struct Part:
    double born
    double entered  # the buffer
    int32_t next  # in its list, or -1
    int32_t order  # or -1
    int32_t product
    int32_t priority

cdef struct Held:  # parts on a server
    int32_t first
    int32_t last
    int32_t product  # that it is set up for, or -1
    int32_t order  # that it releases next
    int64_t released  # parts of that order

cdef struct Queue:  # parts in a buffer
    int32_t first
    int32_t last
    int32_t fresh  # first one that cannot be taken yet, or -1
    int32_t n_fresh
    int64_t aged  # parts thrown away

cdef struct Order:
    double finished  # inf: not yet
    double energy_j  # of the work on its parts
    int64_t left  # parts that have neither been delivered nor thrown away

cdef enum QueueOrder:
    FIFO
    LIFO
    PRIORITY

# What the kernel works on: pointers into plan and block.
cdef struct Sim:
    const ServerPlan* server_plan
    const BufferPlan* buffer_plan
    const Link* take
    const Link* give
    const ModePlan* mode_plan
    const CrewPlan* crew_plan
    const CalendarPlan* calendar_plan
    const Link* use
    const RecipePlan* recipe_plan
    const QueuePlan* queue_plan
    const OrderPlan* order_plan
    const int32_t* product_laws
    const int32_t* consumers
    const int32_t* producers
    const int32_t* mode_crews
    const Law* laws
    const double* table
    const Ziggurat* layers
    Py_ssize_t n_servers
    Py_ssize_t n_buffers
    Py_ssize_t n_crews
    Py_ssize_t n_modes
    Py_ssize_t n_calendars
    Py_ssize_t n_utilities
    Py_ssize_t n_orders
    Py_ssize_t n_products
    Py_ssize_t n_parts  # room for so many; 0: parts are counted, not followed
    Held* held
    Queue* queue
    Order* order
    Part* part
    Head* head
    Server* server
    Buffer* buffer
    Crew* crew
    Utility* utility
    double* mode_due  # (n_modes,)
    # (n_servers, N_SHOWN) seconds by state; of BUSY minus the operating time at which the ledger began
    double* spent
    Stream* streams  # (n_servers, N_PURPOSES)
    int32_t* stack
    Agenda agenda
    double now


# ---- small acts -------------------------------------------------------------------------------------------------

cdef inline double draw(Sim* sim, Py_ssize_t s, int law, int purpose) noexcept nogil:
    return sample(&sim.laws[law], sim.table, &sim.streams[s * N_PURPOSES + purpose], sim.layers)


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
    if not sim.buffer[b].queued:
        sim.buffer[b].queued = 1
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
    set_due(&sim.agenda, s, time if time > sim.now else sim.now)


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


cdef Part take_first(Sim* sim, int32_t* first, int32_t* last) noexcept nogil:
    """The record at the beginning of a list, which leaves it."""
    cdef Part part
    cdef int32_t p = first[0]
    if p < 0:  # only after TOO_MANY_PARTS
        part.born = sim.now
        part.entered = sim.now
        part.order = part.next = -1
        part.product = part.priority = 0
        return part
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


cdef void deliver(Sim* sim, const Part* part) noexcept nogil:
    sim.head.flows += 1
    sim.head.flow_s += sim.now - part.born
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
    set_due(&sim.agenda, row, time)


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
    cdef Part part
    part.born = sim.now
    part.entered = sim.now
    part.next = part.order = -1
    part.product = part.priority = 0
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
    """The parts of an assembly become one, like the first of them."""
    cdef Held* held = &sim.held[s]
    cdef Part first = take_first(sim, &held.first, &held.last)
    while held.first >= 0:
        take_first(sim, &held.first, &held.last)
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
        done(sim, &part)
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
    return True


cdef double recipe_time(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Cycle time of the part on the server; an order that is not released yet is waited for."""
    cdef const RecipePlan* plan = &sim.recipe_plan[s]
    cdef int32_t p = sim.held[s].first
    cdef double left, wait
    if p < 0:
        return draw(sim, s, sim.server_plan[s].cycle, CYCLES)
    left = draw(sim, s, sim.product_laws[plan.cycles + sim.part[p].product], CYCLES)
    if sim.part[p].order < 0:
        return left
    if plan.n_orders > 0:
        wait = sim.order_plan[sim.part[p].order].release - sim.now
        return left + wait if wait > 0.0 else left
    sim.order[sim.part[p].order].energy_j += left * plan.busy_w
    return left


# ---- giving -----------------------------------------------------------------------------------------------------

cdef inline void enter(Sim* sim, Py_ssize_t b, int amount) noexcept nogil:
    """Parts come into a buffer that has a place; consumers that wait may begin."""
    cdef Buffer* buffer = &sim.buffer[b]
    change_level(sim, b, amount)
    buffer.entered += amount
    if buffer.waiting > 0:
        wake(sim, b)
        if buffer.level == 0:
            buffer.passed += amount
    if buffer.level > buffer.most:
        buffer.most = buffer.level


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
    if plan.n_gives == 0:
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


cdef void draw_way(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Choose the output of the next finished part where chance does."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Py_ssize_t k
    cdef double u
    sim.server[s].way = -1
    if plan.give_rule != CHANCE:
        return
    u = uniform(&sim.streams[s * N_PURPOSES + ROUTES])
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
    # A consumer of a buffer without places takes from the blocked server; one that sleeps may wake.
    for k in range(plan.give_first, plan.give_first + plan.n_gives):
        if server.enlisted == GIVING and sim.give[k].buffer >= 0 and sim.buffer[sim.give[k].buffer].waiting > 0:
            wake(sim, sim.give[k].buffer)
    if plan.loses and server.enlisted == GIVING:
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
            done(sim, &part)


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
    if sim.buffer_plan[b].n_producers == 1:
        s = sim.producers[sim.buffer_plan[b].producer_first]
        if sim.server_plan[s].give_plain == b:  # the usual case written out
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
        if plan.give_rule == SPLIT:
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
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Py_ssize_t k
    cdef Utility* utility
    for k in range(plan.use_first, plan.use_first + plan.n_uses):
        utility = &sim.utility[sim.use[k].buffer]
        if utility.used + sim.use[k].weight > utility.limit * (1.0 + 1e-12):
            return False
    return True


cdef void use(Sim* sim, Py_ssize_t s, int sign) noexcept nogil:
    """Take what the server uses, or give it back: then those who are short of it may begin."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Py_ssize_t k
    cdef Utility* utility
    for k in range(plan.use_first, plan.use_first + plan.n_uses):
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
        for k in range(plan.use_first, plan.use_first + plan.n_uses):
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


cdef bint can_take(Sim* sim, Py_ssize_t s) noexcept nogil:
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Py_ssize_t k
    if plan.take_plain >= 0:
        return available(sim, plan.take_plain) > 0
    if sim.n_parts > 0 and sim.recipe_plan[s].n_orders > 0:
        return sim.held[s].order < sim.recipe_plan[s].n_orders
    if plan.batch_most > 1:
        return available(sim, sim.take[plan.take_first].buffer) >= plan.batch_least
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
    if sim.buffer[b].capacity == 0:
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
    cdef const ServerPlan* plan = &sim.server_plan[s]
    if sim.n_parts > 0:
        start(sim, s, recipe_time(sim, s))
    else:
        start(sim, s, plan.fixed if plan.fixed >= 0.0 else draw(sim, s, plan.cycle, CYCLES))


cdef inline void start(Sim* sim, Py_ssize_t s, double left) noexcept nogil:
    """A cycle of `left` seconds begins; a failure may come before its end."""
    cdef Server* server = &sim.server[s]
    cdef double time = sim.now + left, until_failure = server.working_due - server.worked
    cdef int event = FINISH
    server.left = left
    server.phase = WORK
    if server.shown != BUSY:
        show(sim, s, BUSY)
    if until_failure < left:
        time = sim.now + (until_failure if until_failure > 0.0 else 0.0)
        event = FAIL_WORKING
    if server.anytime_due < time:
        time = server.anytime_due
        event = FAIL_ANYTIME
    server.event = event
    set_due(&sim.agenda, s, time)


cdef inline void start_plain(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Begin where parts are not followed."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    start(sim, s, plan.fixed if plan.fixed >= 0.0 else draw(sim, s, plan.cycle, CYCLES))


cdef bint maintenance_due(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Begin a maintenance job that is due; the server is empty."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Py_ssize_t m
    for m in range(plan.mode_first, plan.mode_first + plan.n_modes):
        if (sim.mode_plan[m].kind == MAINTAIN_WORKING and sim.mode_due[m] <= sim.server[s].worked) or (
            sim.mode_plan[m].kind == MAINTAIN_ANYTIME and sim.mode_due[m] <= sim.now
        ):
            break_down(sim, s, m)
            return True
    return False


cdef inline void try_take(Sim* sim, Py_ssize_t s) noexcept nogil:
    """An empty server that nothing hinders begins, or waits for parts."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Server* server = &sim.server[s]
    if plan.maintained and maintenance_due(sim, s):
        return
    if plan.calendar >= 0 and sim.server[sim.n_servers + plan.calendar].shown == OFF:
        hinder(sim, s, OFF_SHIFT, OFF)
        return
    if can_take(sim, s):
        if plan.n_uses > 0:
            if not suffices(sim, s):
                hinder(sim, s, SHORT, SHORTAGE)
                return
            use(sim, s, 1)
        take(sim, s)
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


cdef void wake(Sim* sim, Py_ssize_t b) noexcept nogil:
    """Consumers that wait for parts of `b` begin, in the order of the list, as long as there are parts."""
    cdef const BufferPlan* plan = &sim.buffer_plan[b]
    cdef Py_ssize_t k, s
    cdef Server* server
    cdef Buffer* buffer = &sim.buffer[b]
    if plan.n_consumers == 1 and buffer.level > 0:
        s = sim.consumers[plan.consumer_first]
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
            if available(sim, b) >= sim.server_plan[s].wake_at:
                warm_up(sim, s)
        elif can_take(sim, s):
            delist(sim, s)
            try_take(sim, s)
        if sim.buffer[b].waiting == 0 or available(sim, b) == 0:
            return


# ---- sleep ------------------------------------------------------------------------------------------------------

cdef void fall_asleep(Sim* sim, Py_ssize_t s) noexcept nogil:
    sim.server[s].hindrances |= ASLEEP
    sim.server[s].until = INFINITY
    show(sim, s, SLEEPING)
    schedule(sim, s)


cdef void warm_up(Sim* sim, Py_ssize_t s) noexcept nogil:
    cdef Server* server = &sim.server[s]
    delist(sim, s)
    server.until = sim.now + draw(sim, s, sim.server_plan[s].warm_up, ROUTES)
    show(sim, s, WARMING)
    schedule(sim, s)


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


cdef void unhinder(Sim* sim, Py_ssize_t s, int hindrance) noexcept nogil:
    """One hindrance less; without any the server goes on where it was."""
    cdef Server* server = &sim.server[s]
    server.hindrances &= ~hindrance
    if server.hindrances == 0 and server.phase == WORK and sim.server_plan[s].n_uses > 0:
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
    set_due(&sim.agenda, sim.n_servers + c, row.until)


cdef void follow_calendar(Sim* sim, Py_ssize_t c) noexcept nogil:
    """Machines and crews do what the shift that is shown asks of them."""
    cdef bint off = sim.server[sim.n_servers + c].shown == OFF
    cdef Py_ssize_t s
    cdef Server* server
    for s in range(sim.n_servers):
        server = &sim.server[s]
        if sim.server_plan[s].calendar != c:
            continue
        if off and not server.hindrances & OFF_SHIFT:
            # Who does not pause finishes the part first; `try_take` sends it off then.
            if sim.server_plan[s].pauses or server.phase == EMPTY:
                hinder(sim, s, OFF_SHIFT, OFF)
        elif not off and server.hindrances & OFF_SHIFT:
            unhinder(sim, s, OFF_SHIFT)
    for s in range(sim.n_crews):
        if sim.crew_plan[s].calendar == c:
            sim.crew[s].off = off
            if not off and sim.crew[s].waiting > 0:
                next_job(sim, s)


# ---- failures and crews -----------------------------------------------------------------------------------------

cdef void next_failures(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The mode of each kind that is due first."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t m
    server.working_due = INFINITY
    server.anytime_due = INFINITY
    for m in range(plan.mode_first, plan.mode_first + plan.n_modes):
        if sim.mode_plan[m].kind == WORKING and sim.mode_due[m] < server.working_due:
            server.working_due = sim.mode_due[m]
            server.working_mode = <int32_t>m
        elif sim.mode_plan[m].kind == ANYTIME and sim.mode_due[m] < server.anytime_due:
            server.anytime_due = sim.mode_due[m]
            server.anytime_mode = <int32_t>m


cdef inline bint by_clock(int kind) noexcept nogil:
    return kind == ANYTIME or kind == MAINTAIN_ANYTIME


cdef inline bint is_maintenance(int kind) noexcept nogil:
    return kind == MAINTAIN_WORKING or kind == MAINTAIN_ANYTIME


cdef void begin_repair(Sim* sim, Py_ssize_t s, Py_ssize_t m) noexcept nogil:
    cdef Server* server = &sim.server[s]
    server.until = sim.now + draw(sim, s, sim.mode_plan[m].to_repair, REPAIRS)
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
    for k in range(sim.server_plan[s].mode_first, sim.server_plan[s].mode_first + sim.server_plan[s].n_modes):
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
    for k in range(sim.server_plan[s].mode_first, sim.server_plan[s].mode_first + sim.server_plan[s].n_modes):
        if k != m and by_clock(sim.mode_plan[k].kind):
            sim.mode_due[k] += sim.now
    sim.mode_due[m] = draw(sim, s, sim.mode_plan[m].to_fail, FAILURES)
    sim.mode_due[m] += sim.now if by_clock(sim.mode_plan[m].kind) else server.worked
    next_failures(sim, s)
    server.mode = -1
    server.crew = -1
    server.until = INFINITY
    unhinder(sim, s, DOWN)
    if c >= 0:
        sim.crew[c].free += 1
        if sim.crew[c].waiting > 0:
            next_job(sim, c)


# ---- events -----------------------------------------------------------------------------------------------------

cdef void finish_other(Sim* sim, Py_ssize_t s) noexcept nogil:
    """End of a cycle of a server that is not plain."""
    cdef Server* server = &sim.server[s]
    cdef int32_t n
    if server.using:
        use(sim, s, -1)
    if sim.server_plan[s].scrap > 0.0:
        for n in range(server.load):
            if uniform(&sim.streams[s * N_PURPOSES + ROUTES]) < sim.server_plan[s].scrap:
                drop(sim, s, 1)
                server.load -= 1
                server.scrapped += 1
    server.phase = DONE
    server.way = -1
    give_all(sim, s)


cdef inline void next_part(Sim* sim, Py_ssize_t s) noexcept nogil:
    """An empty server that nothing hinders begins, or waits; the usual case of `try_take` is written out."""
    cdef Py_ssize_t b = sim.server_plan[s].take_plain
    cdef Buffer* buffer
    if b >= 0:
        buffer = &sim.buffer[b]
        if buffer.level > 0:
            buffer.area += sim.now
            buffer.level -= 1
            sim.server[s].load = 1
            if buffer.blocked > 0:
                admit(sim, b)
            start_plain(sim, s)
            return
    elif b == NOTHING_NEEDED_:
        sim.server[s].load = 1
        start_plain(sim, s)
        return
    sim.server[s].phase = EMPTY
    try_take(sim, s)


cdef inline void finish(Sim* sim, Py_ssize_t s) noexcept nogil:
    """End of a cycle: the parts leave if they can, the next ones are taken if they are there.

    The usual case is written out: one part from one buffer, worked on, to one buffer with places.
    """
    cdef const ServerPlan* plan = &sim.server_plan[s]
    cdef Server* server = &sim.server[s]
    cdef Buffer* buffer
    cdef Py_ssize_t b = plan.give_plain
    server.worked += sim.now - server.since
    server.since = sim.now
    if b >= 0:
        server.made += 1
        buffer = &sim.buffer[b]
        if buffer.level >= buffer.capacity:
            block(sim, s, b)
            return
        buffer.area -= sim.now
        buffer.level += 1
        buffer.entered += 1
        if buffer.level > buffer.most:
            buffer.most = buffer.level
        if buffer.waiting > 0:
            wake(sim, b)
            buffer.passed += buffer.level == 0
    elif b == SINK_:
        server.made += 1
        server.delivered += 1
    else:
        server.made += server.load
        finish_other(sim, s)
        return
    next_part(sim, s)


cdef void block(Sim* sim, Py_ssize_t s, Py_ssize_t b) noexcept nogil:
    """No place for the one part of a plain server; where the capacity is 0 a consumer that waits takes it at once."""
    cdef Server* server = &sim.server[s]
    server.phase = DONE
    show(sim, s, BLOCKED)
    server.enlisted = GIVING
    sim.buffer[b].blocked += 1
    schedule(sim, s)
    if sim.buffer[b].waiting > 0:
        wake(sim, b)


cdef void handle(Sim* sim, Py_ssize_t s, int event) noexcept nogil:
    """Everything but the end of a cycle."""
    cdef Server* server = &sim.server[s]
    if event == FAIL_WORKING:
        break_down(sim, s, server.working_mode)
    elif event == FAIL_ANYTIME:
        break_down(sim, s, server.anytime_mode)
    elif event == REPAIR_END:
        repaired(sim, s)
    elif event == FALL_ASLEEP:
        fall_asleep(sim, s)
    elif event == AWAKE:
        unhinder(sim, s, ASLEEP)
    elif event == READY:
        work(sim, s)
    elif event == RIPE:
        ripen(sim, server.mode)
    elif event == SWITCH:
        set_switch(sim, s - sim.n_servers, server.until)
        follow_calendar(sim, s - sim.n_servers)


cdef void settle(Sim* sim) noexcept nogil:
    """What follows at the same instant."""
    cdef int32_t x
    cdef Server* server
    cdef Py_ssize_t s
    cdef bint offered = False
    while sim.head.n_stack > 0 or sim.head.relieved:
        if sim.head.relieved and not offered:  # who waits for a utility comes before who gave it back
            s = longest_short(sim)
            if s < 0:
                sim.head.relieved = 0
            else:
                unhinder(sim, s, SHORT)  # now on top of the stack
                offered = True
            continue
        offered = False
        if sim.head.n_stack == 0:
            continue
        sim.head.n_stack -= 1
        x = sim.stack[sim.head.n_stack]
        if x < 0:
            sim.buffer[-1 - x].queued = 0
            if sim.buffer[-1 - x].waiting > 0:
                wake(sim, -1 - x)
            continue
        server = &sim.server[x]
        server.queued = 0
        if server.hindrances or server.enlisted != NOWHERE:
            continue
        if server.phase == EMPTY:
            next_part(sim, x)
        elif server.phase == DONE:
            give_all(sim, x)


cdef void draw_unknown(Sim* sim) noexcept nogil:
    """Residual times that are not known (NaN) are drawn as if they began now; then everyone looks for work."""
    cdef Py_ssize_t s, m
    cdef Server* server
    cdef const ServerPlan* plan
    for s in range(sim.n_servers):
        server = &sim.server[s]
        plan = &sim.server_plan[s]
        for m in range(plan.mode_first, plan.mode_first + plan.n_modes):
            if isnan(sim.mode_due[m]):
                sim.mode_due[m] = draw(sim, s, sim.mode_plan[m].to_fail, FAILURES)
                if by_clock(sim.mode_plan[m].kind):
                    if server.mode < 0:
                        sim.mode_due[m] += sim.now
                else:
                    sim.mode_due[m] += server.worked
        next_failures(sim, s)
        bring_up(sim, s)
        if isnan(server.left):
            server.left = draw(sim, s, plan.cycle, CYCLES) if server.phase == WORK else 0.0
        if isnan(server.until):
            server.until = INFINITY
            if server.hindrances & DOWN and server.shown != WAITING:
                server.until = sim.now + draw(sim, s, sim.mode_plan[server.mode].to_repair, REPAIRS)
        if server.hindrances == 0 and server.phase == WORK and plan.n_uses > 0 and not server.using:
            use(sim, s, 1)  # it was seen at work
        schedule(sim, s)
    for s in range(sim.n_calendars):
        set_switch(sim, s, sim.now)
        follow_calendar(sim, s)
    for s in range(sim.n_servers - 1, -1, -1):  # the stack turns the order round
        server = &sim.server[s]
        if server.hindrances == 0 and server.enlisted == NOWHERE and (server.phase == EMPTY or server.phase == DONE):
            push(sim, s)
    for s in range(sim.n_crews):
        if sim.crew[s].waiting > 0:
            next_job(sim, s)
    sim.head.awake = 1
    settle(sim)


cdef void run_to(Sim* sim, double until) noexcept nogil:
    """Handle every event before `until`."""
    cdef Py_ssize_t s
    cdef double time
    cdef int64_t at_once = 0, events = 0
    sim.now = sim.head.now
    if not sim.head.awake:
        draw_unknown(sim)
    while True:
        s = <Py_ssize_t>sim.agenda.node_row[1]
        time = time_of(sim.agenda.node_due[1])

        if time >= until:
            break
        at_once = (at_once + 1) * (time == sim.now)
        if at_once > AT_ONCE:
            sim.head.fault = TOO_MANY_AT_ONCE
            break
        sim.now = time
        events += 1
        if sim.server[s].event == FINISH:
            finish(sim, s)
        else:
            handle(sim, s, sim.server[s].event)
        if sim.head.n_stack > 0 or sim.head.relieved:
            settle(sim)
        if sim.head.fault:
            break
    sim.now = until
    sim.head.now = until
    sim.head.events += events


cdef void store_new(Sim* sim, Py_ssize_t b) noexcept nogil:
    """A part of no order, seen in a buffer."""
    cdef Part part
    part.born = part.entered = sim.now
    part.next = part.order = -1
    part.product = part.priority = 0
    store(sim, b, &part)


cdef void drop_stored(Sim* sim, Py_ssize_t b) noexcept nogil:
    """A part less was seen in a buffer: the first one is gone."""
    cdef Part part = take_first(sim, &sim.queue[b].first, &sim.queue[b].last)
    if sim.queue[b].first < 0 or sim.queue[b].n_fresh > sim.buffer[b].level - 1:
        sim.queue[b].fresh = sim.queue[b].first
        sim.queue[b].n_fresh = sim.buffer[b].level - 1
    done(sim, &part)
    set_timer(sim, b)


cdef void hold_seen(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The records of a server agree with whether a part was seen on it."""
    cdef Part part
    part.born = part.entered = sim.now
    part.next = part.order = -1
    part.product = part.priority = 0
    while sim.held[s].first >= 0 and sim.server[s].load == 0:
        part = take_first(sim, &sim.held[s].first, &sim.held[s].last)
        done(sim, &part)
    if sim.server[s].load > 0 and sim.held[s].first < 0:
        append(sim, &sim.held[s].first, &sim.held[s].last, &part)


cdef int set_down(Sim* sim, Py_ssize_t s, double left) noexcept nogil:
    """The server is down by its first failure, with a worker if its crews have one; returns the state to show."""
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t m = sim.server_plan[s].mode_first, k
    server.left = NAN
    server.hindrances = DOWN
    server.mode = <int32_t>m
    server.until = sim.now + left
    if sim.mode_plan[m].n_crews == 0:
        return REPAIRED
    for k in range(sim.mode_plan[m].crew_first, sim.mode_plan[m].crew_first + sim.mode_plan[m].n_crews):
        if sim.crew[sim.mode_crews[k]].free > 0:
            sim.crew[sim.mode_crews[k]].free -= 1
            server.crew = sim.mode_crews[k]
            return REPAIRED
    server.until = INFINITY
    change_waiting(sim, m, 1)
    return WAITING


cdef void set_state(Sim* sim, Py_ssize_t s, int phase, bint down, double left) noexcept nogil:
    """Set what a server does, as it was seen from outside."""
    cdef Server* server = &sim.server[s]
    if server.enlisted != NOWHERE:
        delist(sim, s)
    bring_up(sim, s)
    if server.shown == WAITING:
        change_waiting(sim, server.mode, -1)
    if server.crew >= 0:
        sim.crew[server.crew].free += 1
    server.crew = -1
    if server.using:
        use(sim, s, -1)
    server.hindrances = 0
    server.mode = -1
    server.way = -1
    server.until = INFINITY
    server.load = phase != EMPTY
    if sim.n_parts > 0:
        hold_seen(sim, s)
    server.phase = phase
    server.left = left
    show(sim, s, set_down(sim, s, left) if down else shown_of(server))
    sim.head.awake = 0


cdef void clear_ledger(Sim* sim) noexcept nogil:
    """Counts and times begin anew at this moment."""
    cdef Py_ssize_t s
    cdef Server* server
    cdef Buffer* buffer
    sim.head.began = sim.head.now
    sim.head.events = 0
    sim.head.flows = 0
    sim.head.flow_s = 0.0
    memset(sim.spent, 0, sim.n_servers * N_SHOWN * sizeof(double))
    for s in range(sim.n_servers):
        server = &sim.server[s]
        if server.shown == BUSY or server.shown == SETTING_UP:
            bring_up(sim, s)
            sim.spent[s * N_SHOWN + SETTING_UP] = 0.0
        else:  # who waits longest is told by `since`: the time before now is taken off again instead
            sim.spent[s * N_SHOWN + server.shown] = server.since - sim.head.now
        sim.spent[s * N_SHOWN + BUSY] = -server.worked
        server.made = 0
        server.scrapped = 0
        server.lost = 0
        server.delivered = 0
        server.failures = 0
    for s in range(sim.n_buffers):
        buffer = &sim.buffer[s]
        buffer.area = -buffer.level * sim.head.now
        buffer.entered = 0
        buffer.passed = 0
        if sim.n_parts > 0:
            sim.queue[s].aged = 0
        buffer.most = buffer.level


cdef void reseed(Sim* sim, const uint64_t* keys, uint64_t seed, uint64_t replication) noexcept nogil:
    cdef Py_ssize_t s, p
    for s in range(sim.n_servers):
        for p in range(N_PURPOSES):
            seed_stream(&sim.streams[s * N_PURPOSES + p], seed, replication, keys[s] + <uint64_t>p)


# ---- what Python sees -------------------------------------------------------------------------------------------

def _dtype(fields):
    names = {"d": "f8", "q": "i8", "i": "i4", "b": "i1"}
    return np.dtype([(name, names[kind]) for kind, text in fields for name in text.split()], align=True)


SERVER_PLAN = _dtype([
    ("d", "sleep_after fixed"),
    ("i", "take_plain give_plain cycle maintained take_first n_takes take_rule give_first n_gives give_rule"),
    ("i", "batch_least batch_most mode_first n_modes warm_up wake_at calendar loses pauses use_first"),
    ("d", "scrap"),
    ("i", "n_uses spare0 spare1 spare2 spare3 spare4"),
])
LINK = _dtype([("d", "weight"), ("i", "buffer amount")])
BUFFER_PLAN = _dtype([("i", "consumer_first n_consumers producer_first n_producers")])
MODE_PLAN = _dtype([("i", "kind to_fail to_repair crew_first n_crews priority")])
CREW_PLAN = _dtype([("i", "workers calendar")])
CALENDAR_PLAN = _dtype([("d", "period"), ("i", "first n")])
HEAD = _dtype([("d", "now began"), ("q", "events fault n_stack awake relieved free_part flows"), ("d", "flow_s")])
SERVER = _dtype([
    ("d", "since left worked working_due anytime_due"),
    ("q", "made"),
    ("i", "load way"),
    ("b", "shown phase hindrances event enlisted queued using spare"),
    ("d", "until"),
    ("q", "scrapped lost delivered failures"),
    ("i", "working_mode anytime_mode mode crew"),
    ("q", "more"),
])
BUFFER = _dtype([("d", "area"), ("q", "level capacity entered passed most"), ("i", "waiting blocked queued spare")])
CREW = _dtype([("i", "free waiting off")])
UTILITY = _dtype([("d", "limit used")])
RECIPE_PLAN = _dtype([("d", "busy_w"), ("i", "cycles changeovers first_order n_orders arrives spare")])
QUEUE_PLAN = _dtype([("d", "delay longest"), ("i", "order timer")])
ORDER_PLAN = _dtype([("d", "release"), ("i", "product quantity priority spare")])
PART = _dtype([("d", "born entered"), ("i", "next order product priority")])
HELD = _dtype([("i", "first last product order"), ("q", "released")])
QUEUE = _dtype([("i", "first last fresh n_fresh"), ("q", "aged")])
ORDER = _dtype([("d", "finished energy_j"), ("q", "left")])
STREAM = np.dtype([(name, "u8") for name in "abcd"])
SIZES = {
    "server_plan": (SERVER_PLAN.itemsize, sizeof(ServerPlan)),
    "link": (LINK.itemsize, sizeof(Link)),
    "buffer_plan": (BUFFER_PLAN.itemsize, sizeof(BufferPlan)),
    "mode_plan": (MODE_PLAN.itemsize, sizeof(ModePlan)),
    "crew_plan": (CREW_PLAN.itemsize, sizeof(CrewPlan)),
    "calendar_plan": (CALENDAR_PLAN.itemsize, sizeof(CalendarPlan)),
    "head": (HEAD.itemsize, sizeof(Head)),
    "server": (SERVER.itemsize, sizeof(Server)),
    "buffer": (BUFFER.itemsize, sizeof(Buffer)),
    "crew": (CREW.itemsize, sizeof(Crew)),
    "utility": (UTILITY.itemsize, sizeof(Utility)),
    "recipe_plan": (RECIPE_PLAN.itemsize, sizeof(RecipePlan)),
    "queue_plan": (QUEUE_PLAN.itemsize, sizeof(QueuePlan)),
    "order_plan": (ORDER_PLAN.itemsize, sizeof(OrderPlan)),
    "part": (PART.itemsize, sizeof(Part)),
    "held": (HELD.itemsize, sizeof(Held)),
    "queue": (QUEUE.itemsize, sizeof(Queue)),
    "order": (ORDER.itemsize, sizeof(Order)),
    "stream": (STREAM.itemsize, sizeof(Stream)),
}
assert all(ours == theirs for ours, theirs in SIZES.values()), SIZES
N_STATES = N_SHOWN
SINK, NOTHING_NEEDED = SINK_, NOTHING_NEEDED_
UNLIMITED = (1 << 62)
PHASES = {"empty": EMPTY, "setup": SETUP, "work": WORK, "done": DONE}
HINDRANCES = {"down": DOWN, "off_shift": OFF_SHIFT, "short": SHORT, "asleep": ASLEEP}
TAKE_RULES = {"all": ALL, "first": FIRST}
GIVE_RULES = {"split": SPLIT, "chance": CHANCE, "first": FIRST_FREE, "shortest": SHORTEST}
QUEUE_ORDERS = {"fifo": FIFO, "lifo": LIFO, "priority": PRIORITY}
MODE_KINDS = {
    "operating": WORKING, "calendar": ANYTIME, "maintenance": MAINTAIN_WORKING, "maintenance_calendar": MAINTAIN_ANYTIME
}


cdef class Engine:
    """A compiled plan; see plan.py, which fills the arrays."""

    cdef Sim _sim  # pointers of the plan; those of the state are set per call
    cdef object _kept
    cdef uint64_t[::1] _keys
    cdef readonly dict fields  # name -> (offset in the block, dtype, shape)
    cdef readonly Py_ssize_t size  # bytes of a block
    cdef Py_ssize_t _at_head, _at_server, _at_buffer, _at_crew, _at_utility, _at_mode, _at_spent, _at_streams, _at_stack
    cdef Py_ssize_t _at_due, _at_row, _at_held, _at_queue, _at_order, _at_part

    def __init__(self, dict arrays, uint64_t[::1] keys, Py_ssize_t n_products, Py_ssize_t n_parts):
        """`arrays` by name of the plan's fields, of the dtypes above; `keys` (n_servers,) of the random streams.

        n_parts: room for so many parts that are followed; 0: they are only counted.
        """
        self._kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._keys = keys
        cdef Sim* sim = &self._sim
        sim.n_servers = len(arrays["server_plan"])
        sim.n_buffers = len(arrays["buffer_plan"])
        sim.n_crews = len(arrays["crew_plan"])
        sim.n_modes = len(arrays["mode_plan"])
        sim.server_plan = <const ServerPlan*>self._address("server_plan", SERVER_PLAN)
        sim.buffer_plan = <const BufferPlan*>self._address("buffer_plan", BUFFER_PLAN)
        sim.take = <const Link*>self._address("take", LINK)
        sim.give = <const Link*>self._address("give", LINK)
        sim.mode_plan = <const ModePlan*>self._address("mode_plan", MODE_PLAN)
        sim.crew_plan = <const CrewPlan*>self._address("crew_plan", CREW_PLAN)
        sim.n_calendars = len(arrays["calendar_plan"])
        sim.n_utilities = len(arrays["utility"])
        sim.n_orders = len(arrays["order_plan"])
        sim.n_products = n_products
        sim.n_parts = n_parts
        sim.recipe_plan = <const RecipePlan*>self._address("recipe_plan", RECIPE_PLAN)
        sim.queue_plan = <const QueuePlan*>self._address("queue_plan", QUEUE_PLAN)
        sim.order_plan = <const OrderPlan*>self._address("order_plan", ORDER_PLAN)
        sim.product_laws = <const int32_t*>self._address("product_laws", np.dtype("i4"))
        sim.calendar_plan = <const CalendarPlan*>self._address("calendar_plan", CALENDAR_PLAN)
        sim.use = <const Link*>self._address("use", LINK)
        sim.consumers = <const int32_t*>self._address("consumers", np.dtype("i4"))
        sim.producers = <const int32_t*>self._address("producers", np.dtype("i4"))
        sim.mode_crews = <const int32_t*>self._address("mode_crews", np.dtype("i4"))
        sim.laws = <const Law*>self._address("laws", LAW)
        sim.table = <const double*>self._address("table", np.dtype("f8"))
        sim.layers = exponential_layers()
        self._lay_out()

    cdef void* _address(self, str name, dtype) except NULL:
        array = self._kept[name]
        if array.dtype != dtype:
            raise TypeError(f"{name} has dtype {array.dtype}, {dtype} expected")
        if array.size == 0:  # an address is needed, though nothing is read there
            array = self._kept[name] = np.zeros(1, dtype)
        return <void*><Py_ssize_t>array.ctypes.data

    def _lay_out(self):
        """Where everything stands in a block."""
        cdef Py_ssize_t n = self._sim.n_servers, rows, leaves = 1
        rows = n + self._sim.n_calendars
        if self._sim.n_parts > 0:
            rows += int((self._kept["queue_plan"]["timer"] >= 0).sum())
        while leaves < rows:
            leaves *= 2
        self._sim.agenda.leaves = leaves
        parts = [
            ("head", HEAD, (1,)),
            ("node_due", np.dtype("i8"), (2 * leaves,)),
            ("node_row", np.dtype("i4"), (2 * leaves,)),
            ("server", SERVER, (rows,)),
            ("buffer", BUFFER, (self._sim.n_buffers,)),
            ("spent", np.dtype("f8"), (n, N_SHOWN)),
            ("streams", STREAM, (n, N_PURPOSES)),
            ("mode_due", np.dtype("f8"), (self._sim.n_modes,)),
            ("crew", CREW, (self._sim.n_crews,)),
            ("utility", UTILITY, (self._sim.n_utilities,)),
            ("stack", np.dtype("i4"), (n + self._sim.n_buffers,)),
            ("held", HELD, (n if self._sim.n_parts else 0,)),
            ("queue", QUEUE, (self._sim.n_buffers if self._sim.n_parts else 0,)),
            ("order", ORDER, (self._sim.n_orders,)),
            ("part", PART, (self._sim.n_parts,)),
        ]
        self.fields = {}
        cdef Py_ssize_t at = 0
        for name, dtype, shape in parts:
            self.fields[name] = (at, dtype, shape)
            at += (int(np.prod(shape)) * dtype.itemsize + 63) // 64 * 64
        self.size = at
        self._at_head = self.fields["head"][0]
        self._at_due = self.fields["node_due"][0]
        self._at_row = self.fields["node_row"][0]
        self._at_server = self.fields["server"][0]
        self._at_buffer = self.fields["buffer"][0]
        self._at_crew = self.fields["crew"][0]
        self._at_utility = self.fields["utility"][0]
        self._at_mode = self.fields["mode_due"][0]
        self._at_spent = self.fields["spent"][0]
        self._at_streams = self.fields["streams"][0]
        self._at_held = self.fields["held"][0]
        self._at_queue = self.fields["queue"][0]
        self._at_order = self.fields["order"][0]
        self._at_part = self.fields["part"][0]
        self._at_stack = self.fields["stack"][0]

    cdef Sim _on(self, unsigned char* block) noexcept nogil:
        cdef Sim sim = self._sim
        sim.head = <Head*>(block + self._at_head)
        sim.server = <Server*>(block + self._at_server)
        sim.buffer = <Buffer*>(block + self._at_buffer)
        sim.crew = <Crew*>(block + self._at_crew)
        sim.utility = <Utility*>(block + self._at_utility)
        sim.mode_due = <double*>(block + self._at_mode)
        sim.spent = <double*>(block + self._at_spent)
        sim.streams = <Stream*>(block + self._at_streams)
        sim.held = <Held*>(block + self._at_held)
        sim.queue = <Queue*>(block + self._at_queue)
        sim.order = <Order*>(block + self._at_order)
        sim.part = <Part*>(block + self._at_part)
        sim.stack = <int32_t*>(block + self._at_stack)
        sim.agenda.node_due = <int64_t*>(block + self._at_due)
        sim.agenda.node_row = <int32_t*>(block + self._at_row)
        sim.now = sim.head.now
        return sim

    def _check(self, const unsigned char[::1] block):
        if block.shape[0] != self.size:
            raise ValueError(f"a block of {block.shape[0]} bytes, {self.size} expected")

    def view(self, unsigned char[::1] block):
        """The fields of a block as arrays on it."""
        self._check(block)
        whole = np.asarray(block)
        return {
            name: whole[at : at + int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)
            for name, (at, dtype, shape) in self.fields.items()
        }

    def blocks(self, Py_ssize_t n):
        """Room for `n` blocks, shape (n, size), each beginning with a line of the cache."""
        room = np.empty(n * self.size + 63, np.uint8)
        first = -room.ctypes.data % 64
        return room[first : first + n * self.size].reshape(n, self.size)

    def empty(self):
        """A block at time 0: everything empty and in order, nothing drawn yet."""
        block = self.blocks(1)[0]
        block[:] = 0
        view = self.view(block)
        view["node_due"][:] = np.array(np.inf).view(np.int64)  # the pattern of its bits, see agenda.pxd
        view["node_row"][self._sim.agenda.leaves :] = np.arange(self._sim.agenda.leaves)
        view["mode_due"][:] = np.nan
        server = view["server"]
        server["until"] = np.inf
        server["working_due"] = np.inf
        server["anytime_due"] = np.inf
        server["shown"] = STARVED
        for key in ("way", "mode", "crew", "working_mode", "anytime_mode"):
            server[key] = -1
        for key in ("first", "last", "product"):
            view["held"][key] = -1
        for key in ("first", "last", "fresh"):
            view["queue"][key] = -1
        view["order"]["finished"] = np.inf
        view["order"]["left"] = self._kept["order_plan"]["quantity"][: self._sim.n_orders]
        view["part"]["next"] = np.append(np.arange(1, self._sim.n_parts), -1)[: self._sim.n_parts]
        for b in range(self._sim.n_buffers if self._sim.n_parts else 0):
            if self._kept["queue_plan"]["timer"][b] >= 0:
                server["mode"][self._sim.n_servers + self._sim.n_calendars + self._kept["queue_plan"]["timer"][b]] = b
        view["utility"]["limit"] = self._kept["utility"][: self._sim.n_utilities]
        view["crew"]["free"] = self._kept["crew_plan"]["workers"][: self._sim.n_crews]
        return block

    def seed(self, unsigned char[::1] block, uint64_t seed, uint64_t replication):
        """Streams of their own for a replication."""
        self._check(block)
        cdef Sim sim = self._on(&block[0])
        reseed(&sim, &self._keys[0], seed, replication)

    def run(self, unsigned char[::1] block, double until):
        """Handle every event before `until`; the number of a fault, 0 for none."""
        self._check(block)
        cdef Sim sim = self._on(&block[0])
        with nogil:
            run_to(&sim, until)
        return sim.head.fault

    def clear_ledger(self, unsigned char[::1] block):
        """Counts and times begin anew."""
        self._check(block)
        cdef Sim sim = self._on(&block[0])
        clear_ledger(&sim)

    def set_level(self, unsigned char[::1] block, Py_ssize_t b, int64_t level):
        """Set the parts in a buffer; everyone looks for work when the run goes on."""
        self._check(block)
        cdef Sim sim = self._on(&block[0])
        while sim.n_parts > 0 and sim.buffer[b].level > level:
            drop_stored(&sim, b)
            change_level(&sim, b, -1)
        while sim.n_parts > 0 and sim.buffer[b].level < level:
            store_new(&sim, b)
            change_level(&sim, b, 1)
        change_level(&sim, b, level - sim.buffer[b].level)
        if level > sim.buffer[b].most:
            sim.buffer[b].most = level
        sim.head.awake = 0

    def set_limit(self, unsigned char[::1] block, Py_ssize_t u, double limit):
        """Set what utility `u` can give from now on."""
        self._check(block)
        cdef Sim sim = self._on(&block[0])
        sim.utility[u].limit = limit
        keep_to_limit(&sim, u)
        sim.head.relieved = 1
        settle(&sim)

    def set_state(self, unsigned char[::1] block, Py_ssize_t s, str state, double left):
        """Set the state of a server; `left` seconds of its cycle or repair, NaN: to be drawn."""
        self._check(block)
        cdef Sim sim = self._on(&block[0])
        cdef int phase = EMPTY if state == "starved" else DONE if state == "blocked" else WORK
        set_state(&sim, s, phase, state == "down", left)

    def replicate(
        self,
        const unsigned char[::1] start,
        uint64_t seed,
        Py_ssize_t first,
        double warmup,
        const double[::1] ends,
        unsigned char[:, ::1] blocks,
        bint reseeds,
    ):
        """Run copies of `start`, one per row of `blocks`: to `warmup`, a new ledger, and on to each of `ends`.

        `blocks` has shape (replications * ends, size): each end leaves its block there.
        """
        self._check(start)
        cdef Py_ssize_t r, e, n_ends = ends.shape[0], n = blocks.shape[0] // n_ends
        cdef Sim sim
        cdef int64_t fault = 0
        with nogil:
            for r in range(n):
                memcpy(&blocks[r * n_ends, 0], &start[0], self.size)
                sim = self._on(&blocks[r * n_ends, 0])
                if reseeds:
                    reseed(&sim, &self._keys[0], seed, <uint64_t>(first + r))
                if warmup > sim.head.now:
                    run_to(&sim, warmup)
                    clear_ledger(&sim)
                for e in range(n_ends):
                    if e > 0:
                        memcpy(&blocks[r * n_ends + e, 0], &blocks[r * n_ends + e - 1, 0], self.size)
                        sim = self._on(&blocks[r * n_ends + e, 0])
                    run_to(&sim, ends[e])
                    fault |= sim.head.fault
        return fault
