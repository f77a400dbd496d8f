"""How water and heat move through one pipe in a step: plugs that travel with the water over the cells of a heavy wall.

Compiled once per kind of processor; which of them runs is told by levels.pyx. What pipes do never depends on it, to the
last bit. What a record and a memo are stands in pipes.pxd.
"""

from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport ceil, exp, expm1, fabs, fmax, fmin, log, sqrt
from libc.string cimport memcpy, memmove

from uem.twin_core.thermal.pipes cimport (
    HEAD, MOST_CELLS, OWED_DECAY, OWED_FLOW, OWED_MISSED, OWED_TIME, PENDING, SHELL_MEMO, Insulation, Kernel, Outflow,
    Pipe
)

include "uem/twin_core/thermal/pipe_water.pxi"

# A step that moves the content of the pipe through more often than this is marched.
cdef double MARCH_CONTENTS = 4.0
# Passes are so short that a stream decays by no more than this in one, as long as there are not too many of them.
cdef double MOST_DECAY = 0.1
cdef double MOST_PASSES = 1000.0
# The largest fall of a steady stream along a cell that parts of cells are made exact for.
cdef double LARGEST_FALL = 0.7
# Slopes are at most this many times the smaller difference to a neighbour, so that parts stay between neighbours.
cdef double MOST_SLOPE = 1.75
# A step of at most one cell is one pass; in longer ones a pass moves at most this part of a cell.
cdef double MOST_MOVE = 0.5
# Exponents up to this have a shorter series.
cdef double SMALL = 0.015
cdef double LAMINAR_NUSSELT = 3.66
cdef double LAMINAR_REYNOLDS = 2300.0
cdef double TURBULENT_REYNOLDS = 4000.0
cdef double LARGEST_DISPERSION_NUMBER = 0.25
cdef double MOST_DISPERSION_PASSES = 16.0

# What depends on the Reynolds number alone, at 128 numbers per octave from 2^11 to 2^27, straight between: the root of
# an eighth of the friction factor within 2e-6, the dispersion within 5e-5 of the formulas. Place and weight are the
# bits of the number, whose exponent counts octaves.
cdef struct Turbulence:
    double friction
    double dispersion  # of a straight pipe, over inner radius and velocity

cdef enum:
    FIRST_OCTAVE = 11
    OCTAVES = 16
    KNOTS = 128  # of an octave
    WEIGHT_BITS = 45  # behind exponent and knot
    FIRST_KNOT = 132352  # (1023 + FIRST_OCTAVE) * KNOTS; a literal, since overflowcheck knows no sums here
cdef Turbulence[OCTAVES * KNOTS + 1] TURBULENCE

