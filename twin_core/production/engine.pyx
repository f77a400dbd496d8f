"""Event kernel: servers take parts from buffers, work on them and give them on; they fail, wait for crews, sleep.

Times in seconds. A machine with several slots is as many servers; a source is a server that takes nothing. A server has
a phase (EMPTY, SETUP, WORK, DONE) and a set of hindrances (DOWN, OFF_SHIFT, SHORT, ASLEEP): it takes, works and gives
only while nothing hinders it. The state that the ledger counts follows from both, so it is one at any time.

Conventions: blocking after service; a finished part goes into a buffer with a place or, where the capacity is 0,
straight to a consumer that waits and can begin; an assembly takes all its parts at the same time; of several waiting
consumers the first of the list is served, of several blocked producers the one that is blocked longest; of events at
the same time ends of the usual fixed cycle come first, in the order in which the cycles began, then the others, the
lowest row first; a run to T handles the events before T, those at T come later.

The plan is constant and shared. All that changes stands in one block of bytes without pointers, so that a copy of the
block is a copy of the factory: snapshot, restore and fork are copies, and a replication is a copy run with streams of
its own.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, NAN, floor, isnan
from libc.stdint cimport int8_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from uem.twin_core.production.agenda cimport (
    NEVER, UNLISTED, Agenda, Due, bits_of, prefetch, rarely, queue_is_next, set_due, set_due_last, time_of
)
from uem.twin_core.production.heating cimport (
    N_ROWS, NODES, N_SUMS, RECIPE, STANDBY, UNHEATED, Body, FurnacePlan, FurnaceState, SegmentPlan, clear_sums, follow_scans,
    load, read_out, recipe_seconds, set_mode, set_position, set_temperatures,
    unload,
)
from uem.twin_core.production.laws cimport Law, sample
from uem.twin_core.production.streams cimport Stream, Ziggurat, exponential, exponential_layers, seed_stream, uniform
from uem.twin_core.production.heating import BODY, FURNACE, FURNACE_PLAN, SEGMENT_PLAN
from uem.twin_core.production.laws import LAW
from uem.twin_core.production.state cimport *

STATES = (
    "off", "sleeping", "warming_up", "starved", "setup", "busy", "blocked", "down", "waiting_for_crew", "maintenance",
    "short",
)

# Events without a step of time after which a run gives up, and events after which it listens for signals.
cdef enum:
    AT_ONCE = 10_000_000

# Leaves of the agenda from which on the state does not fit into the nearest cache.
cdef enum:
    MANY = 256

include "lists.pxi"
include "parts.pxi"
include "furnaces.pxi"
include "quality.pxi"
include "moves.pxi"
include "hindrances.pxi"
include "wear.pxi"


# ---- events -----------------------------------------------------------------------------------------------------

cdef void finish_other(Sim* sim, Py_ssize_t s) noexcept nogil:
    """End of a cycle of a server that is not plain."""
    cdef Server* server = &sim.server[s]
    cdef int32_t n
    if server.using:
        use(sim, s, -1)
    if sim.rare_plan[s].scrap > 0.0:
        for n in range(server.load):
            if uniform(&sim.streams[ROUTES * sim.n_servers + s]) < sim.rare_plan[s].scrap:
                drop(sim, s, 1)
                server.load -= 1
                server.scrapped += 1
    if sim.n_quality > 0:
        judge(sim, s)
    server.phase = DONE
    server.way = -1
    if sim.rare_plan[s].furnace >= 0:
        heat(sim, s)
    if sim.n_parts > 0 and sim.recipe_plan[s].takes_first and server.load == 1:
        hand_on(sim, s)
    else:
        give_all(sim, s)


cdef void hand_on(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The usual case of `finish` where parts are followed: the same acts in the same order."""
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t b = sim.give[sim.server_plan[s].give_first].buffer
    cdef Buffer* buffer = &sim.buffer[b]
    cdef Part part
    if not has_place(sim, b, 1):
        give_all(sim, s)
        return
    part = give_part(sim, s)
    store(sim, b, &part)
    change_level(sim, b, 1)
    buffer.entered += 1
    if buffer.level > buffer.most:
        buffer.most = buffer.level
    server.load = 0
    server.phase = EMPTY
    try_take(sim, s)
    if sim.head.fault:  # no room for the part that it begins; where the stack is empty nobody looks at that
        push(sim, s)
    if buffer.waiting > 0:
        wake(sim, b)
        buffer.passed += buffer.level == 0


