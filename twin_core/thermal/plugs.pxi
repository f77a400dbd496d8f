# The planning scheme of one pipe, for as many members as there are lanes; equations: docs/models/planning.md.
#
# A record is HEAD lanes and then a row of plugs of PLUG lanes each, the newest first. It is laid out as seen by the
# water: from where it comes in to where it goes out; where a member's flow turns, its lane is turned over. Plugs that a
# lane does not use stand behind those that it uses; all their numbers are zero.
# "kg_k" is heat as mass times temperature, "lost" is in kg K.

include "uem/twin_core/thermal/lanes.pxi"

cdef extern from *:
    """
    /* A flow that moves less than this part of a pipe in a step counts as standstill. */
    #define UEM_LEAST_MOVE 1e-12
    /* Where up to this part of the plugs moves, what leaves does not depend on what enters. */
    #define UEM_MOST_RELEASE (1.0 - 1e-9)
    #define UEM_MOST_STEEP 1.0
    """
    double LEAST_MOVE_OF_A_PIPE "UEM_LEAST_MOVE"
    double MOST_RELEASE "UEM_MOST_RELEASE"
    double MOST_STEEP "UEM_MOST_STEEP"

# Lost within a time, for a temperature difference of one: at its end, on the average over it, and on the average over
# what is left of it.
cdef struct Lost:
    lane at_end
    lane mean
    lane ahead

# The same for one pipe and step, and the logarithm of what is left.
cdef struct Cooling:
    double decay
    double at_end
    double mean
    double ahead

# A tank that water goes through: share of the inflow in the temperature that it tends to, the rest is the ambient's; what
# is left of the difference on the average over the step and at its end.
cdef struct Tank:
    lane goal
    lane mean
    lane left
    lane per_kg  # one over the mass that goes through

cdef struct Passed:
    lane mass
    lane temp  # of what came out
    lane lost
    lane bypass  # kg of the inflow that found no place


cdef inline lane mean_left(lane x) noexcept nogil:
    """(1 - exp(-x)) / x."""
    cdef mask is_small = less(x, spread(0.125))
    cdef lane square = x * x
    cdef lane series = ((1.0 - x * (1.0 / 2.0)) + square * (1.0 / 6.0 - x * (1.0 / 24.0))) + square * square * (
        (1.0 / 120.0 - x * (1.0 / 720.0)) + square * (1.0 / 5040.0)
    )
    if every_of(is_small):
        return series
    return choose(is_small, series, (1.0 - exp_of_minus(x)) / choose(is_small, spread(1.0), x))


cdef inline Lost lost_in(lane x) noexcept nogil:
    cdef Lost f
    cdef mask is_small = less(x, spread(0.125))
    cdef lane x2 = x * x, whole = mean_left(x)
    f.at_end = x * whole
    f.mean = x * (1.0 / 2.0 - x * (1.0 / 6.0)) + x2 * x * ((1.0 / 24.0 - x * (1.0 / 120.0)) + x2 * (1.0 / 720.0))
    f.ahead = 0.5 * x - x2 * (1.0 / 12.0 - x2 * (1.0 / 720.0 - x2 * (1.0 / 30240.0)))
    if not every_of(is_small):
        f.mean = choose(is_small, f.mean, 1.0 - whole)
        f.ahead = choose(is_small, f.ahead, 1.0 - (1.0 - f.at_end) / whole)
    return f


cdef inline Cooling cooling(const Ring* ring, double dt) noexcept nogil:
    cdef Cooling c
    cdef Lost f = lost_in(spread(ring.decay_per_s * dt))
    c.decay = ring.decay_per_s * dt
    c.at_end, c.mean, c.ahead = first_of(f.at_end), first_of(f.mean), first_of(f.ahead)
    return c