cdef void fill_turbulence_table():
    cdef Py_ssize_t i
    cdef double reynolds, turbulent
    for i in range(OCTAVES * KNOTS + 1):
        reynolds = (1.0 + (i % KNOTS) / <double> KNOTS) * 2.0 ** (FIRST_OCTAVE + i // KNOTS)
        turbulent = reynolds if reynolds > TURBULENT_REYNOLDS else TURBULENT_REYNOLDS
        TURBULENCE[i].friction = sqrt(0.125) / (0.79 * log(turbulent) - 1.64)
        TURBULENCE[i].dispersion = 3e7 * exp(-2.1 * log(reynolds)) + 1.35 * exp(-0.125 * log(reynolds))

fill_turbulence_table()


cdef struct Contact:
    double conductance_w_k  # water to wall, per cell
    double dispersion_m2_s
    double density


cdef struct Stream:
    # What a time of contact evens out: water by the wall beside it, and so on, times the time that counts.
    double water_by_wall
    double water_by_water
    double wall_by_water
    double wall_by_wall
    double loss_by_water  # J/K of a cell
    double loss_by_wall
    double time  # that counts in the contact of a pass, s
    double whole_time  # of a pass
    double exponent  # of the decay of a steady stream in a pass
    double decay
    double decay_bend
    double wall_share  # temperature of the wall of a steady stream over that of its water
    double fall  # exponent by which a steady stream falls along a cell, seen along the flow
    double dispersion  # dispersion number of a pass
    double density
    double moves  # 0 at rest, else 1
    # The profile of a steady stream, exp(-profile s) from the start of the pipe.
    double profile
    double start  # bend of it, and of its negative
    double end
    double both  # product of the means over a cell, seen from the start and from the end
    double sinh
    double from_start  # one over mean and sinhc
    double from_end


cdef inline double bend(double z) noexcept nogil:
    """(z - 1 + exp(-z)) / z^2, by its series: exact to 1e-9 for |z| <= 0.3, to 2e-7 at the bound of 0.7."""
    if fabs(z) < SMALL:  # nearly always; exact to 2e-13
        return 0.5 - z * (1.0 / 6.0 - z * (1.0 / 24.0 - z * (1.0 / 120.0 - z * (1.0 / 720.0))))
    return 0.5 - z * (
        1.0 / 6.0 - z * (1.0 / 24.0 - z * (1.0 / 120.0 - z * (1.0 / 720.0 - z * (1.0 / 5040.0 - z * (1.0 / 40320.0)))))
    )


cdef inline double gone(double z) noexcept nogil:
    """1 - exp(-z) for z >= 0, accurate where that is small too."""
    return z - z * z * bend(z) if z < 0.1 else 1.0 - exp(-z)


cdef inline double mean_left(double z) noexcept nogil:
    """The mean of exp(-z s) over s from 0 to 1, z >= 0: what is left of water that came in evenly."""
    return 1.0 - z * bend(z) if z < 0.1 else (1.0 - exp(-z)) / z


cdef inline double sinhc(double z) noexcept nogil:
    """sinh(z) / z by its series."""
    cdef double y = z * z
    return 1.0 + y / 6.0 * (1.0 + y / 20.0 * (1.0 + y / 42.0))


cdef inline Turbulence turbulence(double reynolds) noexcept nogil:
    cdef Turbulence found
    cdef unsigned long long bits
    cdef Py_ssize_t i
    cdef double weight
    memcpy(&bits, &reynolds, sizeof(bits))
    i = <Py_ssize_t> (bits >> WEIGHT_BITS) - FIRST_KNOT
    if i >= OCTAVES * KNOTS:
        return TURBULENCE[OCTAVES * KNOTS]
    weight = <double> <long long> (bits & ((1ULL << WEIGHT_BITS) - 1)) * (1.0 / (1ULL << WEIGHT_BITS))
    found.friction = TURBULENCE[i].friction + weight * (TURBULENCE[i + 1].friction - TURBULENCE[i].friction)
    found.dispersion = TURBULENCE[i].dispersion + weight * (TURBULENCE[i + 1].dispersion - TURBULENCE[i].dispersion)
    return found


cdef inline Contact contact(const Pipe* pipe, Py_ssize_t film, double flow) noexcept nogil:
    """Film (Gnielinski; laminar 3.66; linear between) and axial dispersion (Wen and Fan) at a flow in kg/s."""
    cdef Contact c
    cdef const Film* f = &FILM[film]
    cdef double reynolds = flow * pipe.reynolds_per_fluidity * f.fluidity
    cdef double nusselt = LAMINAR_NUSSELT
    cdef double turbulent, eighth
    cdef Turbulence t = turbulence(reynolds if reynolds > LAMINAR_REYNOLDS else LAMINAR_REYNOLDS)
    if reynolds > LAMINAR_REYNOLDS:
        turbulent = reynolds if reynolds > TURBULENT_REYNOLDS else TURBULENT_REYNOLDS
        eighth = t.friction * t.friction
        nusselt = eighth * (turbulent - 1000.0) * f.prandtl / (1.0 + t.friction * f.resistance)
        if reynolds < TURBULENT_REYNOLDS:
            nusselt = LAMINAR_NUSSELT + (nusselt - LAMINAR_NUSSELT) * (
                (reynolds - LAMINAR_REYNOLDS) * (1.0 / (TURBULENT_REYNOLDS - LAMINAR_REYNOLDS))
            )
    c.conductance_w_k = nusselt * f.conductivity * PI * pipe.cell_length_m
    c.dispersion_m2_s = pipe.dispersion_per_flow * flow * f.volume * t.dispersion
    c.density = f.density
    return c


cdef void standing(Stream* s, const Pipe* pipe, Py_ssize_t film, double dt) noexcept nogil:
    """Contact with water at rest: the exact exponential of water, wall and ambient, a fast and a slow mode."""
    cdef Contact c = contact(pipe, film, 0.0)
    cdef double water = HEAT_CAPACITY * c.density * pipe.cell_volume_m3
    cdef double p = c.conductance_w_k / water
    cdef double q = c.conductance_w_k / pipe.wall_capacity_j_k
    cdef double loss = pipe.loss_w_k / pipe.wall_capacity_j_k
    cdef double total = p + q + loss
    cdef double gap = sqrt(total * total - 4.0 * p * loss)
    cdef double fast = 0.5 * (total + gap)
    cdef double slow = p * loss / fast
    cdef double lost_slow = -expm1(-slow * dt)
    cdef double lost_fast = -expm1(-fast * dt)
    cdef double evened = (lost_fast - lost_slow) / gap
    cdef double water_by_ambient = (fast * lost_slow - slow * lost_fast) / gap
    cdef double wall_by_ambient = ((fast - loss) * lost_slow + (loss - slow) * lost_fast) / gap
    s.water_by_wall = p * evened
    s.water_by_water = p * evened + water_by_ambient
    s.wall_by_water = q * evened
    s.wall_by_wall = q * evened + wall_by_ambient
    s.loss_by_water = water * water_by_ambient
    s.loss_by_wall = pipe.wall_capacity_j_k * wall_by_ambient
    s.time = s.whole_time = 1.0
    s.exponent = s.decay = s.decay_bend = s.fall = s.dispersion = s.moves = 0.0
    s.wall_share = c.conductance_w_k / (c.conductance_w_k + pipe.loss_w_k)
    s.density = c.density
    set_profile(s, True)


cdef inline void streaming(
    Stream* s, const Pipe* pipe, Py_ssize_t film, double flow, double dt, bint forward
) noexcept nogil:
    """Contact with a stream: it decays, and evens out with the wall towards the ratio of a steady stream."""
    cdef Contact c = contact(pipe, film, flow)
    cdef double by_water = pipe.kelvin_per_heat * FILM[film].volume
    cdef double both = c.conductance_w_k + pipe.loss_w_k
    cdef double lasting
    s.wall_share = c.conductance_w_k / both
    lasting = pipe.loss_w_k * s.wall_share
    s.water_by_wall = c.conductance_w_k * by_water
    s.water_by_water = s.water_by_wall * s.wall_share
    s.wall_by_water = c.conductance_w_k * pipe.kelvin_per_wall_heat
    s.wall_by_wall = both * pipe.kelvin_per_wall_heat
    s.loss_by_water = -lasting
    s.loss_by_wall = pipe.loss_w_k
    s.exponent = lasting * by_water * dt
    s.decay = gone(s.exponent)
    s.decay_bend = s.exponent * (1.0 - s.decay) - s.decay
    s.time = evening_time(s, dt)
    s.whole_time = dt
    s.fall = lasting / (HEAT_CAPACITY * flow)
    if s.fall > LARGEST_FALL:
        s.fall = LARGEST_FALL
    s.dispersion = c.dispersion_m2_s * dt * pipe.per_cell_area
    s.density = c.density
    s.moves = 1.0
    set_profile(s, forward)


cdef inline void set_profile(Stream* s, bint forward) noexcept nogil:
    cdef double mean, mean_end, inverse
    s.profile = s.fall if forward else -s.fall
    s.start = bend(s.profile)
    s.end = bend(-s.profile)
    s.sinh = sinhc(s.profile)
    mean = 1.0 - s.profile * s.start
    mean_end = 1.0 + s.profile * s.end
    s.both = mean * mean_end
    inverse = 1.0 / (s.sinh * s.both)
    s.from_start = inverse * mean_end
    s.from_end = inverse * mean


cdef inline double evening_time(const Stream* s, double dt) noexcept nogil:
    """The time that counts in a contact of `dt`: less, since what is evened out dies away."""
    cdef double rate = s.water_by_water + s.wall_by_wall
    return gone(rate * dt) / rate


cdef inline double bounded_time(
    const Pipe* pipe, const Stream* s, double time, double decayed, double decays
) noexcept nogil:
    """`time`, or as much as keeps the water within the temperatures around it.

    In a wall that is warmer than that of a steady stream the water could become warmer than all around. The contact is
    so strong at most that with half of the decay after it (`decays` is the exponent of all) it does not, even where the
    water has come in in the step before, whose decay had the exponent `decayed`. So water is never warmer after a
    step than what came in in it, and the same holds in the next one.
    """
    cdef double fresh = mean_left(decayed), left = 1.0 - gone(0.5 * decays)
    cdef double excess = -s.loss_by_water / (s.wall_by_water * pipe.wall_capacity_j_k * s.wall_share)
    cdef double strength = left * (1.0 + excess - fresh) * s.water_by_water
    return time if time * strength <= 1.0 - left * fresh else (1.0 - left * fresh) / strength


cdef inline Stream* stream_of(
    const Pipe* pipe, double* memo, Py_ssize_t film, double flow, double dt, bint forward
) noexcept nogil:
    """`streaming` (`standing` without flow), remembered: the same as long as flow, step and film are."""
    cdef Stream* kept = <Stream*> (memo + 3)
    cdef double signed_flow = flow if forward else -flow
    if memo[0] != signed_flow or memo[1] != dt or memo[2] != film:
        if flow > 0.0:
            streaming(kept, pipe, film, flow, dt, forward)
        else:
            standing(kept, pipe, film, dt)
        memo[0] = signed_flow
        memo[1] = dt
        memo[2] = film
    return kept


cdef inline double limited(double back, double ahead) noexcept nogil:
    """Mean of two slopes of the same sign, at most 1.75 of the smaller, else nothing, to stay between neighbours."""
    cdef double mean = 0.5 * (back + ahead)
    cdef double high = MOST_SLOPE * (back if back < ahead else ahead)
    cdef double low = MOST_SLOPE * (back if back > ahead else ahead)
    high = high if high > 0.0 else 0.0
    low = low if low < 0.0 else 0.0
    high = mean if mean < high else high
    return high if high > low else low


cdef inline double lesser(double one, double other) noexcept nogil:
    """The smaller of two values of the same sign, else nothing."""
    cdef double low = one if one < other else other
    cdef double high = one if one > other else other
    return (low if low > 0.0 else 0.0) + (high if high < 0.0 else 0.0)


cdef inline double total(double* values, Py_ssize_t count) noexcept nogil:
    """The sum, in eight chains: one would wait for itself. There must be room for seven values more."""
    cdef double[8] sums
    cdef Py_ssize_t i, k
    for k in range(8):
        values[count + k] = 0.0
    for k in range(8):
        sums[k] = values[k]
    for i in range(8, count, 8):
        for k in range(8):
            sums[k] += values[i + k]
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))


