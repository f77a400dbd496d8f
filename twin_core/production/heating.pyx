"""Furnaces between events: three heat capacities, solved exactly over scans of constant power.

With x the excess over the hall of chamber (c), lining (l) and load (p), in K, and q the net power into the chamber

    C_c dx_c/dt = q - G_cl (x_c - x_l) - G_cp (x_c - x_p) - G_door x_c
    C_l dx_l/dt =     G_cl (x_c - x_l) - G_wall x_l
    C_p dx_p/dt =     G_cp (x_c - x_p)

In the variables sqrt(C) x the matrix is symmetric and its rates are never positive, so that three modes decay on their
own; states and integrals over any time are closed forms. A controller looks once per scan and keeps the power that
leads the chamber to its target at the end of the scan, within its limits. The exhaust leaves with the mean excess m of
the chamber over the scan as the controller foresees it, so power, flow and temperature of the exhaust are constant over
a scan and their integrals exact; m = a + b q is linear in q, which gives all of them without iteration.

A scan that an event cuts short ends there. What has not been looked at is not computed: `follow_scans` does whole
scans, `read_out` the piece of one on a copy, so that reading changes nothing.
"""

from libc.math cimport INFINITY, expm1, fmax, fmin, isnan
from libc.stdint cimport int32_t

import numpy as np

from uem.twin_core.plant.furnace import MOST_LEVELS
from uem.twin_core.production.bath cimport mean_of_decay, mean_of_mean

# Seconds of a recipe that are none: what rounding leaves of a segment.
cdef double NO_TIME = 1e-9


cdef inline const Body* body_of(const Heating* all, Py_ssize_t f) noexcept nogil:
    cdef const FurnaceState* state = &all.state[f]
    cdef bint door = state.mode == RECIPE and all.segment[state.segment].kind == DOOR
    return &all.body[all.plan[f].bodies + 2 * state.parts + door]


cdef void advances(const Body* body, double h, double scan, double* fade, double* gain, double* twice) noexcept nogil:
    """Of each mode over `h` seconds; changes, not new values, so that what is stored does not drift by rounding."""
    cdef int k
    cdef double z
    for k in range(NODES):
        if h == scan:
            fade[k] = body.fade[k]
            gain[k] = body.gain[k]
            twice[k] = body.twice[k]
        else:
            z = body.rate[k] * h
            fade[k] = expm1(z)
            gain[k] = h * mean_of_decay(z)
            twice[k] = h * h * mean_of_mean(z)


cdef double recipe_seconds(const Heating* all, Py_ssize_t f, int recipe) noexcept nogil:
    cdef const int32_t* row = &all.recipe[2 * (all.plan[f].recipes + recipe)]
    return all.segment[row[0] + row[1] - 1].until


cdef void find_segment(const Heating* all, Py_ssize_t f) noexcept nogil:
    """The segment at the position; where a new one begins the chamber's temperature is its origin."""
    cdef FurnaceState* state = &all.state[f]
    cdef const int32_t* row = &all.recipe[2 * (all.plan[f].recipes + state.recipe)]
    cdef Py_ssize_t k = row[0], last = row[0] + row[1] - 1
    while k < last and all.segment[k].until <= state.position + NO_TIME:
        k += 1
    if k != state.segment:
        state.segment = <int32_t>k
        state.origin = state.x[0]


cdef double target_at_end(const Heating* all, Py_ssize_t f, double position) noexcept nogil:
    """What the recipe asks of the chamber at a position within the present segment."""
    cdef const FurnaceState* state = &all.state[f]
    cdef const SegmentPlan* segment = &all.segment[state.segment]
    cdef Py_ssize_t first = all.recipe[2 * (all.plan[f].recipes + state.recipe)]
    cdef double began
    if segment.kind != RAMP:
        return segment.target
    began = all.segment[state.segment - 1].until if state.segment > first else 0.0
    if position >= segment.until - NO_TIME:
        return segment.target
    return state.origin + (segment.target - state.origin) * (position - began) / (segment.until - began)