cdef inline Tank tank_with(const Ring* ring, const Cooling* c, lane mass) noexcept nogil:
    """What `mass` does to a tank; where there is none, the tank cools as water at rest.

    A tank loses a little more than a temperature at rest does, so that in a steady stream it cools the water exactly as
    much as a pipe of its size does and not as a mixed tank.
    """
    cdef Tank f
    cdef mask moves = less(spread(0.0), mass), is_small
    cdef lane inverse = spread(ring.tank_kg) / choose(moves, mass, spread(ring.tank_kg))
    cdef lane contents = choose(moves, mass, spread(ring.tank_kg)) * ring.tank_inverse_kg
    cdef lane cooled = c.decay * inverse, square = cooled * cooled, rate, goal, mean, left
    cdef lane even = 1.0 + square * ((1.0 / 2.0 + square * (1.0 / 24.0)) + square * square * (1.0 / 720.0))
    cdef lane odd = cooled * ((1.0 + square * (1.0 / 6.0)) + square * square * (1.0 / 120.0))
    goal = even - odd  # exp(-cooled)
    rate = contents * (even + odd)
    mean = inverse * goal  # one over the rate
    is_small = less(cooled, spread(0.25))
    if not every_of(is_small):  # a trickle: the surplus fades out
        rate = choose(is_small, rate, contents + c.decay * (1.0 + spread(0.034) / cooled))
        mean = choose(is_small, mean, spread(1.0) / rate)
        goal = choose(is_small, goal, contents * mean)
    left = exp_of_minus(rate)
    mean = (1.0 - left) * mean
    is_small = less(rate, spread(0.125))
    if any_of(is_small):
        square = mean_left(smaller(rate, spread(0.125)))
        mean = choose(is_small, square, mean)
        left = choose(is_small, 1.0 - rate * square, left)
    f.goal = choose(moves, goal, spread(0.0))
    f.mean = choose(moves, mean, spread(1.0))
    f.left = choose(moves, left, spread(1.0 - c.at_end))
    f.per_kg = inverse * ring.tank_inverse_kg
    return f


cdef inline lane mix(
    const Ring* ring, lane* tank, const Tank* f, lane mass, lane temp_in, lane ambient, lane* lost
) noexcept nogil:
    """Let `mass` through a tank; returns the mean temperature of what comes out, adds to `lost`."""
    cdef lane goal = ambient + f.goal * (temp_in - ambient)
    cdef lane off = tank[0] - goal
    cdef lane out = goal + f.mean * off
    # What the inflow brings less what the outflow takes and less what the tank keeps.
    lost[0] = lost[0] + (mass * (temp_in - out) + ring.tank_kg * (1.0 - f.left) * off)
    tank[0] = goal + f.left * off
    return out


cdef inline lane plugs_in(const lane* record) noexcept nogil:
    """How many plugs each lane uses."""
    return size_of(record[AHEAD]) - 1.0


cdef inline Py_ssize_t used(const Ring* ring, const lane* record) noexcept nogil:
    """Plugs that any lane uses."""
    cdef Py_ssize_t i
    cdef lane count = plugs_in(record)
    for i in range(ring.capacity):
        if not any_of(less(spread(i), count)):
            return i
    return ring.capacity


cdef inline void count_plugs(lane* record, lane count) noexcept nogil:
    record[AHEAD] = choose(less(record[AHEAD], spread(0.0)), -1.0 - count, 1.0 + count)


cdef inline lane take(
    const Ring* ring, lane* record, const Cooling* c, lane mass, lane ambient, lane* kg_k, lane* lost
) noexcept nogil:
    """Take `mass` out of the oldest plugs and let the others cool; returns what was not there.

    Fills `kg_k` with the heat of what was taken above the ambient, as it was before the step, and adds to `lost`.
    """
    cdef Py_ssize_t i
    cdef lane* plug
    cdef lane rest = mass, part, keeps, temp, bend, slope, heat = spread(0.0), kept = spread(0.0), count = spread(0.0)
    cdef bint takes = any_of(less(spread(0.0), mass))
    cdef mask is_left
    for i in range(used(ring, record) - 1, -1, -1):
        plug = record + HEAD + PLUG * i
        keeps = plug[MASS]
        temp = plug[TEMP]
        slope = plug[SLOPE]
        if takes:
            part = smaller(rest, keeps)
            keeps = keeps - part
            rest = rest - part
            takes = any_of(less(spread(0.0), rest))
            # Of a plug that falls off by exp(-steepness * mass): how much colder than its mean is the end of it.
            bend = slope * (0.5 + plug[STEEPNESS] * (
                (part - keeps) * (1.0 / 12.0) - plug[STEEPNESS] * part * keeps * (1.0 / 24.0)
            ))
            heat = heat + part * ((temp - ambient) - keeps * bend)
            temp = temp + part * bend
            slope = slope + plug[STEEPNESS] * part * bend
            plug[MASS] = keeps
        is_left = less(spread(0.0), keeps)
        count = count + choose(is_left, spread(1.0), spread(0.0))
        kept = kept + keeps * (temp - ambient)
        plug[TEMP] = choose(is_left, temp - c.at_end * (temp - ambient), spread(0.0))
        plug[STEEPNESS] = choose(is_left, plug[STEEPNESS], spread(0.0))
        slope = slope - c.at_end * slope
        # Long before it is too small for the processor to work with quickly.
        is_left = but_not(is_left, less(size_of(slope), spread(1e-100)))
        plug[SLOPE] = choose(is_left, slope, spread(0.0))
    count_plugs(record, count)
    lost[0] = lost[0] + c.at_end * kept
    kg_k[0] = heat
    return rest