cdef inline double largest(const double* values, Py_ssize_t count) noexcept nogil:
    """The largest of at least four values, in four chains."""
    cdef double a = values[count - 1], b = values[count - 2], c = values[count - 3], d = values[count - 4]
    cdef Py_ssize_t i
    for i in range(0, count - 4, 4):
        a = values[i] if values[i] > a else a
        b = values[i + 1] if values[i + 1] > b else b
        c = values[i + 2] if values[i + 2] > c else c
        d = values[i + 3] if values[i + 3] > d else d
    a = a if a > b else b
    c = c if c > d else d
    return a if a > c else c


cdef double exchange(
    const Pipe* pipe, double* record, const Stream* s, double time, bint decays, double missing, double ambient
) noexcept nogil:
    """Even out water and wall for `time` that counts, then let the water decay and disperse; returns the loss in J.

    Wall cell k lies beside plug k with its first part, `fill`, and beside plug k + 1 with the rest. A part differs from
    the mean of its cell by a multiple of the limited central slope: half the rest on a straight line, and exactly what
    the profile of a steady stream has. A plug at an end takes part whole, that at the inlet for 1 - `missing` of the
    time. Conserving, and free of over- and undershoot for any step.
    """
    cdef Py_ssize_t n = pipe.cells, i
    cdef double* temp = record + HEAD
    cdef const double* volume = temp + n + 1
    cdef double* wall = temp + 2 * n + 2
    cdef double[MOST_CELLS + 9] water  # above the ambient
    cdef double[MOST_CELLS + 9] metal  # the wall, above the ambient
    cdef double[MOST_CELLS + 9] slope
    cdef double[MOST_CELLS + 9] wall_slope
    cdef double[MOST_CELLS + 9] after
    cdef double[MOST_CELLS + 9] lost
    cdef double first = record[0], last = 1.0 - record[0]
    cdef double water_by_wall, water_by_water, wall_by_water, wall_by_wall, loss_by_water, loss_by_wall
    cdef double half_water, half_wall, start_part, end_part, at_first, at_last, lightest, here, absent, loss, kept
    cdef double density = s.density, bent = s.decay_bend, straight = s.decay - s.decay_bend, heat
    cdef double at_start, at_end
    if not decays:
        bent = straight = 0.0
    if s.moves:
        lightest = density * largest(volume, n + 1)
        if lightest > 1.0:
            time /= lightest
    water_by_wall = s.water_by_wall * time
    water_by_water = s.water_by_water * time
    wall_by_water = s.wall_by_water * time
    wall_by_wall = s.wall_by_wall * time
    loss_by_water = s.loss_by_water * time
    loss_by_wall = s.loss_by_wall * time
    for i in range(n + 1):
        water[i] = temp[i] - ambient
    for i in range(n):
        metal[i] = wall[i] - ambient
    at_start = bend(s.profile * first)
    at_end = bend(s.profile * last)
    half_water = last * (s.start - last * at_end) * s.from_start
    start_part = (s.start - first * at_start) * s.from_start
    half_wall = first * start_part
    # Both are one, but for the accuracy of the series: this keeps heat from being lost between them.
    end_part = half_wall / last if last > 1e-3 else (s.end - last * bend(-s.profile * last)) * s.from_end
    for i in range(1, n):
        slope[i] = limited(water[i] - water[i - 1], water[i + 1] - water[i])
    for i in range(1, n - 1):
        wall_slope[i] = limited(metal[i] - metal[i - 1], metal[i + 1] - metal[i])
    # Steps at the ends are stretched to whole cells.
    slope[0] = slope[n] = 0.0
    slope[1] = limited(
        (water[1] - water[0]) * (s.both / (s.start + first * bend(-s.profile * first))), water[2] - water[1]
    )
    slope[n - 1] = limited(
        water[n - 1] - water[n - 2], (water[n] - water[n - 1]) * (s.both / (s.end + last * at_end))
    )
    wall_slope[0] = lesser(
        (metal[1] - metal[0]) * s.sinh * s.sinh * s.from_start,
        (metal[0] - s.wall_share * (record[2] - ambient)) / (s.start * s.from_start),
    )
    wall_slope[n - 1] = lesser(
        (metal[n - 1] - metal[n - 2]) * s.sinh * s.sinh * s.from_end,
        (s.wall_share * (record[3] - ambient) - metal[n - 1]) / (s.end * s.from_end),
    )
    at_first = metal[0] - start_part * wall_slope[0]
    at_last = metal[n - 1] + end_part * wall_slope[n - 1]
    for i in range(n):
        wall[i] += wall_by_water * (
            first * water[i] + last * water[i + 1] + half_water * (slope[i] - slope[i + 1])
        ) - wall_by_wall * metal[i]
    loss = 0.0
    if missing > 0.0 and s.profile >= 0.0:
        absent = missing * first
        wall[0] -= absent * (wall_by_water * water[0] - wall_by_wall * at_first)
        loss -= absent * (loss_by_water * water[0] + loss_by_wall * at_first)
    elif missing > 0.0:
        absent = missing * last
        wall[n - 1] -= absent * (wall_by_water * water[n] - wall_by_wall * at_last)
        loss -= absent * (loss_by_water * water[n] + loss_by_wall * at_last)
    if not s.moves:  # what lies beyond the ends ages like the water beside it
        record[2] += water_by_wall * (metal[0] - 0.5 * wall_slope[0]) - water_by_water * (record[2] - ambient)
        record[3] += water_by_wall * (metal[n - 1] + 0.5 * wall_slope[n - 1]) - water_by_water * (record[3] - ambient)
    heat = HEAT_CAPACITY * density * pipe.cell_volume_m3
    straight *= heat
    bent *= heat
    heat = 1.0 / heat
    for i in range(1, n):
        here = density * volume[i]
        after[i] = water[i] + here * (
            water_by_wall * (
                last * metal[i - 1] + first * metal[i] + half_wall * (wall_slope[i - 1] - wall_slope[i])
            ) - water_by_water * water[i]
        )
        kept = (straight + bent * here) * after[i]
        lost[i] = loss_by_water * water[i] + loss_by_wall * metal[i] + kept
        after[i] -= here * kept * heat
    here = density * volume[0]
    after[0] = water[0] + here * (water_by_wall * at_first - water_by_water * water[0]) * (
        1.0 - missing if s.profile >= 0.0 else 1.0
    )
    kept = (straight + bent * here) * after[0]
    lost[0] = (loss_by_water * water[0] + kept) * first + loss_by_wall * metal[0]
    after[0] -= here * kept * heat
    here = density * volume[n]
    after[n] = water[n] + here * (water_by_wall * at_last - water_by_water * water[n]) * (
        1.0 - missing if s.profile < 0.0 else 1.0
    )
    kept = (straight + bent * here) * after[n]
    lost[n] = (loss_by_water * water[n] + kept) * last
    after[n] -= here * kept * heat
    loss += total(lost, n + 1)
    at_first, at_last = after[0], after[n]
    after[0] *= first
    after[n] *= last
    record[1] = ambient + total(after, n + 1) / n
    after[0], after[n] = at_first, at_last
    if decays and s.dispersion > 0.0:
        disperse(n, s.dispersion, first, last, density, ambient, volume, after, slope, temp)
    else:
        for i in range(n + 1):
            temp[i] = ambient + after[i]
    return loss