cdef void control(
    const Heating* all, Py_ssize_t f, double target, bint heats, bint cools, double free_end, double per_w_end,
    double free_mean, double per_w_mean
) noexcept nogil:
    """Powers of the scan from what the chamber does without power (`free`), and per W, at the end and in the mean."""
    cdef const FurnacePlan* plan = &all.plan[f]
    cdef FurnaceState* state = &all.state[f]
    cdef double vent = plan.kept * plan.vent, fumes = plan.kept * plan.fumes
    cdef double q = (target - free_end) / per_w_end if heats else 0.0
    cdef double m = free_mean + per_w_mean * q
    cdef double wanted = q + vent * m, gain = plan.efficiency - fumes * m
    state.heat = 0.0
    state.cooled = 0.0
    if heats and wanted >= 0.0:
        if wanted <= plan.power * gain:
            state.heat = wanted / gain
        else:
            state.heat = plan.power
            m = (free_mean + per_w_mean * plan.efficiency * plan.power) / (
                1.0 + per_w_mean * (vent + fumes * plan.power)
            )
    else:
        if heats and cools and wanted < 0.0 and m > 0.0:
            state.cooled = fmin(plan.cooling, -wanted / m)
        m = free_mean / (1.0 + per_w_mean * (vent + state.cooled))
    state.chamber = m
    state.exhaust = plan.kept * m
    state.flue = plan.vent + plan.fumes * state.heat
    state.flue_kg = plan.vent_kg + plan.fumes_kg * state.heat
    state.net = plan.efficiency * state.heat - state.flue * state.exhaust - state.cooled * m


cdef void plan_scan(const Heating* all, Py_ssize_t f) noexcept nogil:
    """Length and powers of the scan that begins now."""
    cdef const FurnacePlan* plan = &all.plan[f]
    cdef FurnaceState* state = &all.state[f]
    cdef const Body* body
    cdef double target = plan.standby, h = plan.scan
    cdef bint heats = True, cools = False
    cdef double[3] fade, gain, twice
    cdef double mode, weight, source
    cdef double free_end = state.x[0], per_w_end = 0.0, free_mean = 0.0, per_w_mean = 0.0
    cdef int k
    if state.mode == RECIPE:
        find_segment(all, f)
        if all.segment[state.segment].until - state.position > NO_TIME:  # else the end of the batch, but for rounding
            h = fmin(h, all.segment[state.segment].until - state.position)
        target = target_at_end(all, f, state.position + h)
        heats = all.segment[state.segment].kind != DOOR
        cools = all.segment[state.segment].cools
    elif state.mode == UNHEATED or isnan(target):
        state.heat = state.net = state.flue = state.flue_kg = state.exhaust = state.cooled = state.chamber = 0.0
        state.length = INFINITY
        state.ends = INFINITY
        return
    body = body_of(all, f)
    advances(body, h, plan.scan, fade, gain, twice)
    for k in range(NODES):
        mode = (
            body.turn[3 * k] * body.root[0] * state.x[0]
            + body.turn[3 * k + 1] * body.root[1] * state.x[1]
            + body.turn[3 * k + 2] * body.root[2] * state.x[2]
        )
        weight = body.turn[3 * k] / body.root[0]
        source = weight
        free_end += weight * fade[k] * mode
        per_w_end += weight * gain[k] * source
        free_mean += weight * gain[k] * mode / h
        per_w_mean += weight * twice[k] * source / h
    control(all, f, target, heats, cools, free_end, per_w_end, free_mean, per_w_mean)
    state.length = h
    state.ends = state.began + h


cdef void piece(const Heating* all, Py_ssize_t f, FurnaceState* state, double h) noexcept nogil:
    """Advance `state` by `h` seconds of its scan; it may be a copy."""
    cdef const FurnacePlan* plan = &all.plan[f]
    cdef const Body* body
    cdef double[3] fade, gain, twice, change, integral
    cdef double mode, source, above
    cdef int i, k
    if h <= 0.0:
        return
    body = body_of(all, f)
    advances(body, h, plan.scan, fade, gain, twice)
    for i in range(NODES):
        change[i] = integral[i] = 0.0
    for k in range(NODES):
        mode = (
            body.turn[3 * k] * body.root[0] * state.x[0]
            + body.turn[3 * k + 1] * body.root[1] * state.x[1]
            + body.turn[3 * k + 2] * body.root[2] * state.x[2]
        )
        source = body.turn[3 * k] / body.root[0] * state.net
        for i in range(NODES):
            change[i] += body.turn[3 * k + i] * (fade[k] * mode + gain[k] * source)
            integral[i] += body.turn[3 * k + i] * (gain[k] * mode + twice[k] * source)
    for i in range(NODES):
        state.x[i] += change[i] / body.root[i]
        integral[i] /= body.root[i]
    state.sums[state.row] += state.heat * h
    state.sums[WALLS] += plan.wall * integral[1]
    if state.mode == RECIPE:
        state.position += h
        if all.segment[state.segment].kind == DOOR:
            state.sums[DOORS] += plan.door * integral[0]
    state.sums[FLUE] += state.flue * state.exhaust * h
    state.sums[FLUE_KG] += state.flue_kg * h
    state.sums[COOLED] += state.cooled * state.chamber * h
    for i in range(LEVELS):
        above = state.exhaust - plan.levels[i]
        state.sums[FLUE_ABOVE + i] += state.flue * fmax(above, 0.0) * h
        above = state.chamber - plan.levels[i]
        state.sums[COOLED_ABOVE + i] += state.cooled * fmax(above, 0.0) * h