cdef inline void join(lane* plug, mask where, lane mass, lane temp, lane slope, lane steepness) noexcept nogil:
    """In some lanes a plug and what comes in become one, not warmer or colder anywhere than they were."""
    cdef lane old = plug[MASS], old_slope = plug[SLOPE], old_steepness = plug[STEEPNESS], whole = old + mass
    cdef lane inverse = spread(1.0) / choose(where, whole, spread(1.0))
    cdef mask is_new = at_most(old, spread(0.0))
    cdef lane old_temp = choose(is_new, temp, plug[TEMP])
    cdef lane mean = old_temp + (temp - old_temp) * (mass * inverse)
    cdef lane both_slope = choose(is_new, slope, (old_slope * old + slope * mass) * inverse)
    cdef lane both_steepness = choose(is_new, steepness, (old_steepness * old + steepness * mass) * inverse)
    cdef lane up = size_of(old_slope) * old, here = size_of(slope) * mass, share, high, low
    cdef lane skew = lean(old_slope, old_steepness, old), lean_here = lean(slope, steepness, mass)
    high = larger(choose(is_new, temp, old_temp + up * (0.5 + skew)), temp + here * (0.5 + lean_here)) - mean
    low = mean - smaller(choose(is_new, temp, old_temp - up * (0.5 - skew)), temp - here * (0.5 - lean_here))
    both_steepness = choose(
        less(inverse, size_of(both_steepness)),
        choose(less(both_steepness, spread(0.0)), -inverse, inverse), both_steepness
    )
    up = size_of(both_slope) * whole
    skew = lean(both_slope, both_steepness, whole)
    share = smaller(high / larger(up * (0.5 + skew), spread(1e-300)), low / larger(up * (0.5 - skew), spread(1e-300)))
    both_slope = both_slope * smaller(larger(share, spread(0.0)), spread(1.0))
    plug[MASS] = choose(where, whole, old)
    plug[TEMP] = choose(where, mean, plug[TEMP])
    plug[SLOPE] = choose(where, both_slope, old_slope)
    plug[STEEPNESS] = choose(where, both_steepness, old_steepness)


cdef inline lane lean(lane slope, lane steepness, lane mass) noexcept nogil:
    """How much of the spread of a plug is above its mean rather than below."""
    cdef lane size = size_of(steepness) * mass * (1.0 / 12.0)
    return choose(less(slope * steepness, spread(0.0)), -size, size)