cdef inline void disperse(
    Py_ssize_t n, double number, double first, double last, double density, double ambient,
    const double* volume, double* old, double* new, double* temp,
) noexcept nogil:
    """Exchange between neighbours in passes that stay stable; fills `temp` with what is in `old`, above the ambient.

    A plug that takes up little room takes part with little. `new` is room to work in.
    """
    cdef Py_ssize_t passes = 1, k, i
    cdef double scale, share_first, share_last, at_first, at_last, zero = 0.0
    if number > LARGEST_DISPERSION_NUMBER:
        passes = <Py_ssize_t> fmin(ceil(number / LARGEST_DISPERSION_NUMBER), MOST_DISPERSION_PASSES)
        number = fmin(number / passes, LARGEST_DISPERSION_NUMBER)
    scale = density * number
    share_first = 2.0 * number / (1.0 + first)
    share_last = 2.0 * number / (1.0 + last)
    share_first = share_first if share_first < 0.25 * first else 0.25 * first
    share_last = share_last if share_last < 0.25 * last else 0.25 * last
    for k in range(1, passes + 1):
        if k == passes:
            new, zero = temp, ambient
        at_first = share_first * (old[0] - old[1])
        at_last = share_last * (old[n - 1] - old[n])
        for i in range(2, n - 1):
            new[i] = zero + old[i] + scale * volume[i] * (old[i - 1] - 2.0 * old[i] + old[i + 1])
        new[0] = zero + old[0] - (density * volume[0] * at_first / first if first > 0.0 else 0.0)
        new[1] = zero + old[1] + density * volume[1] * (at_first - number * (old[1] - old[2]))
        new[n - 1] = zero + old[n - 1] + density * volume[n - 1] * (number * (old[n - 2] - old[n - 1]) - at_last)
        new[n] = zero + old[n] + (density * volume[n] * at_last / last if last > 0.0 else 0.0)
        if k < passes:
            memcpy(old, new, (n + 1) * sizeof(double))