cdef void follow_scans(const Heating* all, Py_ssize_t f, double now) noexcept nogil:
    """Do the scans that have ended."""
    cdef FurnaceState* state = &all.state[f]
    while state.ends <= now:
        piece(all, f, state, state.length)
        state.began = state.ends
        plan_scan(all, f)


cdef void interrupt(const Heating* all, Py_ssize_t f, double now) noexcept nogil:
    """Something happens now: the scan ends here; the caller plans a new one."""
    cdef FurnaceState* state = &all.state[f]
    follow_scans(all, f, now)
    piece(all, f, state, now - state.began)
    state.began = now


cdef void set_mode(const Heating* all, Py_ssize_t f, double now, int mode, int row) noexcept nogil:
    """How it is heated from now on, and by which state of the machine that is counted."""
    interrupt(all, f, now)
    all.state[f].mode = mode
    all.state[f].row = row
    plan_scan(all, f)


cdef void set_temperatures(
    const Heating* all, Py_ssize_t f, double now, double chamber, double lining, double load_excess
) noexcept nogil:
    """As they were measured; the ledger counts it as if the furnace had always held that heat."""
    cdef FurnaceState* state = &all.state[f]
    interrupt(all, f, now)
    state.stored0 -= stored(all, f, state)
    state.x[0] = chamber
    state.x[1] = lining
    state.x[2] = load_excess if state.parts > 0 else 0.0
    state.stored0 += stored(all, f, state)
    plan_scan(all, f)


cdef double load_heat(const Heating* all, Py_ssize_t f) noexcept nogil:
    cdef const Body* body = &all.body[all.plan[f].bodies + 2 * all.state[f].parts]
    return body.root[2] * body.root[2] * all.state[f].x[2]


cdef void load(const Heating* all, Py_ssize_t f, double now, int parts, int recipe, double position) noexcept nogil:
    """Parts and carrier come in; the recipe begins at `position`. `set_mode` must follow."""
    cdef FurnaceState* state = &all.state[f]
    interrupt(all, f, now)
    state.parts = parts
    state.recipe = recipe
    state.position = position
    state.segment = -1
    state.x[2] = all.plan[f].brought
    state.sums[LOADED] -= load_heat(all, f)


cdef void set_position(const Heating* all, Py_ssize_t f, double now, double position) noexcept nogil:
    """The batch is elsewhere in its recipe. `set_mode` must follow."""
    interrupt(all, f, now)
    all.state[f].position = position
    all.state[f].segment = -1


cdef void unload(const Heating* all, Py_ssize_t f, double now) noexcept nogil:
    """Parts and carrier leave with their heat. `set_mode` must follow."""
    cdef FurnaceState* state = &all.state[f]
    interrupt(all, f, now)
    state.sums[LOADED] += load_heat(all, f)
    state.parts = 0
    state.x[2] = 0.0


cdef double stored(const Heating* all, Py_ssize_t f, const FurnaceState* state) noexcept nogil:
    """Heat in the nodes above the hall's temperature."""
    cdef const Body* body = &all.body[all.plan[f].bodies + 2 * state.parts]
    cdef double found = 0.0
    cdef int i
    for i in range(NODES):
        found += body.root[i] * body.root[i] * state.x[i]
    return found


cdef FurnaceState at(const Heating* all, Py_ssize_t f, double now) noexcept nogil:
    """The state now, whole scans having been done."""
    cdef FurnaceState state = all.state[f]
    piece(all, f, &state, now - state.began)
    return state


cdef void read_out(const Heating* all, Py_ssize_t f, double now, double* out) noexcept nogil:
    """Excesses of the nodes, heat stored since the ledger began, and the sums; NODES + 1 + N_SUMS numbers."""
    cdef FurnaceState state = at(all, f, now)
    cdef int i
    for i in range(NODES):
        out[i] = state.x[i]
    out[NODES] = stored(all, f, &state) - state.stored0
    for i in range(N_SUMS):
        out[NODES + 1 + i] = state.sums[i]