cdef inline void put(
    const Ring* ring, lane* record, lane mass, lane temp, lane slope, lane steepness
) noexcept nogil:
    """Put water in at the newest end: as a plug of its own, or with the newest one as long as that is small."""
    cdef lane* plug = record + HEAD
    cdef lane* last
    cdef lane plugs = plugs_in(record)
    cdef mask moves = less(spread(0.0), mass), opens
    cdef Py_ssize_t i, count
    opens = both(but_not(moves, less(plug[MASS], spread(ring.least_kg))), less(plugs, spread(ring.capacity)))
    if any_of(opens):
        count = used(ring, record)
        if count == ring.capacity:  # in other lanes
            count -= 1
        for i in range(count - 1, -1, -1):
            last = plug + PLUG * i
            last[PLUG + MASS] = choose(opens, last[MASS], last[PLUG + MASS])
            last[PLUG + TEMP] = choose(opens, last[TEMP], last[PLUG + TEMP])
            last[PLUG + SLOPE] = choose(opens, last[SLOPE], last[PLUG + SLOPE])
            last[PLUG + STEEPNESS] = choose(opens, last[STEEPNESS], last[PLUG + STEEPNESS])
        plug[MASS] = choose(opens, mass, plug[MASS])
        plug[TEMP] = choose(opens, temp, plug[TEMP])
        plug[SLOPE] = choose(opens, slope, plug[SLOPE])
        plug[STEEPNESS] = choose(opens, steepness, plug[STEEPNESS])
    count_plugs(record, choose(opens, plugs + 1.0, choose(moves, larger(plugs, spread(1.0)), plugs)))
    moves = but_not(moves, opens)
    if any_of(moves):
        join(plug, moves, mass, temp, slope, steepness)