cdef inline void pop(
    const Pipe* pipe, double* record, double cells, double mass, const Stream* s, bint forward, double ambient,
    Outflow* out
) noexcept nogil:
    """Take a volume of `cells` (at most the cells of the pipe less two) out at the downstream end.

    Of the plug that is cut its outer part leaves, which differs from its mean as in `exchange`. All water has decayed
    for the whole step, but what leaves in it only does with its own age: a factor makes up for the difference. The room
    that the water leaves at the other end is not filled yet: `push` must follow with the same volume.
    """
    cdef Py_ssize_t n = pipe.cells, d = 1 if forward else -1, away = 0, i
    cdef double* end = record + HEAD + (n if forward else 0)  # seen along the flow: the plug before it is at end[-d]
    cdef const double* volume = end + n + 1
    cdef double* left = record + (3 if forward else 2)
    cdef double last = 1.0 - record[0] if forward else record[0]
    cdef double exponent = s.fall * mass * pipe.per_cell_volume
    cdef double start = s.start if forward else s.end, stop = s.end if forward else s.start
    cdef double part, rest, ahead, took, taken = cells, mass_out = 0.0, heat = 0.0, undecayed = 0.0, factor
    if cells <= last:
        rest = last - cells
        took = last * bend(s.fall * last)
        factor = mean_left(exponent * volume[0])
        part = (took - rest * bend(s.fall * rest)) / (took + stop) * (end[0] - end[-d])
        part = lesser(part * rest / cells, ambient + factor * (left[0] - ambient) - end[0])
    else:
        for i in range(n):  # plugs that leave whole
            took = 1.0 if away else last
            if taken <= took:
                break
            taken -= took
            took *= pipe.cell_volume_m3 / volume[-away * d]
            mass_out += took
            heat += took * (end[-away * d] - ambient)
            undecayed += took * (end[-away * d] - ambient) / mean_left(exponent * volume[-away * d])
            away += 1
        end -= away * d
        volume -= away * d
        rest = 1.0 - taken
        factor = mean_left(exponent * volume[0])
        ahead = end[d] - end[0]
        part = s.both / (stop + last * bend(s.fall * last)) if away == 1 else 1.0
        part = limited(end[0] - end[-d], ahead * part) / ((1.0 - s.fall * start) * s.sinh)
        part = lesser((start - rest * bend(s.fall * rest)) * part * rest / taken, ahead)
    took = pipe.cell_volume_m3 * taken / volume[0]
    mass_out += took
    took *= end[0] + part - ambient
    heat += took
    undecayed += took / factor
    if rest > 0.0:
        end[0] -= part * taken / rest
    left[0] = ambient + undecayed / mass_out
    out.mass_kg += mass_out
    out.heat_kgk += undecayed + mass_out * ambient
    out.loss_j += HEAT_CAPACITY * (heat - undecayed)
    record[1] -= heat / (mass_out * n) * cells


cdef inline void push(
    const Pipe* pipe, double* record, double cells, double mass, double temp_in, const Stream* s, double dt,
    bint forward, double ambient, Outflow* out
) noexcept nogil:
    """Fill the room that `pop` left at the upstream end: first the plug there, then new ones.

    Water that enters during the step has decayed with its own age. Half of the contact of the step of `dt` is
    left for the next one; the water of a new plug has missed a part of that.
    """
    cdef Py_ssize_t n = pipe.cells, d = 1 if forward else -1, new, i
    cdef double* temp = record + HEAD + (0 if forward else n)  # both seen along the flow: plug i is at i * d
    cdef double* volume = temp + n + 1
    cdef double first = record[0] if forward else 1.0 - record[0]
    cdef double room = 1.0 - first, pushed = mass * pipe.per_cell_volume, warmth = temp_in - ambient
    cdef double fall = s.fall * cells, left = mean_left(fall)
    cdef double older = 1.0, part = pushed, there = first / volume[0], filled = cells, missed = 0.0
    cdef double first_in, new_in, inverse
    first_in = new_in = warmth * left
    new = 0
    if cells > room:
        new = <Py_ssize_t> ceil(cells - room)
        older = room / cells
        part = pushed * older
        filled = room
        if new == 1:
            missed = older
            new_in = warmth * mean_left(fall * (1.0 - older))
            if older > 0.0:
                first_in = warmth * mean_left(fall * older) * (1.0 - gone(fall * (1.0 - older)))
    if there + part > 0.0:
        inverse = 1.0 / (there + part)
        temp[0] = ambient + (there * (temp[0] - ambient) + part * first_in) * inverse
        volume[0] = (first + filled) * inverse
    first += cells
    if new:
        first = cells - room - (new - 1)
        if forward:
            memmove(temp + new, temp, (n + 1 - new) * sizeof(double))
            memmove(volume + new, volume, (n + 1 - new) * sizeof(double))
        else:
            memmove(temp - n, temp - n + new, (n + 1 - new) * sizeof(double))
            memmove(volume - n, volume - n + new, (n + 1 - new) * sizeof(double))
        for i in range(new):
            temp[i * d] = ambient + new_in
            volume[i * d] = (cells - room) / (pushed - part)
    record[0] = first if forward else 1.0 - first
    record[1] += cells * (first_in * older + new_in * (1.0 - older)) / n
    record[2 if forward else 3] = temp_in
    record[OWED_TIME] = 0.5 * dt
    record[OWED_FLOW] = mass / dt if forward else -mass / dt
    record[OWED_DECAY] = s.exponent
    record[OWED_MISSED] = missed
    out.loss_j += HEAT_CAPACITY * pipe.cell_volume_m3 * (
        part * (warmth - first_in) + (pushed - part) * (warmth - new_in)
    )


