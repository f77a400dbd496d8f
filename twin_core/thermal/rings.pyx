"""Heat and water moving through pipes at a cost that does not depend on their length: the scheme for planning.

A pipe is a mixed tank at its start, plugs in a row, and an equal tank at its end. The wall counts as water that is as
warm as the water beside it, so that fronts travel as slowly as they do past a heavy wall; the tanks smear them as much
as dispersion and the film do. Plugs are pushed in at one end and taken out at the other; all of them cool by the same
factor, which is kept once, not in each: a step touches the plugs at both ends only. Equations, sources and limits:
docs/models/planning.md; the same in NumPy: reference_rings.py.

SI units, temperatures in K. Mass is that of water at 60 degC with the share of the wall in it; "heat" is mass times
temperature. A plug holds heat `level * mass + scale * plug.heat`; while time passes only level and scale change.
"""

from libc.math cimport ceil, fabs, pow, sqrt
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

from uem.twin_core.thermal.water cimport conductivity_w_mk, density_kg_m3, heat_capacity_j_kgk, viscosity_pa_s

from uem.twin_core.errors import InvalidInput

# One temperature for all properties of water, as in pipes.pyx: energy is linear in temperature and ledgers are exact.
cdef double FILM_TEMP = 333.15
cdef double HEAT_CAPACITY = heat_capacity_j_kgk(333.15)
cdef double ENERGY_ZERO = 273.15
# A flow that moves less than this part of a pipe in a step counts as standstill.
cdef double LEAST_MOVE = 1e-12
# What is left of a plug joins its neighbour when it is less than this part of the plugs: its temperature would be
# nothing but rounding.
cdef double LEAST_REST = 1e-9
cdef double PI = 3.141592653589793
# The speed of water for which the smear of the film and of dispersion is taken; its square depends on the speed with
# the power 0.2 at most.
cdef double USUAL_SPEED = 0.5
# Both tanks together are at most this part of a pipe.
cdef double MOST_TANK = 0.9
# The scale is made one again when it has fallen to this.
cdef double LEAST_SCALE = 1e-3
# The plugs may hold this much more or less than they should before it is made up.
cdef double SPARE = 1e-12
cdef double MOST_STEEP = 1.0
cdef double PLUGS_PER_TANK = 1.0
cdef double LEAST_PLUGS = 4.0
# Added and taken away again, it leaves the nearest whole number.
cdef double ROUNDER = 6755399441055744.0
cdef Py_ssize_t SLACK = 2
# Room for plugs that are not full: those at both ends.
cdef Py_ssize_t SPARE_PLUGS = 4