cdef void turn_lane(const Ring* ring, lane* record, Py_ssize_t k) noexcept nogil:
    """Lay one lane out for water that comes from the other end."""
    cdef double* number = <double*> record + k
    cdef double* one
    cdef double* other
    cdef double kept
    cdef Py_ssize_t i, field, count
    kept = number[INLET * LANES]
    number[INLET * LANES] = number[OUTLET * LANES]
    number[OUTLET * LANES] = kept
    number[AHEAD * LANES] = -number[AHEAD * LANES]
    kept = number[AHEAD * LANES]
    count = <Py_ssize_t> ((kept if kept > 0.0 else -kept) - 1.0)
    for i in range(count):
        one = number + (HEAD + PLUG * i) * LANES
        one[SLOPE * LANES] = -one[SLOPE * LANES]
        one[STEEPNESS * LANES] = -one[STEEPNESS * LANES]
    for i in range(count // 2):
        one = number + (HEAD + PLUG * i) * LANES
        other = number + (HEAD + PLUG * (count - 1 - i)) * LANES
        for field in range(PLUG):
            kept = one[field * LANES]
            one[field * LANES] = other[field * LANES]
            other[field * LANES] = kept


cdef inline void face(const Ring* ring, lane* record, lane mass) noexcept nogil:
    """See that every record lies the way its water flows."""
    cdef Py_ssize_t k
    cdef lane against
    if any_of(less(record[AHEAD] * mass, spread(0.0))):
        against = record[AHEAD] * mass
        for k in range(LANES):
            if (<double*> &against)[k] < 0.0:
                turn_lane(ring, record, k)


cdef inline lane moving(const Ring* ring, lane mass) noexcept nogil:
    """The mass that moves, without its sign: none if it is next to none."""
    cdef lane size = size_of(mass)
    return choose(less(spread(LEAST_MOVE_OF_A_PIPE * ring.whole_kg), size), size, spread(0.0))


cdef inline void enter(
    const Ring* ring, lane* record, lane mass, lane bypass, lane inlet, lane ambient, lane per_kg, lane decay,
    lane mean_lost, lane* lost
) noexcept nogil:
    """What came through the first tank at `inlet` goes into the plugs, but for the bypass."""
    cdef lane stays = mass - bypass, warm = inlet - ambient
    # It has cooled for half the time on the average: steepest where it comes in fastest.
    cdef lane steepness = smaller(decay, spread(MOST_STEEP)) * per_kg
    lost[0] = lost[0] + stays * warm * mean_lost
    warm = warm - warm * mean_lost
    put(ring, record, stays, ambient + warm, warm * steepness, steepness)


cdef inline Passed through(
    const Ring* ring, lane* record, const Cooling* c, lane mass_kg, lane temp, lane ambient
) noexcept nogil:
    """Let `mass_kg` of `temp` go into a pipe (negative: at its end) for one step."""
    cdef Passed out
    cdef lane mass = moving(ring, mass_kg), inlet, heat, decay, full, lost_before = spread(0.0)
    cdef Tank f = tank_with(ring, c, mass)
    cdef Lost g
    cdef mask floods = less(spread(MOST_RELEASE * ring.ring_kg), mass)
    face(ring, record, mass_kg)
    out.lost = spread(0.0)
    inlet = mix(ring, record + INLET, &f, mass, temp, ambient, &lost_before)
    decay = spread(c.decay)
    g.at_end, g.mean, g.ahead = spread(c.at_end), spread(c.mean), spread(c.ahead)
    if any_of(floods):  # the time in which water passes the plugs
        full = smaller(spread(1.0), ring.ring_kg * f.per_kg)
        decay = choose(floods, c.decay * full, decay)
        g = lost_in(decay)
    out.bypass = take(ring, record, c, mass, ambient, &heat, &out.lost)
    out.lost = out.lost + heat * g.ahead
    heat = heat - heat * g.ahead
    enter(
        ring, record, mass, out.bypass, inlet, ambient,
        choose(floods, spread(1.0) / larger(mass - out.bypass, spread(1e-300)), f.per_kg) if any_of(floods) else f.per_kg,
        decay, g.mean, &lost_before,
    )
    if any_of(floods):
        out.lost = out.lost + out.bypass * (inlet - ambient) * g.at_end
        heat = heat + out.bypass * (inlet - ambient) * (1.0 - g.at_end)
    inlet = ambient + heat * f.per_kg
    out.mass = mass
    out.temp = mix(ring, record + OUTLET, &f, mass, inlet, ambient, &out.lost)
    out.lost = out.lost + lost_before  # in this order it is what both halves give, bit for bit
    return out


cdef inline Passed first_out(
    const Ring* ring, lane* record, const Cooling* c, lane mass_kg, lane ambient
) noexcept nogil:
    """The first half of a step: what comes out, when it does not depend on what goes in."""
    cdef Passed out
    cdef lane mass = moving(ring, mass_kg), heat
    cdef Tank f = tank_with(ring, c, mass)
    face(ring, record, mass_kg)
    out.lost = spread(0.0)
    out.bypass = take(ring, record, c, mass, ambient, &heat, &out.lost)
    out.lost = out.lost + heat * c.ahead
    heat = heat - heat * c.ahead
    out.mass = mass
    out.temp = mix(ring, record + OUTLET, &f, mass, ambient + heat * f.per_kg, ambient, &out.lost)
    return out


cdef inline lane then_in(
    const Ring* ring, lane* record, const Cooling* c, lane mass_kg, lane temp, lane ambient
) noexcept nogil:
    """The second half: what goes in; returns what is lost of it."""
    cdef lane mass = moving(ring, mass_kg), lost = spread(0.0), inlet
    cdef Tank f = tank_with(ring, c, mass)
    inlet = mix(ring, record + INLET, &f, mass, temp, ambient, &lost)
    enter(ring, record, mass, spread(0.0), inlet, ambient, f.per_kg, spread(c.decay), spread(c.mean), &lost)
    return lost


cdef inline lane contents_kg_k(const Ring* ring, const lane* record, double zero) noexcept nogil:
    """Heat of water and wall above a temperature."""
    cdef lane heat = ring.tank_kg * ((record[INLET] - zero) + (record[OUTLET] - zero))
    cdef const lane* plug = record + HEAD
    cdef Py_ssize_t i
    for i in range(used(ring, record)):
        heat = heat + plug[MASS] * (plug[TEMP] - zero)
        plug += PLUG
    return heat


cdef inline lane end_temp(const lane* record, bint at_end) noexcept nogil:
    """Temperature of the water at the start or the end of the pipe."""
    if at_end:
        return choose(less(record[AHEAD], spread(0.0)), record[INLET], record[OUTLET])
    return choose(less(record[AHEAD], spread(0.0)), record[OUTLET], record[INLET])


cdef inline void copy_plugs(const Ring* ring, const lane* record, lane* copy) noexcept nogil:
    """Copy what is in use of a record; nothing is behind it in the copy either."""
    cdef Py_ssize_t i, count = used(ring, record)
    memcpy(copy, record, (HEAD + PLUG * count) * sizeof(lane))
    for i in range(count, ring.capacity):
        if not any_of(less(spread(0.0), copy[HEAD + PLUG * i + MASS])):
            return
        memset(copy + HEAD + PLUG * i, 0, PLUG * sizeof(lane))