cdef struct Shells:
    # What a time does to the differences of two shells from the steady state, and what comes of it.
    double kept_inner
    double inner_by_outer
    double outer_by_inner
    double kept_outer
    double back_by_inner  # J/K of a cell that come back to the wall
    double back_by_outer
    double loss_by_inner  # J/K of a cell that go to the ambient besides
    double loss_by_outer


cdef void work_out_shells(Shells* s, const Pipe* pipe, double dt) noexcept nogil:
    """The exact exponential of two shells between a wall and an ambient that keep their temperatures."""
    cdef const Insulation* around = pipe.insulation
    cdef double inner = around.capacity_j_k[0], outer = around.capacity_j_k[1]
    cdef double a = (around.conductance_w_k[0] + around.conductance_w_k[1]) / inner
    cdef double b = around.conductance_w_k[1] / inner, c = around.conductance_w_k[1] / outer
    cdef double d = (around.conductance_w_k[1] + around.conductance_w_k[2]) / outer
    cdef double gap = sqrt((a - d) * (a - d) + 4.0 * b * c)
    cdef double fast = 0.5 * (a + d + gap), slow = (a * d - b * c) / fast
    cdef double lost_fast = -expm1(-fast * dt), lost_slow = -expm1(-slow * dt)
    # Parts of the fast and the slow mode in each shell's own difference.
    cdef double inner_fast = (a - slow) / gap, outer_fast = (d - slow) / gap
    cdef double lost_inner = inner_fast * lost_fast + (1.0 - inner_fast) * lost_slow
    cdef double lost_outer = outer_fast * lost_fast + (1.0 - outer_fast) * lost_slow
    cdef double across = (lost_fast - lost_slow) / gap
    s.kept_inner = 1.0 - lost_inner
    s.kept_outer = 1.0 - lost_outer
    s.inner_by_outer = b * across
    s.outer_by_inner = c * across
    # The time that each difference of the inner shell stands, in the mean of the step.
    s.back_by_inner = around.conductance_w_k[0] * (
        inner_fast * lost_fast / fast + (1.0 - inner_fast) * lost_slow / slow
    )
    s.back_by_outer = around.conductance_w_k[0] * b / gap * (lost_slow / slow - lost_fast / fast)
    s.loss_by_inner = inner * lost_inner - outer * s.outer_by_inner - s.back_by_inner
    s.loss_by_outer = outer * lost_outer - inner * s.inner_by_outer - s.back_by_outer


cdef double insulate(
    const Pipe* pipe, double* record, double* memo, const Stream* s, double dt, double ambient, double* passing_kgk
) noexcept nogil:
    """What the heat capacity of the insulation changes in a step; returns the loss in J.

    The loss of the wall is that of a steady state, in which the shells have fixed shares of its temperature. Where they
    differ from those, some heat comes back. It goes to wall and water as the exchange (`s`) would have taken it from
    them at one temperature; in a pipe that was marched to what came through (`passing_kgk`).
    """
    cdef Py_ssize_t n = pipe.cells, i
    cdef double* temp = record + HEAD
    cdef const double* volume = temp + n + 1
    cdef double* wall = temp + 2 * n + 2
    cdef double* inner = wall + n
    cdef double* outer = wall + 2 * n
    cdef Shells* shells = <Shells*> (memo + SHELL_MEMO + 1)
    cdef double[MOST_CELLS + 9] warmed
    cdef double[MOST_CELLS + 9] lost
    cdef double here, there, first = record[0], last = 1.0 - record[0]
    cdef double by_water, by_wall
    if memo[SHELL_MEMO] != dt:
        work_out_shells(shells, pipe, dt)
        memo[SHELL_MEMO] = dt
    for i in range(n):
        here = inner[i] - ambient - pipe.insulation.share[0] * (wall[i] - ambient)
        there = outer[i] - ambient - pipe.insulation.share[1] * (wall[i] - ambient)
        warmed[i] = shells.back_by_inner * here + shells.back_by_outer * there
        lost[i] = shells.loss_by_inner * here + shells.loss_by_outer * there
        inner[i] += shells.inner_by_outer * there - (1.0 - shells.kept_inner) * here
        outer[i] += shells.outer_by_inner * here - (1.0 - shells.kept_outer) * there
    here = total(lost, n)
    if passing_kgk != NULL:
        passing_kgk[0] += total(warmed, n) / HEAT_CAPACITY
        return here
    by_wall = pipe.loss_w_k * s.time if s.moves else s.loss_by_wall
    by_water = -s.loss_by_water * (s.whole_time - s.time) if s.moves else s.loss_by_water
    by_water /= by_water + by_wall
    by_wall = (1.0 - by_water) * pipe.kelvin_per_wall_heat
    by_water *= pipe.kelvin_per_heat
    for i in range(n):
        wall[i] += by_wall * warmed[i]
        warmed[i] *= by_water
    temp[0] += volume[0] * warmed[0]
    for i in range(1, n):
        temp[i] += volume[i] * (last * warmed[i - 1] + first * warmed[i])
    temp[n] += volume[n] * warmed[n - 1]
    return here