cdef void clear_sums(const Heating* all, Py_ssize_t f, double now) noexcept nogil:
    """The ledger begins anew; what has passed of the scan is taken off."""
    cdef FurnaceState state
    cdef int i
    follow_scans(all, f, now)
    state = at(all, f, now)
    for i in range(N_SUMS):
        all.state[f].sums[i] -= state.sums[i]
    all.state[f].stored0 = stored(all, f, &state)


# ---- what Python sees -------------------------------------------------------------------------------------------

BODY = np.dtype([
    ("root", "f8", 3), ("turn", "f8", 9), ("rate", "f8", 3), ("fade", "f8", 3), ("gain", "f8", 3), ("twice", "f8", 3)
])
SEGMENT_PLAN = np.dtype([("target", "f8"), ("until", "f8"), ("kind", "i4"), ("cools", "i4")])
_PARAMETERS = (
    "scan", "power", "efficiency", "fumes", "fumes_kg", "vent", "vent_kg", "kept", "cooling", "wall", "door", "standby",
    "brought",
)
FURNACE_PLAN = np.dtype(
    [(name, "f8") for name in _PARAMETERS]
    + [("levels", "f8", LEVELS)]
    + [(name, "i4") for name in ("bodies", "recipes", "server", "spare")]
)
FURNACE = np.dtype(
    [("x", "f8", NODES)]
    + [(name, "f8") for name in (
        "began", "ends", "length", "position", "origin", "heat", "net", "flue", "flue_kg", "exhaust", "cooled",
        "chamber", "stored0",
    )]
    + [("sums", "f8", N_SUMS)]
    + [(name, "i4") for name in ("mode", "row", "parts", "recipe", "segment", "spare")]
)
SIZES = {
    "body": (BODY.itemsize, sizeof(Body)),
    "segment": (SEGMENT_PLAN.itemsize, sizeof(SegmentPlan)),
    "furnace_plan": (FURNACE_PLAN.itemsize, sizeof(FurnacePlan)),
    "furnace": (FURNACE.itemsize, sizeof(FurnaceState)),
}
assert all(ours == theirs for ours, theirs in SIZES.values()), SIZES
assert N_SUMS == 25
assert MOST_LEVELS == LEVELS
KINDS = {"ramp": RAMP, "hold": HOLD, "door": DOOR}
# Where each number stands in what `Engine.furnaces` gives: excess temperatures, stored heat, sums.
AT = {
    "temperature": slice(0, NODES),
    "stored": NODES,
    "heating": slice(NODES + 1, NODES + 1 + N_ROWS),
    "walls": NODES + 1 + WALLS,
    "doors": NODES + 1 + DOORS,
    "flue": NODES + 1 + FLUE,
    "flue_kg": NODES + 1 + FLUE_KG,
    "cooled": NODES + 1 + COOLED,
    "load": NODES + 1 + LOADED,
    "flue_above": slice(NODES + 1 + FLUE_ABOVE, NODES + 1 + FLUE_ABOVE + LEVELS),
    "cooled_above": slice(NODES + 1 + COOLED_ABOVE, NODES + 1 + COOLED_ABOVE + LEVELS),
}
N_READ = NODES + 1 + N_SUMS


def bodies(const double[:, ::1] roots, const double[:, :, ::1] turns, const double[:, ::1] rates, double scan):
    """Rows of dtype BODY for systems (n, nodes), (n, modes, nodes) and (n, modes), with their advance over a scan."""
    found = np.zeros(roots.shape[0], BODY)
    cdef double[3] fade, gain, twice
    cdef Py_ssize_t r
    cdef int k
    cdef double z
    found["root"] = roots
    found["turn"] = np.asarray(turns).reshape(-1, NODES * NODES)
    found["rate"] = rates
    for r in range(roots.shape[0]):
        for k in range(NODES):
            z = rates[r, k] * scan
            fade[k] = expm1(z)
            gain[k] = scan * mean_of_decay(z)
            twice[k] = scan * scan * mean_of_mean(z)
        found["fade"][r] = [fade[0], fade[1], fade[2]]
        found["gain"][r] = [gain[0], gain[1], gain[2]]
        found["twice"][r] = [twice[0], twice[1], twice[2]]
    return found