HEAT_CAPACITY_J_KGK = HEAT_CAPACITY
ENERGY_ZERO_K = ENERGY_ZERO
MEMO_NUMBERS = MEMO_WIDTH
USUAL_SPEED_M_S = USUAL_SPEED

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define UEM_PREFETCH(p) __builtin_prefetch(p, 1)
    #else
    #define UEM_PREFETCH(p)
    #endif
    """
    void UEM_PREFETCH(const void*) noexcept nogil

cdef enum:
    TOGETHER = 8

# The head of a record.
cdef enum:
    LEVEL = 0
    SCALE = 1
    START_TEMP = 2  # of the tanks
    END_TEMP = 3
    SUM_MASS = 4  # of the plugs
    SUM_HEAT = 5
    FIRST = 6  # where the plug next to the start lies
    COUNT = 7


cdef inline void fetch(const double* record) noexcept nogil:
    """Have the beginning of a record, where short rows of plugs stay, brought near."""
    UEM_PREFETCH(record)
    UEM_PREFETCH(record + 8)
    UEM_PREFETCH(record + 16)
    UEM_PREFETCH(record + 24)
    UEM_PREFETCH(record + 32)


cdef struct Plug:
    double mass
    double heat
    # The heat that falls off exponentially along the plug, because one end of it has cooled longer than the other, and
    # the logarithm of how much; positive: warmer towards the start.
    double warmth
    double steepness


cdef union Bits:
    double number
    long long bits


cdef Py_ssize_t record_width(Py_ssize_t capacity) noexcept nogil:
    return HEAD + PLUG * capacity


cdef inline double exp_of_minus(double x) noexcept nogil:
    """exp(-x) for x >= 0, to 1e-8 of itself: a power of two times a polynomial.

    Inline because calls cost more; in pairs because a chain of multiplications would wait for itself.
    """
    cdef double whole, y, y2
    cdef Bits power
    if x > 700.0:
        return 0.0
    whole = (x * 1.4426950408889634 + ROUNDER) - ROUNDER
    y = whole * 0.6931471805599453 - x
    y2 = y * y
    power.bits = (1023 - <long long> whole) << 52
    y = ((1.0 + y) + y2 * (1.0 / 2.0 + y * (1.0 / 6.0))) + y2 * y2 * (
        (1.0 / 24.0 + y * (1.0 / 120.0)) + y2 * (1.0 / 720.0 + y * (1.0 / 5040.0))
    )
    return power.number * y


cdef inline double mean_left(double x) noexcept nogil:
    """(1 - exp(-x)) / x."""
    cdef double square
    if x < 0.125:
        square = x * x
        return ((1.0 - x * (1.0 / 2.0)) + square * (1.0 / 6.0 - x * (1.0 / 24.0))) + square * square * (
            (1.0 / 120.0 - x * (1.0 / 720.0)) + square * (1.0 / 5040.0)
        )
    return (1.0 - exp_of_minus(x)) / x


cdef Factors make_factors(const Ring* pipe, double mass, double dt) noexcept nogil:
    """What a step of `dt` does, in which `mass` goes through the tanks (0: nothing).

    A tank loses a little more than a temperature at rest does, so that in a steady stream it cools the water exactly as
    much as a pipe of its size does and not as a mixed tank.
    """
    cdef Factors f
    cdef double x = pipe.decay_per_s * dt, x2 = x * x, whole_mean = mean_left(x)
    f.steepness = x if x < MOST_STEEP else MOST_STEEP
    f.lost = x * whole_mean
    if x < 0.125:
        f.mean_lost = x * (1.0 / 2.0 - x * (1.0 / 6.0)) + x2 * x * ((1.0 / 24.0 - x * (1.0 / 120.0)) + x2 * (1.0 / 720.0))
        f.ahead_lost = 0.5 * x - x2 * (1.0 / 12.0 - x2 * (1.0 / 720.0 - x2 * (1.0 / 30240.0)))
    else:
        f.mean_lost = 1.0 - whole_mean
        f.ahead_lost = 1.0 - (1.0 - x * whole_mean) / whole_mean
    f.goal = 0.0
    f.mean = 1.0
    f.left = 1.0
    if mass > 0.0:
        pass_tank(pipe, &f, mass, x)
    return f


cdef inline void pass_tank(const Ring* pipe, Factors* f, double mass, double x) noexcept nogil:
    cdef double contents = mass * pipe.tank_inverse_kg, inverse = pipe.tank_kg / mass, cooled = x * inverse
    cdef double rate, goal, mean, even, odd, square = cooled * cooled
    if cooled < 0.25:
        even = 1.0 + square * ((1.0 / 2.0 + square * (1.0 / 24.0)) + square * square * (1.0 / 720.0))
        odd = cooled * ((1.0 + square * (1.0 / 6.0)) + square * square * (1.0 / 120.0))
        goal = even - odd  # exp(-cooled)
        rate = contents * (even + odd)
        inverse *= goal
    else:  # a trickle: the surplus fades out
        rate = contents + x * (1.0 + 0.034 / cooled)
        inverse = 1.0 / rate
        goal = contents * inverse
    if rate < 0.125:
        mean = mean_left(rate)
        f.left = 1.0 - rate * mean
    else:
        f.left = exp_of_minus(rate)
        mean = (1.0 - f.left) * inverse
    f.goal = goal
    f.mean = mean


cdef inline double mix(
    const Ring* pipe, double* tank_temp, const Factors* f, double mass, double temp_in, double ambient, double* lost
) noexcept nogil:
    """Let `mass` through a tank; returns the mean temperature of what comes out, adds to `lost` in kg K."""
    cdef double goal = ambient + f.goal * (temp_in - ambient)
    cdef double off = tank_temp[0] - goal
    cdef double out = goal + f.mean * off
    # What the inflow brings less what the outflow takes and less what the tank keeps.
    lost[0] += mass * (temp_in - out) + pipe.tank_kg * (1.0 - f.left) * off
    tank_temp[0] = goal + f.left * off
    return out


cdef inline double rest(const Ring* pipe, double* tank_temp, double lost_share, double ambient) noexcept nogil:
    """A tank that nothing goes through; returns what it loses in kg K."""
    cdef double lost = lost_share * (tank_temp[0] - ambient)
    tank_temp[0] -= lost
    return pipe.tank_kg * lost


cdef inline double bent(double part, double steepness) noexcept nogil:
    """Heat in `part` of a plug less `part`, counted from the end with the oldest water: (e^(s p) - 1) / (e^s - 1) - p."""
    cdef double inner = part * (part - 1.0)
    return steepness * inner * (0.5 + steepness * ((2.0 * part - 1.0) / 12.0 + steepness * inner / 24.0))


cdef double take(const Ring* pipe, double* record, double mass, bint forward) noexcept nogil:
    """Take `mass` out of the plugs at the downstream end; returns its heat (times scale, above level)."""
    cdef Plug* plugs = <Plug*> (record + HEAD)
    cdef Plug* plug
    cdef Plug* other
    cdef Py_ssize_t first = <Py_ssize_t> record[FIRST], count = <Py_ssize_t> record[COUNT]
    cdef Py_ssize_t step = -1 if forward else 1
    cdef double heat = 0.0, part, extra, taken
    plug = plugs + (first + count - 1 if forward else first)
    while count > 0 and mass >= plug.mass:
        heat += plug.heat
        mass -= plug.mass
        count -= 1
        plug += step
    if count > 0:
        part = mass / plug.mass
        extra = bent(part, plug.steepness if forward else -plug.steepness)
        taken = part * plug.heat + extra * plug.warmth
        heat += taken
        plug.mass -= mass
        plug.heat -= taken
        plug.warmth -= (part + extra) * plug.warmth
        plug.steepness -= part * plug.steepness
        if count > 1 and plug.mass < LEAST_REST * pipe.ring_kg:
            other = plug + step
            other.mass += plug.mass
            other.heat += plug.heat
            other.warmth += plug.warmth
            count -= 1
    if not forward:
        first += <Py_ssize_t> record[COUNT] - count
    record[FIRST] = first
    record[COUNT] = count
    return heat


cdef struct Span:
    double high
    double low


cdef inline Span span(const Plug* plug) noexcept nogil:
    """How much warmer and colder than its mean a plug is at its ends, to the square of its steepness."""
    cdef Span s
    cdef double bend = fabs(plug.warmth * plug.steepness) / plug.mass
    cdef double skew = fabs(plug.steepness) / (12.0 if plug.warmth > 0.0 else -12.0)
    s.high = bend * (0.5 + skew)
    s.low = bend * (0.5 - skew)
    return s


cdef void join(Plug* plug, const Plug* more) noexcept nogil:
    """Two plugs become one, not warmer or colder anywhere than they were."""
    cdef double here = plug.heat / plug.mass, there = more.heat / more.mass, mean, high, low, share = 1.0
    cdef Span a = span(plug), b = span(more)
    high = here + a.high if here + a.high > there + b.high else there + b.high
    low = here - a.low if here - a.low < there - b.low else there - b.low
    plug.mass += more.mass
    plug.heat += more.heat
    plug.warmth += more.warmth
    plug.steepness += more.steepness
    if fabs(plug.steepness) > MOST_STEEP:
        plug.steepness = MOST_STEEP if plug.steepness > 0.0 else -MOST_STEEP
    mean = plug.heat / plug.mass
    a = span(plug)
    if a.high > high - mean:
        share = (high - mean) / a.high
    if a.low * share > mean - low:
        share = (mean - low) / a.low
    plug.warmth *= share if share > 0.0 else 0.0


cdef void push(const Ring* pipe, double* record, const Plug* new, bint forward) noexcept nogil:
    """Put a plug in at the upstream end, or add it to the last one there as long as that is small."""
    cdef Plug* plugs = <Plug*> (record + HEAD)
    cdef Py_ssize_t first = <Py_ssize_t> record[FIRST], count = <Py_ssize_t> record[COUNT], room
    cdef Plug* last = plugs + (first if forward else first + count - 1)
    if count > 0 and (last.mass < pipe.least_kg or count == pipe.capacity):
        join(last, new)
        return
    # Plugs move on by one place per step; at the edge of the record they are carried back, not farther than needed, so
    # that a short row stays within few lines of the cache.
    room = count + SLACK if 2 * count + SLACK < pipe.capacity else pipe.capacity - count
    if forward:
        if first == 0:
            first = room
            memmove(plugs + first, plugs, count * sizeof(Plug))
        first -= 1
        plugs[first] = new[0]
    else:
        if first + count == pipe.capacity:
            memmove(plugs + pipe.capacity - room - count, plugs + first, count * sizeof(Plug))
            first = pipe.capacity - room - count
        plugs[first + count] = new[0]
    record[FIRST] = first
    record[COUNT] = count + 1


cdef void rescale(double* record, double ambient) noexcept nogil:
    """Make the scale one and the level the ambient temperature; no temperature changes."""
    cdef Plug* plug = <Plug*> (record + HEAD) + <Py_ssize_t> record[FIRST]
    cdef double above = record[LEVEL] - ambient, scale = record[SCALE], mass = 0.0, heat = 0.0
    cdef Py_ssize_t i
    for i in range(<Py_ssize_t> record[COUNT]):
        plug[i].heat = above * plug[i].mass + scale * plug[i].heat
        plug[i].warmth *= scale
        if fabs(plug[i].heat) < 1e-100:  # long before it is too small for the processor to work with quickly
            plug[i].heat = 0.0
        if fabs(plug[i].warmth) < 1e-100:
            plug[i].warmth = 0.0
        mass += plug[i].mass
        heat += plug[i].heat
    record[LEVEL] = ambient
    record[SCALE] = 1.0
    record[SUM_MASS] = mass
    record[SUM_HEAT] = heat


cdef bint releases_first(const Ring* pipe, const double* record, double mass_kg, double dt_s) noexcept nogil:
    """Does what leaves in this step not depend on what enters?"""
    return fabs(mass_kg) <= pipe.ring_kg


cdef inline Outflow let_out(
    const Ring* pipe, double* record, const Factors* f, double mass, bint forward, double ambient
) noexcept nogil:
    cdef Outflow out
    cdef double above = record[LEVEL] - ambient, scale = record[SCALE]
    cdef double content = record[SUM_MASS], sum_heat = record[SUM_HEAT]
    cdef double lost, slice, heat, spare = content - pipe.ring_kg
    cdef double* tank = record + (END_TEMP if forward else START_TEMP)
    cdef double lost_share = f.lost
    # What went in may differ a little from what went out before it: made up here.
    if mass > 0.0 and fabs(spare) > SPARE * pipe.ring_kg:
        mass += spare
    record[LEVEL] -= above * lost_share
    record[SCALE] = scale - scale * lost_share
    if mass > 0.0:
        heat = take(pipe, record, mass, forward)
        content -= mass
        sum_heat -= heat
        record[SUM_MASS] = content
        record[SUM_HEAT] = sum_heat
        slice = above * mass + scale * heat
        lost = (above * content + scale * sum_heat) * lost_share + slice * f.ahead_lost
        slice -= slice * f.ahead_lost
        out.mass_kg = mass
        out.heat_kgk = mass * mix(pipe, tank, f, mass, ambient + slice / mass, ambient, &lost)
    else:
        lost = (above * content + scale * sum_heat) * lost_share + rest(pipe, tank, lost_share, ambient)
        out.mass_kg = 0.0
        out.heat_kgk = 0.0
    out.loss_j = HEAT_CAPACITY * lost
    return out


cdef inline double let_in(
    const Ring* pipe, double* record, const Factors* f, double mass, double temp, bint forward, double ambient
) noexcept nogil:
    cdef double lost = 0.0, warm, x, inverse
    cdef double* tank = record + (START_TEMP if forward else END_TEMP)
    cdef Plug new
    if mass <= 0.0:
        return HEAT_CAPACITY * rest(pipe, tank, f.lost, ambient)
    inverse = 1.0 / record[SCALE]
    x = f.steepness
    warm = mass * (mix(pipe, tank, f, mass, temp, ambient, &lost) - ambient)
    lost += warm * f.mean_lost
    warm -= warm * f.mean_lost
    new.mass = mass
    new.warmth = warm * inverse
    new.heat = new.warmth + (ambient - record[LEVEL]) * inverse * mass
    new.steepness = x if forward else -x
    record[SUM_MASS] += mass
    record[SUM_HEAT] += new.heat
    push(pipe, record, &new, forward)
    if record[SCALE] < LEAST_SCALE:
        rescale(record, ambient)
    return HEAT_CAPACITY * lost


cdef Outflow flush(
    const Ring* pipe, double* record, const Factors* f, double mass, double temp, double dt, bint forward, double ambient
) noexcept nogil:
    """More goes in than the plugs hold: they leave, and after them a part of what has just come in."""
    cdef Outflow out
    cdef double content = record[SUM_MASS], through = mass - pipe.ring_kg, lost = 0.0
    cdef double old = (record[LEVEL] - ambient) * content + record[SCALE] * record[SUM_HEAT]
    cdef double inlet = mix(pipe, record + (START_TEMP if forward else END_TEMP), f, mass, temp, ambient, &lost)
    cdef double x = pipe.decay_per_s * dt * pipe.ring_kg / mass  # while water passes the plugs
    cdef double mean = mean_left(x), warm = through * (inlet - ambient), stay = pipe.ring_kg * (inlet - ambient)
    cdef double old_lost = old * (1.0 - (1.0 - x * mean) / mean), warm_lost = warm * x * mean
    cdef double stay_lost = stay - stay * mean
    cdef Plug* plug = <Plug*> (record + HEAD)
    lost += old_lost + warm_lost + stay_lost
    stay -= stay_lost
    x = x if x < MOST_STEEP else MOST_STEEP
    plug.mass = pipe.ring_kg
    plug.heat = stay
    plug.warmth = stay
    plug.steepness = x if forward else -x
    record[LEVEL] = ambient
    record[SCALE] = 1.0
    record[SUM_MASS] = pipe.ring_kg
    record[SUM_HEAT] = stay
    record[FIRST] = 0.0
    record[COUNT] = 1.0
    mass = content + through
    out.mass_kg = mass
    out.heat_kgk = mass * mix(
        pipe, record + (END_TEMP if forward else START_TEMP), f, mass,
        ambient + (old - old_lost + warm - warm_lost) / mass, ambient, &lost,
    )
    out.loss_j = HEAT_CAPACITY * lost
    return out


cdef inline double moved(const Ring* pipe, double mass_kg) noexcept nogil:
    cdef double mass = fabs(mass_kg)
    return mass if mass > LEAST_MOVE * pipe.whole_kg else 0.0


cdef Outflow release(
    const Ring* pipe, double* record, double* memo, double mass_kg, double dt_s, double ambient_temp_k
) noexcept nogil:
    """The first half of a step whose outflow does not depend on its inflow: what leaves while `mass_kg` goes in."""
    cdef double mass = moved(pipe, mass_kg)
    cdef Factors f = make_factors(pipe, mass, dt_s)
    return let_out(pipe, record, &f, mass, mass_kg >= 0.0, ambient_temp_k)


cdef double admit(
    const Ring* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """The second half: what enters; returns what is lost of it in J."""
    cdef double mass = moved(pipe, mass_kg)
    cdef Factors f = make_factors(pipe, mass, dt_s)
    return let_in(pipe, record, &f, mass, temp_k, mass_kg >= 0.0, ambient_temp_k)


cdef Outflow advance_by(
    const Ring* pipe, double* record, const Factors* f, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """`advance` with factors that were made for this mass, but for rounding, and this step."""
    cdef bint forward = mass_kg >= 0.0
    cdef double mass = moved(pipe, mass_kg)
    cdef Outflow out
    if mass > pipe.ring_kg:
        return flush(pipe, record, f, mass, temp_k, dt_s, forward, ambient_temp_k)
    out = let_out(pipe, record, f, mass, forward, ambient_temp_k)
    out.loss_j += let_in(pipe, record, f, mass, temp_k, forward, ambient_temp_k)
    return out


cdef Outflow advance(
    const Ring* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """Advance one pipe by `dt_s` while `mass_kg` of `temp_k` goes in; negative: from the end to the start."""
    cdef Factors f = make_factors(pipe, moved(pipe, mass_kg), dt_s)
    return advance_by(pipe, record, &f, mass_kg, temp_k, dt_s, ambient_temp_k)


cdef double stored_energy_j(const Ring* pipe, const double* record) noexcept nogil:
    """Heat content of water and wall above 0 degC."""
    cdef const Plug* plug = <const Plug*> (record + HEAD) + <Py_ssize_t> record[FIRST]
    cdef double heat = 0.0, mass = 0.0
    cdef Py_ssize_t i
    for i in range(<Py_ssize_t> record[COUNT]):
        heat += plug[i].heat
        mass += plug[i].mass
    return HEAT_CAPACITY * (
        pipe.tank_kg * (record[START_TEMP] - ENERGY_ZERO + record[END_TEMP] - ENERGY_ZERO)
        + (record[LEVEL] - ENERGY_ZERO) * mass + record[SCALE] * heat
    )


cdef double end_temp_k(const Ring* pipe, const double* record, bint at_end) noexcept nogil:
    """Temperature of the water at the start or the end of the pipe."""
    return record[END_TEMP if at_end else START_TEMP]


cdef void copy_record(const double* record, double* copy) noexcept nogil:
    """Copy what is in use of a record."""
    cdef Py_ssize_t first = HEAD + PLUG * <Py_ssize_t> record[FIRST]
    memcpy(copy, record, HEAD * sizeof(double))
    memcpy(copy + first, record + first, PLUG * <Py_ssize_t> record[COUNT] * sizeof(double))


cdef Ring make_ring(g):
    """Masses and rates of a pipe from its geometry."""
    cdef Ring ring
    cdef double density = density_kg_m3(FILM_TEMP), conductivity = conductivity_w_mk(FILM_TEMP)
    cdef double viscosity = viscosity_pa_s(FILM_TEMP)
    cdef double length = g.cells * g.cell_length_m, diameter = g.inner_diameter_m
    cdef double water_kg = density * g.cells * g.cell_volume_m3
    cdef double wall_by_water = g.wall_capacity_j_k / (HEAT_CAPACITY * density * g.cell_volume_m3)
    cdef double reynolds = USUAL_SPEED * diameter * density / viscosity
    cdef double prandtl = HEAT_CAPACITY * viscosity / conductivity
    # Dittus and Boelter: near Gnielinski at such Reynolds numbers.
    cdef double film_w_k = 0.023 * pow(reynolds, 0.8) * pow(prandtl, 0.4) * conductivity * PI * g.cell_length_m
    cdef double dispersion_m = (
        g.dispersion_factor * 0.5 * diameter * (3e7 * pow(reynolds, -2.1) + 1.35 * pow(reynolds, -0.125))
    )
    cdef double film_m = USUAL_SPEED * wall_by_water * g.wall_capacity_j_k / film_w_k
    cdef double smear_m = sqrt(2.0 * length * (dispersion_m * (1.0 + wall_by_water) ** 2 + film_m))
    cdef double share = smear_m / sqrt(2.0) / (length * (1.0 + wall_by_water))
    cdef double plugs
    share = share if share < 0.5 * MOST_TANK else 0.5 * MOST_TANK
    ring.whole_kg = water_kg * (1.0 + wall_by_water)
    ring.tank_kg = share * ring.whole_kg
    ring.tank_inverse_kg = 1.0 / ring.tank_kg
    ring.ring_kg = ring.whole_kg - 2.0 * ring.tank_kg
    # Plugs much finer than what the tanks smear would tell nothing.
    plugs = ceil(PLUGS_PER_TANK * ring.ring_kg / ring.tank_kg)
    plugs = plugs if plugs > LEAST_PLUGS else LEAST_PLUGS
    plugs = plugs if plugs < g.cells else g.cells
    ring.capacity = <Py_ssize_t> plugs + SPARE_PLUGS
    ring.least_kg = ring.ring_kg / plugs
    ring.decay_per_s = g.cells * g.loss_w_k / (HEAT_CAPACITY * ring.whole_kg)
    return ring


cdef class Rings:
    """Geometry of several pipes, as kernels read it. Records of all pipes stand one after the other in a row."""

    def __cinit__(self, geometries):
        cdef Py_ssize_t i
        self.count = len(geometries)
        self.pipe = <Ring*> calloc(self.count + 1, sizeof(Ring))
        self.offset = <Py_ssize_t*> calloc(self.count + 1, sizeof(Py_ssize_t))
        if not self.pipe or not self.offset:
            raise MemoryError
        for i, g in enumerate(geometries):
            if g.cells < 1:
                raise InvalidInput(f"{g.cells} cells in a pipe; at least one is needed")
            self.pipe[i] = make_ring(g)
            self.offset[i] = self.width
            self.width += record_width(self.pipe[i].capacity)

    def __dealloc__(self):
        free(self.pipe)
        free(self.offset)

    def masses_kg(self):
        """Mass of one tank and of the plugs of every pipe, the wall as water in it: two lists (pipes,)."""
        return [self.pipe[i].tank_kg for i in range(self.count)], [self.pipe[i].ring_kg for i in range(self.count)]

    def plugs(self):
        """How many plugs every pipe is cut into at least before they are joined (pipes,)."""
        return [self.pipe[i].capacity - SPARE_PLUGS for i in range(self.count)]

    def decays_per_s(self):
        """The rate at which water at rest comes nearer to the ambient temperature, of every pipe (pipes,)."""
        return [self.pipe[i].decay_per_s for i in range(self.count)]

    def fill(self, double[:, ::1] rows, const double[:, ::1] start_temp_k, const double[:, ::1] end_temp_k):
        """Start the records: rows (members, width); temperatures (pipes, members), linear along each pipe."""
        cdef Py_ssize_t member, i, k, plugs
        cdef double* record
        cdef Plug* plug
        cdef double start, end, share
        for member in range(rows.shape[0]):
            for i in range(self.count):
                record = &rows[member, self.offset[i]]
                start, end = start_temp_k[i, member], end_temp_k[i, member]
                plugs = 1 if start == end else self.pipe[i].capacity - SPARE_PLUGS
                share = self.pipe[i].tank_kg / self.pipe[i].whole_kg
                for k in range(record_width(self.pipe[i].capacity)):
                    record[k] = 0.0
                record[LEVEL] = 0.5 * (start + end)
                record[SCALE] = 1.0
                record[START_TEMP] = start + 0.5 * share * (end - start)
                record[END_TEMP] = end - 0.5 * share * (end - start)
                record[SUM_MASS] = self.pipe[i].ring_kg
                record[COUNT] = plugs
                plug = <Plug*> (record + HEAD)
                for k in range(plugs):
                    plug[k].mass = self.pipe[i].ring_kg / plugs
                    plug[k].heat = plug[k].mass * (1.0 - 2.0 * share) * (end - start) * ((k + 0.5) / plugs - 0.5)
                    record[SUM_HEAT] += plug[k].heat

    def advance(self, double[:, ::1] rows, double[:, ::1] memos, const double[:, ::1] mass_kg,
                const double[:, ::1] temp_k, double dt_s, const double[::1] ambient_temp_k,
                double[:, ::1] out_mass_kg, double[:, ::1] out_heat_kgk, double[::1] loss_j):
        """Advance every pipe for itself.

        rows (members, width) and memos (members, pipes * MEMO_NUMBERS) change in place; mass_kg that goes in and its
        temp_k are (pipes, members); what comes out is filled in the same shape, the loss of all pipes as (members,).
        """
        cdef Py_ssize_t member, first, last, first_pipe, last_pipe, pipes, i, k
        cdef Outflow out
        cdef Factors[TOGETHER] factors
        cdef Py_ssize_t members = rows.shape[0]
        self.check(rows, memos, mass_kg, temp_k, dt_s, ambient_temp_k, out_mass_kg, out_heat_kgk, loss_j)
        # Some members of a pipe together, because their flows lie side by side; or some pipes. Their factors come
        # first: they need nothing but the flows, and would be waited for.
        pipes = TOGETHER // (members if members < TOGETHER else TOGETHER)
        with nogil:
            loss_j[:] = 0.0
            for first in range(0, members, 8):
                last = first + TOGETHER if first + TOGETHER < members else members
                first_pipe = 0
                while first_pipe < self.count:
                    last_pipe = first_pipe + pipes if first_pipe + pipes < self.count else self.count
                    k = 0
                    for i in range(first_pipe, last_pipe):
                        for member in range(first, last):
                            factors[k] = make_factors(&self.pipe[i], moved(&self.pipe[i], mass_kg[i, member]), dt_s)
                            fetch(&rows[member, self.offset[i]])
                            k += 1
                    k = 0
                    for i in range(first_pipe, last_pipe):
                        for member in range(first, last):
                            out = advance_by(
                                &self.pipe[i], &rows[member, self.offset[i]], &factors[k],
                                mass_kg[i, member], temp_k[i, member], dt_s, ambient_temp_k[member],
                            )
                            out_mass_kg[i, member] = out.mass_kg
                            out_heat_kgk[i, member] = out.heat_kgk
                            loss_j[member] += out.loss_j
                            k += 1
                    first_pipe = last_pipe

    def advance_in_halves(self, double[:, ::1] rows, double[:, ::1] memos, const double[:, ::1] mass_kg,
                          const double[:, ::1] temp_k, double dt_s, const double[::1] ambient_temp_k,
                          double[:, ::1] out_mass_kg, double[:, ::1] out_heat_kgk, double[::1] loss_j):
        """`advance`, where possible first with what leaves and then with what enters, as pipes that close a cycle."""
        cdef Py_ssize_t member, i
        cdef Outflow out
        cdef double* record
        cdef double* memo
        self.check(rows, memos, mass_kg, temp_k, dt_s, ambient_temp_k, out_mass_kg, out_heat_kgk, loss_j)
        for member in range(rows.shape[0]):
            loss_j[member] = 0.0
            for i in range(self.count):
                record = &rows[member, self.offset[i]]
                memo = &memos[member, i * MEMO_WIDTH]
                if releases_first(&self.pipe[i], record, mass_kg[i, member], dt_s):
                    out = release(&self.pipe[i], record, memo, mass_kg[i, member], dt_s, ambient_temp_k[member])
                    out.loss_j += admit(
                        &self.pipe[i], record, memo, mass_kg[i, member], temp_k[i, member], dt_s, ambient_temp_k[member]
                    )
                else:
                    out = advance(
                        &self.pipe[i], record, memo, mass_kg[i, member], temp_k[i, member], dt_s, ambient_temp_k[member]
                    )
                out_mass_kg[i, member] = out.mass_kg
                out_heat_kgk[i, member] = out.heat_kgk
                loss_j[member] += out.loss_j

    def check(self, rows, memos, mass_kg, temp_k, dt_s, ambient_temp_k, out_mass_kg, out_heat_kgk, loss_j):
        """Refuse arrays that do not fit these pipes."""
        members = rows.shape[0]
        if not (mass_kg.shape[0] == temp_k.shape[0] == out_mass_kg.shape[0] == out_heat_kgk.shape[0] == self.count):
            raise InvalidInput(f"flows of {mass_kg.shape[0]} pipes, not {self.count}")
        if not (members == memos.shape[0] == mass_kg.shape[1] == temp_k.shape[1] == out_mass_kg.shape[1]
                == out_heat_kgk.shape[1] == ambient_temp_k.shape[0] == loss_j.shape[0]):
            raise InvalidInput(f"arrays do not all have {members} members")
        if rows.shape[1] != self.width or memos.shape[1] != self.count * MEMO_WIDTH:
            raise InvalidInput(f"rows of {rows.shape[1]} and memos of {memos.shape[1]} numbers do not fit these pipes")
        if not dt_s > 0.0:
            raise InvalidInput(f"dt_s {dt_s} must be positive")

    def energy_j(self, const double[:, ::1] rows, double[::1] out):
        """Heat content of all pipes above 0 degC, filled into out (members,)."""
        cdef Py_ssize_t member, i
        if rows.shape[1] != self.width or out.shape[0] != rows.shape[0]:
            raise InvalidInput("rows or out do not fit these pipes")
        with nogil:
            for member in range(rows.shape[0]):
                out[member] = 0.0
                for i in range(self.count):
                    out[member] += stored_energy_j(&self.pipe[i], &rows[member, self.offset[i]])