cdef double settle(const Pipe* pipe, double* record, double ambient) noexcept nogil:
    """Make up for the contact that the last step left, before water comes to rest or turns round; the loss in J."""
    cdef double dt = record[OWED_TIME], flow = fabs(record[OWED_FLOW])
    cdef Stream s
    cdef double time
    if dt == 0.0:
        return 0.0
    streaming(&s, pipe, film_of(record[1]), flow, dt, record[OWED_FLOW] > 0.0)
    time = bounded_time(pipe, &s, s.time, record[OWED_DECAY], 0.0)
    record[OWED_TIME] = 0.0
    return exchange(pipe, record, &s, time, False, record[OWED_MISSED], ambient)


cdef inline double meet(
    const Pipe* pipe, double* record, double* memo, const Stream* s, double dt, double ambient
) noexcept nogil:
    """The contact that the pass before left and that of the first half of this one of `dt`; the loss in J."""
    cdef double owed = record[OWED_TIME], missed = 0.0, loss
    cdef double time = s.time if owed == 0.5 * dt else evening_time(s, owed + 0.5 * dt)
    if owed > 0.0:
        time = bounded_time(pipe, s, time, record[OWED_DECAY], s.exponent)
        missed = record[OWED_MISSED] * owed / (owed + 0.5 * dt)
    else:
        time = bounded_time(pipe, s, time, 0.0, s.exponent)
    loss = exchange(pipe, record, s, time, True, missed, ambient)
    return loss + insulate(pipe, record, memo, s, dt, ambient, NULL) if pipe.insulation != NULL else loss


cdef double water_heat(const Pipe* pipe, const double* record, double zero, double* mass) noexcept nogil:
    """Sum of mass times temperature above `zero`; `mass` receives the mass."""
    cdef Py_ssize_t n = pipe.cells, i
    cdef const double* temp = record + HEAD
    cdef const double* volume = temp + n + 1
    cdef double[MOST_CELLS + 9] masses
    cdef double[MOST_CELLS + 9] heat
    masses[0] = record[0] * (1.0 / volume[0])
    for i in range(1, n):
        masses[i] = 1.0 / volume[i]
    masses[n] = (1.0 - record[0]) * (1.0 / volume[n])
    for i in range(n + 1):
        heat[i] = masses[i] * (temp[i] - zero)
    mass[0] = pipe.cell_volume_m3 * total(masses, n + 1)
    return pipe.cell_volume_m3 * total(heat, n + 1)


cdef double stored_energy_j(const Pipe* pipe, const double* record) noexcept nogil:
    """Heat content of water and wall above 0 degC."""
    cdef Py_ssize_t n = pipe.cells, i
    cdef const double* temp = record + HEAD
    cdef const double* volume = temp + n + 1
    cdef const double* wall = temp + 2 * n + 2
    cdef double[MOST_CELLS + 9] heat  # of a plug, and of the wall cell with the same number
    cdef double water = HEAT_CAPACITY * pipe.cell_volume_m3
    for i in range(n + 1):
        heat[i] = water * (temp[i] - ENERGY_ZERO) / volume[i]
    heat[0] *= record[0]
    heat[n] *= 1.0 - record[0]
    for i in range(n):
        heat[i] += pipe.wall_capacity_j_k * (wall[i] - ENERGY_ZERO)
    if pipe.insulation != NULL:
        for i in range(n):
            heat[i] += pipe.insulation.capacity_j_k[0] * (wall[n + i] - ENERGY_ZERO)
            heat[i] += pipe.insulation.capacity_j_k[1] * (wall[2 * n + i] - ENERGY_ZERO)
    return total(heat, n + 1)


cdef void march(
    const Pipe* pipe, double* record, double flow, double temp_in, double dt, double ambient, bint forward, Outflow* out
) noexcept nogil:
    """A long step through a short pipe: each wall cell sees a steady stream, cell after cell along the flow.

    Temperatures count from the ambient. In a cell the water falls like a steady stream, and evens out with a wall that
    falls likewise. The loss is the rest of the balance.
    """
    cdef Py_ssize_t n = pipe.cells, d = 1 if forward else -1, k
    cdef double* temp = record + HEAD + (0 if forward else n)
    cdef double* volume = record + HEAD + n + 1
    cdef double* wall = record + HEAD + 2 * n + 2 + (0 if forward else n - 1)
    cdef double stream = flow * HEAT_CAPACITY
    cdef double conductance = contact(pipe, film_of(record[1]), flow).conductance_w_k
    cdef double share = conductance / (conductance + pipe.loss_w_k)
    cdef double fall = clip(pipe.loss_w_k * share / stream, 0.0, LARGEST_FALL)
    cdef double transfer = conductance * share / stream
    cdef double met = -expm1(-transfer)
    cdef double kept = exp(-fall), mean = 1.0 - fall * bend(fall)
    cdef double mean_of_rest = -expm1(-(fall + transfer)) / (fall + transfer)
    cdef double times = (conductance + pipe.loss_w_k) / pipe.wall_capacity_j_k * met / transfer * dt
    cdef double settled = -expm1(-times)
    cdef double mean_share = settled / times
    cdef double mass_before, mass_after, metal, during, here = temp_in - ambient, sum_temp = 0.0, sum_change = 0.0
    cdef double heat = water_heat(pipe, record, ambient, &mass_before)
    cdef double inverse = volume_of(temp_in)
    temp[0] = temp_in
    for k in range(n):
        metal = (wall[k * d] - ambient) / (share * mean)
        during = here + (metal - here) * mean_share
        metal = here + (metal - here) * (1.0 - settled)
        sum_change -= wall[k * d]
        wall[k * d] = ambient + metal * share * mean
        sum_change += wall[k * d]
        temp[(k + 1) * d] = ambient + metal * mean + (here - metal) * mean_of_rest
        sum_temp += temp[(k + 1) * d]
        here = kept * (here - met * (here - during))
    for k in range(n + 1):
        volume[k] = inverse
    record[0] = 0.0 if forward else 1.0
    record[1] = sum_temp / n
    record[3 if forward else 2] = ambient + here
    record[2 if forward else 3] = temp_in
    # What was in the pipe leaves, and what is in it at the end stays.
    heat -= water_heat(pipe, record, ambient, &mass_after)
    out.mass_kg = flow * dt + mass_before - mass_after
    out.heat_kgk = flow * dt * here + heat + out.mass_kg * ambient
    out.loss_j += stream * dt * (temp_in - ambient - here) - pipe.wall_capacity_j_k * sum_change