cdef inline bint take_plain(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The usual case of taking written out: one part from one buffer, or nothing needed. Whether the server has a part."""
    cdef Py_ssize_t b = sim.server_plan[s].take_plain
    cdef Buffer* buffer
    if b < 0:
        return b == NOTHING_NEEDED_
    buffer = &sim.buffer[b]
    if buffer.level <= 0:
        return False
    buffer.area += sim.now
    buffer.level -= 1
    if buffer.blocked > 0:
        admit(sim, b)
    return True


cdef inline void next_part(Sim* sim, Py_ssize_t s) noexcept nogil:
    """An empty server that nothing hinders begins, or waits."""
    if take_plain(sim, s):
        sim.server[s].load = 1
        start_plain(sim, s)
    else:
        try_take(sim, s)


cdef void stand_still(Sim* sim, Py_ssize_t s, int state) noexcept nogil:
    """Until others change that; but failures may come by the clock."""
    show(sim, s, state)
    sim.server[s].event = FAIL_ANYTIME
    set_due(&sim.agenda, s, &sim.server[s].listed, sim.server[s].anytime_due)


cdef void find_part(Sim* sim, Py_ssize_t s) noexcept nogil:
    """A server that has given its part away and for which there is no plain one waits, or does what else it can."""
    cdef const ServerPlan* plan = &sim.server_plan[s]
    sim.server[s].load = 0
    sim.server[s].phase = EMPTY
    if plan.take_plain >= 0 and sim.buffer[plan.take_plain].capacity > 0 and plan.sleep_after == INFINITY:
        sim.server[s].enlisted = TAKING
        sim.buffer[plan.take_plain].waiting += 1
        stand_still(sim, s, STARVED)
    else:
        try_take(sim, s)


cdef inline void go_on(Sim* sim, Py_ssize_t s) noexcept nogil:
    """A server whose one part has left at the end of a cycle begins the next one, or waits."""
    if take_plain(sim, s):
        begin_cycle(sim, s, cycle_time(sim, s))  # it shows that it is busy, and holds one part
    else:
        find_part(sim, s)


cdef inline void finish(Sim* sim, Py_ssize_t s) noexcept nogil:
    """End of a cycle: the parts leave if they can, the next ones are taken if they are there.

    The usual case is written out: one part from one buffer, worked on, to one buffer with places. There the server takes
    its next part before who waits for the last one begins: in step as they are, they then end their cycles in that order.
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
        if plan.take_plain != -1:
            go_on(sim, s)
            if buffer.waiting > 0:
                wake(sim, b)
                buffer.passed += buffer.level == 0
            return
        if buffer.waiting > 0:
            wake(sim, b)
            buffer.passed += buffer.level == 0
        go_on(sim, s)
    elif b == SINK_:
        server.made += 1
        server.delivered += 1
        go_on(sim, s)
    else:
        server.made += server.load
        finish_other(sim, s)


cdef void block(Sim* sim, Py_ssize_t s, Py_ssize_t b) noexcept nogil:
    """No place for the one part of a plain server; where the capacity is 0 a consumer that waits takes it at once."""
    cdef Server* server = &sim.server[s]
    server.phase = DONE
    server.enlisted = GIVING
    sim.buffer[b].blocked += 1
    stand_still(sim, s, BLOCKED)
    if sim.buffer[b].waiting > 0:
        wake(sim, b)


cdef void handle(Sim* sim, Py_ssize_t s, int event) noexcept nogil:
    """Everything but the end of a cycle."""
    cdef Server* server = &sim.server[s]
    if event == FAIL_WORKING:
        fail(sim, s, server.working_mode)
    elif event == FAIL_ANYTIME:
        fail(sim, s, server.anytime_mode)
    elif event == REPAIR_END:
        repaired(sim, s)
    elif event == FALL_ASLEEP:
        if sim.rare_plan[s].batch_wait < INFINITY:
            delist(sim, s)
            try_take(sim, s)
        else:
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
            sim.buffer_queued[-1 - x] = 0
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
        for m in range(sim.rare_plan[s].mode_first, sim.rare_plan[s].mode_first + sim.rare_plan[s].n_modes):
            if isnan(sim.mode_due[m]):
                sim.mode_due[m] = draw_failure(sim, s, m)
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
        if server.hindrances == 0 and server.phase == WORK and sim.rare_plan[s].n_uses > 0 and not server.using:
            use(sim, s, 1)  # it was seen at work
        schedule(sim, s)
        if sim.rare_plan[s].furnace >= 0:
            heat(sim, s)
    for s in range(sim.n_calendars):
        set_switch(sim, s, sim.now)
        follow_calendar(sim, s)
    for s in range(sim.n_servers - 1, -1, -1):  # the stack turns the order round
        server = &sim.server[s]
        if server.hindrances == 0 and server.enlisted == NOWHERE and (server.phase == EMPTY or server.phase == DONE):
            push(sim, s)
    for s in range(sim.n_crews):
        serve(sim, s)
    sim.head.awake = 1
    settle(sim)


cdef inline void bring_near(Sim* sim, Py_ssize_t s) noexcept nogil:
    """Ask for what the end of a cycle touches, before it comes."""
    if s < sim.n_servers:
        prefetch(&sim.server[s])
        prefetch(&sim.streams[CYCLES * sim.n_servers + s])
        prefetch(&sim.buffer[sim.server_plan[s].give_plain])


cdef bint run_some(Sim* sim, double until) noexcept nogil:
    """Handle the events before `until`, at most AT_ONCE of them; whether it stands at `until` now."""
    cdef Py_ssize_t s = 0
    cdef int64_t left = AT_ONCE, end = bits_of(until)
    cdef Agenda agenda = sim.agenda
    cdef int64_t due
    cdef bint queued
    sim.now = sim.head.now
    if not sim.head.awake:
        draw_unknown(sim)
    while True:
        queued = queue_is_next(&agenda)
        if queued:
            due = agenda.queue[agenda.ends[0] & agenda.mask].due
            s = agenda.queue[agenda.ends[0] & agenda.mask].row
        else:
            if rarely(agenda.leaves >= MANY):  # who leads now where the last one was is among the next ones
                bring_near(sim, agenda.node_row[(agenda.leaves + s) >> 6])
            due = agenda.node_due[1]
            s = agenda.node_row[1]
        if due >= end:
            break
        if queued:
            agenda.ends[0] += 1
            sim.server[s].listed = UNLISTED
        sim.now = time_of(due)
        if queued or sim.server[s].event == FINISH:
            finish(sim, s)
        else:
            handle(sim, s, sim.server[s].event)
        if sim.head.n_stack | sim.head.relieved:
            settle(sim)
            if sim.head.fault:
                break
        left -= 1
        if left == 0:
            sim.head.events += AT_ONCE
            if sim.now > sim.head.now:
                sim.head.now = sim.now
                return False
            sim.head.fault = TOO_MANY_AT_ONCE
            left = AT_ONCE
            break
    sim.now = until
    sim.head.now = until
    sim.head.events += AT_ONCE - left
    for s in range(sim.heating.n):
        follow_scans(&sim.heating, s, until)
    return True


cdef int run_to(Sim* sim, double until) except -1 nogil:
    """Handle every event before `until`. A signal whose handler raises stops it between two events."""
    while not run_some(sim, until):
        with gil:
            PyErr_CheckSignals()
    return 0


cdef void store_new(Sim* sim, Py_ssize_t b) noexcept nogil:
    """A part of no order, seen in a buffer."""
    cdef Part part = new_part(sim)
    store(sim, b, &part)


cdef void drop_stored(Sim* sim, Py_ssize_t b) noexcept nogil:
    """A part less was seen in a buffer: the first one is gone."""
    cdef Part part = take_first(sim, &sim.queue[b].first, &sim.queue[b].last)
    if sim.queue[b].first < 0 or sim.queue[b].n_fresh > sim.buffer[b].level - 1:
        sim.queue[b].fresh = sim.queue[b].first
        sim.queue[b].n_fresh = sim.buffer[b].level - 1
    throw_away(sim, &part)
    set_timer(sim, b)


cdef void hold_seen(Sim* sim, Py_ssize_t s) noexcept nogil:
    """The records of a server agree with whether a part was seen on it."""
    cdef Part part
    cdef int32_t p = sim.held[s].first, n = 0
    while p >= 0:
        n += 1
        p = sim.part[p].next
    for n in range(n, sim.server[s].load, -1):
        part = take_first(sim, &sim.held[s].first, &sim.held[s].last)
        throw_away(sim, &part)
    part = new_part(sim)
    for n in range(n, sim.server[s].load):
        append(sim, &sim.held[s].first, &sim.held[s].last, &part)


cdef int set_down(Sim* sim, Py_ssize_t s, double left) noexcept nogil:
    """The server is down by its first failure, with a worker if its crews have one; returns the state to show."""
    cdef Server* server = &sim.server[s]
    cdef Py_ssize_t m = sim.rare_plan[s].mode_first, k
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


cdef void set_state(Sim* sim, Py_ssize_t s, int phase, bint down, double left, int parts) noexcept nogil:
    """Set what a server does, as it was seen from outside; `parts` on it, 0: as many as before, or one."""
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
    if phase == EMPTY:
        server.load = 0
    elif parts > 0:
        server.load = parts
    elif server.load == 0:
        server.load = 1
    if sim.n_parts > 0:
        hold_seen(sim, s)
    server.phase = phase
    server.left = left
    show(sim, s, set_down(sim, s, left) if down else shown_of(server))
    if sim.rare_plan[s].furnace >= 0:
        heat_seen(sim, s)
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
    for s in range(sim.n_modes):
        sim.mode[s].jobs = 0
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
    if sim.n_quality > 0:
        memset(sim.quality, 0, sim.n_quality * sizeof(Quality))
    for s in range(sim.heating.n):
        clear_sums(&sim.heating, s, sim.head.now)


cdef void reseed(Sim* sim, const uint64_t* keys, uint64_t seed, uint64_t replication) noexcept nogil:
    cdef Py_ssize_t s, p
    for s in range(sim.n_servers):
        for p in range(N_PURPOSES):
            seed_stream(&sim.streams[p * sim.n_servers + s], seed, replication, keys[s] + <uint64_t>p)


# ---- what Python sees -------------------------------------------------------------------------------------------

def _dtype(fields):
    names = {"d": "f8", "q": "i8", "i": "i4", "b": "i1"}
    return np.dtype([(name, names[kind]) for kind, text in fields for name in text.split()], align=True)


SERVER_PLAN = _dtype([
    ("d", "sleep_after fixed"),
    ("i", "take_plain give_plain cycle asks take_first n_takes take_rule give_first n_gives give_rule"),
    ("i", "batch_least batch_most"),
])
RARE_PLAN = _dtype([
    ("d", "scrap batch_wait"), ("i", "mode_first n_modes warm_up wake_at calendar loses pauses use_first n_uses furnace")
])
LINK = _dtype([("d", "weight"), ("i", "buffer amount")])
BUFFER_PLAN = _dtype([("i", "consumer_first n_consumers producer_first n_producers")])
MODE_PLAN = _dtype([("i", "kind to_fail to_repair crew_first n_crews priority n_stages stages wear threshold")])
MODE = _dtype([("q", "jobs"), ("i", "stage spare")])
CREW_PLAN = _dtype([("i", "workers calendar")])
CALENDAR_PLAN = _dtype([("d", "period"), ("i", "first n")])
HEAD = _dtype([("d", "now began"), ("q", "events fault n_stack awake relieved free_part flows"), ("d", "flow_s")])
SERVER = _dtype([
    ("d", "since left worked working_due anytime_due"),
    ("q", "made"),
    ("i", "load way"),
    ("b", "shown phase hindrances event enlisted queued using listed"),
    ("d", "until"),
    ("q", "scrapped lost delivered failures"),
    ("i", "working_mode anytime_mode mode crew"),
    ("q", "more"),
])
BUFFER = _dtype([
    ("d", "area"), ("q", "level capacity entered passed most"), ("i", "waiting blocked only_taker only_giver")
])
CREW = _dtype([("i", "free waiting off")])
UTILITY = _dtype([("d", "limit used")])
RECIPE_PLAN = _dtype([("d", "busy_w"), ("i", "cycles changeovers first_order n_orders arrives product takes_first")])
QUEUE_PLAN = _dtype([("d", "delay longest"), ("i", "order timer")])
ORDER_PLAN = _dtype([("d", "release"), ("i", "product quantity priority spare")])
STEP_PLAN = _dtype([("i", "buffer cycle")])
QUALITY_PLAN = _dtype([("d", "defects finds alarms delay"), ("i", "inspects rejects")])
QUALITY = _dtype([("q", "flawed found escaped gone alarms refused"), ("d", "until_known")])
PART = _dtype([
    ("d", "born entered flawed known"), ("i", "flaw inspector step rejected next order product priority")
])
HELD = _dtype([("i", "first last product order"), ("q", "released")])
QUEUE = _dtype([("i", "first last fresh n_fresh"), ("q", "aged")])
ORDER = _dtype([("d", "finished energy_j"), ("q", "left")])
DUE = _dtype([("q", "due row")])
STREAM = np.dtype([(name, "u8") for name in "abcd"])
assert <int>N_ROWS == <int>N_SHOWN
SIZES = {
    "server_plan": (SERVER_PLAN.itemsize, sizeof(ServerPlan)),
    "rare_plan": (RARE_PLAN.itemsize, sizeof(RarePlan)),
    "link": (LINK.itemsize, sizeof(Link)),
    "buffer_plan": (BUFFER_PLAN.itemsize, sizeof(BufferPlan)),
    "mode_plan": (MODE_PLAN.itemsize, sizeof(ModePlan)),
    "mode": (MODE.itemsize, sizeof(Mode)),
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
    "step_plan": (STEP_PLAN.itemsize, sizeof(StepPlan)),
    "quality_plan": (QUALITY_PLAN.itemsize, sizeof(QualityPlan)),
    "quality": (QUALITY.itemsize, sizeof(Quality)),
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
GIVE_RULES = {"split": SPLIT, "chance": CHANCE, "first": FIRST_FREE, "shortest": SHORTEST, "table": TABLE}
QUEUE_ORDERS = {"fifo": FIFO, "lifo": LIFO, "priority": PRIORITY}
MODE_KINDS = {
    "operating": WORKING, "calendar": ANYTIME, "maintenance": MAINTAIN_WORKING, "maintenance_calendar": MAINTAIN_ANYTIME,
    "wear": WEAR_WORKING, "wear_calendar": WEAR_ANYTIME, "condition": ON_CONDITION,
}


def usual_cycle(fixed):
    """The fixed cycle time that most servers have, or -1; of several the shortest."""
    values, counts = np.unique(fixed[fixed > 0.0], return_counts=True)
    return float(values[counts.argmax()]) if len(values) else -1.0


cdef class Engine:
    """A compiled plan; see compile.py, which fills the arrays."""

    cdef Sim _sim  # pointers of the plan; those of the state are set per call
    cdef object _kept
    cdef uint64_t[::1] _keys
    cdef readonly dict fields  # name -> (offset in the block, dtype, shape)
    cdef readonly Py_ssize_t size  # bytes of a block
    cdef Py_ssize_t _at_head, _at_server, _at_buffer, _at_crew, _at_utility, _at_mode, _at_spent, _at_streams, _at_stack
    cdef Py_ssize_t _at_due, _at_row, _at_due_queue, _at_due_ends, _at_buffer_queued
    cdef Py_ssize_t _at_held, _at_queue, _at_order, _at_part, _at_furnace, _at_mode_state, _at_quality

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
        sim.rare_plan = <const RarePlan*>self._address("rare_plan", RARE_PLAN)
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
        sim.stage_laws = <const int32_t*>self._address("stage_laws", np.dtype("i4"))
        sim.n_requests = int((arrays["mode_plan"]["kind"] == ON_CONDITION).sum())
        sim.route = <const int32_t*>self._address("route", np.dtype("i4"))
        sim.step_plan = <const StepPlan*>self._address("step_plan", STEP_PLAN)
        sim.quality_plan = <const QualityPlan*>self._address("quality_plan", QUALITY_PLAN)
        sim.n_quality = len(arrays["quality_plan"])
        sim.layers = exponential_layers()
        sim.usual = bits_of(usual_cycle(self._kept["server_plan"]["fixed"]))
        sim.heating.n = len(arrays["furnace_plan"])
        sim.heating.plan = <const FurnacePlan*>self._address("furnace_plan", FURNACE_PLAN)
        sim.heating.body = <const Body*>self._address("body", BODY)
        sim.heating.segment = <const SegmentPlan*>self._address("segment", SEGMENT_PLAN)
        sim.heating.recipe = <const int32_t*>self._address("furnace_recipe", np.dtype("i4"))
        self._lay_out()

    cdef void* _address(self, str name, dtype) except NULL:
        array = self._kept[name]
        if array.dtype != dtype:
            raise TypeError(f"{name} has dtype {array.dtype}, {dtype} expected")
        # It begins with a line of the cache. An address is needed even where nothing is read.
        room = np.zeros(max(array.size, 1) * dtype.itemsize + 63, np.uint8)
        first = -room.ctypes.data % 64
        kept = room[first : room.size - 63 + first].view(dtype)
        kept[: array.size] = array.ravel()
        self._kept[name] = kept
        return <void*><Py_ssize_t>kept.ctypes.data

    def _lay_out(self):
        """Where everything stands in a block."""
        cdef Py_ssize_t n = self._sim.n_servers, rows, leaves = 1
        rows = n + self._sim.n_calendars
        if self._sim.n_parts > 0:
            rows += int((self._kept["queue_plan"]["timer"] >= 0).sum())
        while leaves < rows:
            leaves *= 2
        self._sim.agenda.leaves = leaves
        self._sim.agenda.mask = leaves - 1
        parts = [
            ("head", HEAD, (1,)),
            ("node_due", np.dtype("u8"), (2 * leaves,)),
            ("node_row", np.dtype("u4"), (2 * leaves,)),
            ("due_queue", DUE, (leaves,)),
            ("due_ends", np.dtype("i8"), (2,)),
            ("server", SERVER, (rows,)),
            ("buffer", BUFFER, (self._sim.n_buffers,)),
            ("spent", np.dtype("f8"), (n, N_SHOWN)),
            ("streams", STREAM, (N_PURPOSES, n)),
            ("mode_due", np.dtype("f8"), (self._sim.n_modes,)),
            ("mode", MODE, (self._sim.n_modes,)),
            ("crew", CREW, (self._sim.n_crews,)),
            ("utility", UTILITY, (self._sim.n_utilities,)),
            ("stack", np.dtype("i4"), (n + self._sim.n_buffers,)),
            ("buffer_queued", np.dtype("i1"), (self._sim.n_buffers,)),
            ("held", HELD, (n if self._sim.n_parts else 0,)),
            ("queue", QUEUE, (self._sim.n_buffers if self._sim.n_parts else 0,)),
            ("order", ORDER, (self._sim.n_orders,)),
            ("part", PART, (self._sim.n_parts,)),
            ("quality", QUALITY, (self._sim.n_quality,)),
            ("furnace", FURNACE, (self._sim.heating.n,)),
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
        self._at_due_queue = self.fields["due_queue"][0]
        self._at_due_ends = self.fields["due_ends"][0]
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
        self._at_mode_state = self.fields["mode"][0]
        self._at_quality = self.fields["quality"][0]
        self._at_furnace = self.fields["furnace"][0]
        self._at_stack = self.fields["stack"][0]
        self._at_buffer_queued = self.fields["buffer_queued"][0]

    cdef Sim _on(self, unsigned char* block) noexcept nogil:
        cdef Sim sim = self._sim
        sim.head = <Head*>(block + self._at_head)
        sim.server = <Server*>(block + self._at_server)
        sim.buffer = <Buffer*>(block + self._at_buffer)
        sim.crew = <Crew*>(block + self._at_crew)
        sim.utility = <Utility*>(block + self._at_utility)
        sim.mode_due = <double*>(block + self._at_mode)
        sim.mode = <Mode*>(block + self._at_mode_state)
        sim.spent = <double*>(block + self._at_spent)
        sim.streams = <Stream*>(block + self._at_streams)
        sim.held = <Held*>(block + self._at_held)
        sim.queue = <Queue*>(block + self._at_queue)
        sim.order = <Order*>(block + self._at_order)
        sim.part = <Part*>(block + self._at_part)
        sim.quality = <Quality*>(block + self._at_quality)
        sim.heating.state = <FurnaceState*>(block + self._at_furnace)
        sim.stack = <int32_t*>(block + self._at_stack)
        sim.buffer_queued = <int8_t*>(block + self._at_buffer_queued)
        sim.agenda.node_due = <uint64_t*>(block + self._at_due)
        sim.agenda.node_row = <uint32_t*>(block + self._at_row)
        sim.agenda.queue = <Due*>(block + self._at_due_queue)
        sim.agenda.ends = <int64_t*>(block + self._at_due_ends)
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
        view["node_due"][:] = NEVER
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
        view["buffer"]["only_taker"] = self._only("take_plain", "consumer")
        view["buffer"]["only_giver"] = self._only("give_plain", "producer")
        view["utility"]["limit"] = self._kept["utility"][: self._sim.n_utilities]
        view["crew"]["free"] = self._kept["crew_plan"]["workers"][: self._sim.n_crews]
        view["furnace"]["ends"] = np.inf
        view["furnace"]["length"] = np.inf
        view["furnace"]["segment"] = -1
        return block

    def _only(self, plain, role):
        """Of each buffer the only server of that role if it is a plain one, or -1."""
        links = self._kept["buffer_plan"][: self._sim.n_buffers]
        alone = links[f"n_{role}s"] == 1
        s = self._kept[f"{role}s"][np.where(alone, links[f"{role}_first"], 0)]
        alone &= self._kept["server_plan"][plain][s] == np.arange(len(links))
        return np.where(alone, s, -1)

    def furnaces(self, const unsigned char[:, :] blocks):
        """What `heating.AT` tells of each furnace in each block; shape (n, furnaces, numbers)."""
        cdef Py_ssize_t r, f, n = self._sim.heating.n
        found = np.empty((blocks.shape[0], n, NODES + 1 + N_SUMS))
        cdef double[:, :, ::1] out = found
        cdef Sim sim
        if n == 0:
            return found
        if blocks.shape[1] != self.size or blocks.strides[1] != 1:
            raise ValueError(f"blocks of {blocks.shape[1]} bytes, {self.size} expected")
        for r in range(blocks.shape[0]):
            sim = self._on(<unsigned char*>&blocks[r, 0])
            for f in range(n):
                read_out(&sim.heating, f, sim.now, &out[r, f, 0])
        return found

    def set_temperatures(self, unsigned char[::1] block, Py_ssize_t f, double chamber, double lining, double load):
        """Set the excesses of furnace `f` over its hall at the block's moment."""
        self._check(block)
        cdef Sim sim = self._on(&block[0])
        set_temperatures(&sim.heating, f, sim.now, chamber, lining, load)

    def seed(self, unsigned char[::1] block, uint64_t seed, uint64_t replication):
        """Streams of their own for a replication."""
        self._check(block)
        cdef Sim sim = self._on(&block[0])
        reseed(&sim, &self._keys[0], seed, replication)

    def run(self, unsigned char[::1] block, double until):
        """Handle every event before `until`; the number of a fault, 0 for none.

        A signal whose handler raises stops it between two events; from there it can run on.
        """
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
        while sim.n_parts > 0 and sim.buffer[b].level < level and sim.head.fault == 0:
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

    def set_state(self, unsigned char[::1] block, Py_ssize_t s, str state, double left, int parts):
        """Set the state of a server; `left` seconds of its cycle or repair, NaN: to be drawn; `parts`, 0: not told."""
        self._check(block)
        cdef Sim sim = self._on(&block[0])
        cdef int phase = EMPTY if state == "starved" else DONE if state == "blocked" else WORK
        set_state(&sim, s, phase, state == "down", left, parts)

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

        `blocks` has shape (replications * ends, size): each end leaves its block there. A signal whose handler raises
        stops it, and what the blocks hold then is of no use.
        """
        self._check(start)
        cdef Py_ssize_t r, e, n_ends = ends.shape[0], n = blocks.shape[0] // n_ends
        cdef Sim sim
        cdef int64_t fault = 0, unheard = 0
        with nogil:
            for r in range(n):
                if unheard >= AT_ONCE:
                    unheard = 0
                    with gil:
                        PyErr_CheckSignals()
                memcpy(&blocks[r * n_ends, 0], &start[0], self.size)
                sim = self._on(&blocks[r * n_ends, 0])
                if reseeds:
                    reseed(&sim, &self._keys[0], seed, <uint64_t>(first + r))
                if warmup > sim.head.now:
                    run_to(&sim, warmup)
                    unheard += sim.head.events
                    clear_ledger(&sim)
                for e in range(n_ends):
                    if e > 0:
                        memcpy(&blocks[r * n_ends + e, 0], &blocks[r * n_ends + e - 1, 0], self.size)
                        sim = self._on(&blocks[r * n_ends + e, 0])
                    run_to(&sim, ends[e])
                    fault |= sim.head.fault
                unheard += sim.head.events
        return fault