cdef Outflow advance(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """Advance one pipe by `dt_s` while `mass_kg` of `temp_k` goes in; negative: from the end to the start.

    Splitting after Strang: half an exchange, a move, half an exchange. The second half is left for the next step, which
    does both at once. A move is one cell at most (half a cell in steps of more), and so short that a stream decays
    little.
    """
    cdef Outflow out
    cdef Stream fresh
    cdef Stream* s = &fresh
    cdef bint forward = mass_kg >= 0.0
    cdef double mass = fabs(mass_kg)
    cdef double cells = mass * volume_of(temp_k) * pipe.per_cell_volume
    cdef double passes, decays, dt = dt_s
    cdef Py_ssize_t i, count = 1
    out.mass_kg = 0.0
    out.heat_kgk = 0.0
    out.loss_j = 0.0
    if cells < LEAST_MOVE:
        out.loss_j = rest(pipe, record, memo, dt_s, ambient_temp_k)
        return out
    if cells > MARCH_CONTENTS * pipe.cells:
        out.loss_j = settle(pipe, record, ambient_temp_k)
        march(pipe, record, mass / dt_s, temp_k, dt_s, ambient_temp_k, forward, &out)
        if pipe.insulation != NULL:
            out.loss_j += insulate(pipe, record, memo, NULL, dt_s, ambient_temp_k, &out.heat_kgk)
        return out
    if forward != (record[OWED_FLOW] >= 0.0):
        out.loss_j = settle(pipe, record, ambient_temp_k)
    decays = pipe.loss_w_k * dt_s * cells
    if cells > 1.0 or decays > HEAT_CAPACITY * MOST_DECAY * mass:
        passes = ceil(decays / (HEAT_CAPACITY * mass * MOST_DECAY))
        passes = fmax(fmin(passes, MOST_PASSES), ceil(cells / MOST_MOVE) if cells > 1.0 else 1.0)
        cells /= passes
        mass /= passes
        dt /= passes
        count = <Py_ssize_t> passes
    # A flow that is new may change again: only what comes twice is worth the way to the memo.
    if record[OWED_FLOW] == (mass / dt if forward else -mass / dt):
        s = stream_of(pipe, memo, film_of(record[1]), mass / dt, dt, forward)
    else:
        streaming(s, pipe, film_of(record[1]), mass / dt, dt, forward)
    for i in range(count):
        out.loss_j += meet(pipe, record, memo, s, dt, ambient_temp_k)
        pop(pipe, record, cells, mass, s, forward, ambient_temp_k, &out)
        push(pipe, record, cells, mass, temp_k, s, dt, forward, ambient_temp_k, &out)
    return out


cdef double rest(const Pipe* pipe, double* record, double* memo, double dt, double ambient) noexcept nogil:
    """A step without flow; returns the loss in J."""
    cdef double loss = settle(pipe, record, ambient)
    cdef const Stream* s = stream_of(pipe, memo, film_of(record[1]), 0.0, dt, True)
    loss += exchange(pipe, record, s, 1.0, False, 0.0, ambient)
    if pipe.insulation != NULL:
        loss += insulate(pipe, record, memo, s, dt, ambient, NULL)
    return loss


cdef Outflow release(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double dt_s, double ambient_temp_k
) noexcept nogil:
    """What leaves while `mass_kg` goes in whose temperature is not known yet; only where `releases_first`.

    An exchange, then the outflow. `admit` must follow, and its mass fills the volume that left.
    """
    cdef Outflow out
    cdef double cells = volume_in_cells(pipe, record, mass_kg), mass = fabs(mass_kg)
    cdef bint forward = mass_kg >= 0.0
    cdef Stream* s
    out.mass_kg = 0.0
    out.heat_kgk = 0.0
    out.loss_j = 0.0
    if cells < LEAST_MOVE:
        out.loss_j = rest(pipe, record, memo, dt_s, ambient_temp_k)
        cells = 0.0
    else:
        if forward != (record[OWED_FLOW] >= 0.0):
            out.loss_j = settle(pipe, record, ambient_temp_k)
        s = stream_of(pipe, memo, film_of(record[1]), mass / dt_s, dt_s, forward)
        out.loss_j += meet(pipe, record, memo, s, dt_s, ambient_temp_k)
        pop(pipe, record, cells, mass, s, forward, ambient_temp_k, &out)
    memo[PENDING] = cells
    return out


cdef double admit(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """After `release`: `mass_kg` of `temp_k` goes in; returns the loss in J."""
    cdef Outflow out
    out.loss_j = 0.0
    if memo[PENDING] > 0.0:
        push(
            pipe, record, memo[PENDING], fabs(mass_kg), temp_k, <Stream*> (memo + 3), dt_s, mass_kg >= 0.0,
            ambient_temp_k, &out,
        )
    return out.loss_j


cdef Kernel KERNEL
KERNEL.advance = advance
KERNEL.release = release
KERNEL.admit = admit
KERNEL.stored_energy_j = stored_energy_j


def kernel():
    """The functions of a step, for graph.pyx."""
    return PyCapsule_New(&KERNEL, NULL, NULL)
