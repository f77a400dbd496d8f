"""Heat and water moving through pipes: plugs that travel with the water over the cells of a heavy wall.

A pipe is cut into cells of equal length. Its water is cells + 1 plugs that slide over them: every plug takes up one
cell length, the first only the part `fill`, the last only 1 - `fill`. Water that goes in fills the upstream plug, then
begins a new one; water that leaves is taken from the downstream plug. A plug is never remixed while it travels, so
there is no numerical diffusion and no limit on the step. Equations, sources and limits: docs/models/thermal.md;
the same in NumPy: reference.py.

SI units, temperatures in K. A plug keeps the specific volume with which it came in: mass and volume are both conserved.
"""

from libc.math cimport ceil, copysign, exp, expm1, fabs, fmax, log, rint, sqrt
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

from uem.twin_core.thermal.water cimport conductivity_w_mk, density_kg_m3, heat_capacity_j_kgk, viscosity_pa_s

from uem.twin_core.errors import InvalidInput

# One heat capacity for all water, that of 60 degC: within 0.8 % of the true one from 0 to 100 degC. Energy is linear in
# temperature, so mixing and ledgers are exact.
cdef double HEAT_CAPACITY = heat_capacity_j_kgk(333.15)
cdef double ENERGY_ZERO = 273.15
# A flow that moves less than this part of a cell in a step counts as standstill.
cdef double LEAST_MOVE = 1e-12
# A step that moves the content of the pipe through more often than this is marched.
cdef double MARCH_CONTENTS = 4.0
cdef double PI = 3.141592653589793
# Passes are so short that a stream decays by no more than this in one, as long as there are not too many of them.
cdef double MOST_DECAY = 0.1
cdef double MOST_PASSES = 1000.0
# The largest fall of a steady stream along a cell that parts of cells are made exact for.
cdef double LARGEST_FALL = 0.7
# Slopes are at most this many times the smaller difference to a neighbour, so that parts stay between neighbours.
cdef double MOST_SLOPE = 1.75
# A step of at most one cell is one pass; in longer ones a pass moves at most this part of a cell.
cdef double MOST_MOVE = 0.5
cdef double LAMINAR_NUSSELT = 3.66
cdef double LAMINAR_REYNOLDS = 2300.0
cdef double TURBULENT_REYNOLDS = 4000.0
cdef double LARGEST_DISPERSION_NUMBER = 0.25
cdef double MOST_DISPERSION_PASSES = 16.0

HEAT_CAPACITY_J_KGK = HEAT_CAPACITY
ENERGY_ZERO_K = ENERGY_ZERO
MAX_CELLS_OF_A_PIPE = MOST_CELLS
MEMO_NUMBERS = MEMO_WIDTH


cdef struct Film:
    double density
    double viscosity
    double conductivity
    double prandtl
    double prandtl_two_thirds


# Film properties at whole kelvins, 273 to 423: rounding moves the film coefficient by less than 1 %.
cdef enum:
    FIRST_FILM_K = 273
    FILMS = 151
cdef Film[FILMS] FILM

cdef void fill_film_table():
    cdef Py_ssize_t i
    for i in range(FILMS):
        FILM[i].density = density_kg_m3(FIRST_FILM_K + i)
        FILM[i].viscosity = viscosity_pa_s(FIRST_FILM_K + i)
        FILM[i].conductivity = conductivity_w_mk(FIRST_FILM_K + i)
        FILM[i].prandtl = HEAT_CAPACITY * FILM[i].viscosity / FILM[i].conductivity
        FILM[i].prandtl_two_thirds = FILM[i].prandtl ** (2.0 / 3.0)

fill_film_table()


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
    double time_first  # that counts in the contact before and in that after a move, s
    double time_last
    double decay  # of a steady stream in half a pass
    double decay_bend
    double wall_share  # temperature of the wall of a steady stream over that of its water
    double fall  # exponent by which a steady stream falls along a cell
    double start  # bend of it, and of its negative
    double end
    double dispersion  # dispersion number of a pass
    double density


cdef struct Profile:
    # The exponential of a steady stream seen from the start of the pipe.
    double fall
    double start
    double end
    double both  # product of the means over a cell, seen from the start and from the end
    double from_start  # one over mean and sinhc
    double from_end
    double sinh


cdef inline double clip(double value, double low, double high) noexcept nogil:
    return low if value < low else high if value > high else value


cdef inline double bend(double z) noexcept nogil:
    """(z - 1 + exp(-z)) / z^2, by its series: exact to 1e-9 for |z| <= 0.3, to 2e-7 at the bound of 0.7."""
    return 0.5 - z * (
        1.0 / 6.0 - z * (1.0 / 24.0 - z * (1.0 / 120.0 - z * (1.0 / 720.0 - z * (1.0 / 5040.0 - z * (1.0 / 40320.0)))))
    )


cdef inline double sinhc(double z) noexcept nogil:
    """sinh(z) / z by its series."""
    cdef double y = z * z
    return 1.0 + y / 6.0 * (1.0 + y / 20.0 * (1.0 + y / 42.0))


cdef Py_ssize_t record_width(Py_ssize_t cells) noexcept nogil:
    return HEAD + 3 * cells + 2


cdef Contact contact(const Pipe* pipe, double film_temp, double flow) noexcept nogil:
    """Film (Gnielinski; laminar 3.66; linear between) and axial dispersion (Wen and Fan) at a flow in kg/s."""
    cdef Contact c
    cdef Film f = FILM[<Py_ssize_t> clip(rint(film_temp) - FIRST_FILM_K, 0.0, FILMS - 1)]
    cdef double diameter = pipe.inner_diameter_m
    cdef double section = PI / 4.0 * diameter * diameter
    cdef double reynolds = flow * diameter / (section * f.viscosity)
    cdef double nusselt = LAMINAR_NUSSELT
    cdef double turbulent, eighth, blend, log_re
    if reynolds > LAMINAR_REYNOLDS:
        turbulent = reynolds if reynolds > TURBULENT_REYNOLDS else TURBULENT_REYNOLDS
        eighth = 0.79 * log(turbulent) - 1.64
        eighth = 0.125 / (eighth * eighth)
        blend = clip((reynolds - LAMINAR_REYNOLDS) / (TURBULENT_REYNOLDS - LAMINAR_REYNOLDS), 0.0, 1.0)
        nusselt = eighth * (turbulent - 1000.0) * f.prandtl / (1.0 + 12.7 * sqrt(eighth) * (f.prandtl_two_thirds - 1.0))
        nusselt = LAMINAR_NUSSELT + blend * (nusselt - LAMINAR_NUSSELT)
    c.conductance_w_k = nusselt * f.conductivity * PI * pipe.cell_length_m
    log_re = log(reynolds if reynolds > LAMINAR_REYNOLDS else LAMINAR_REYNOLDS)
    c.dispersion_m2_s = (
        pipe.dispersion_factor * 0.5 * diameter * flow / (f.density * section)
        * (3e7 * exp(-2.1 * log_re) + 1.35 * exp(-0.125 * log_re))
    )
    c.density = f.density
    return c


cdef Stream standing(const Pipe* pipe, double film_temp, double dt) noexcept nogil:
    """Contact with water at rest: the exact exponential of water, wall and ambient, a fast and a slow mode."""
    cdef Stream s
    cdef Contact c = contact(pipe, film_temp, 0.0)
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
    s.time_first = s.time_last = 1.0
    s.decay = s.decay_bend = s.fall = s.dispersion = 0.0
    s.start = s.end = 0.5
    s.wall_share = c.conductance_w_k / (c.conductance_w_k + pipe.loss_w_k)
    s.density = c.density
    return s


cdef Stream streaming(const Pipe* pipe, double film_temp, double flow, double dt) noexcept nogil:
    """Contact with a stream: it decays, and evens out with the wall towards the ratio of a steady stream."""
    cdef Stream s
    cdef Contact c = contact(pipe, film_temp, flow)
    cdef double water = HEAT_CAPACITY * c.density * pipe.cell_volume_m3
    cdef double both = c.conductance_w_k + pipe.loss_w_k
    cdef double lasting = c.conductance_w_k * pipe.loss_w_k / both
    cdef double exponent = 0.5 * lasting * dt / water
    s.wall_share = c.conductance_w_k / both
    s.water_by_wall = c.conductance_w_k / water
    s.water_by_water = s.water_by_wall * s.wall_share
    s.wall_by_water = c.conductance_w_k / pipe.wall_capacity_j_k
    s.wall_by_wall = both / pipe.wall_capacity_j_k
    s.loss_by_water = -lasting
    s.loss_by_wall = pipe.loss_w_k
    s.decay = -expm1(-exponent)
    s.decay_bend = exponent * (1.0 - s.decay) - s.decay
    s.time_first = evening_time(&s, 0.5 * dt)
    s.time_last = bounded_time(pipe, &s, s.time_first, False)
    s.fall = lasting / (HEAT_CAPACITY * flow)
    if s.fall > LARGEST_FALL:
        s.fall = LARGEST_FALL
    s.start = bend(s.fall)
    s.end = bend(-s.fall)
    s.dispersion = c.dispersion_m2_s * dt / (pipe.cell_length_m * pipe.cell_length_m)
    s.density = c.density
    return s


cdef double evening_time(const Stream* s, double dt) noexcept nogil:
    """The time that counts in a contact of `dt`: less, since what is evened out dies away."""
    cdef double rate = s.water_by_water + s.wall_by_wall
    return -expm1(-rate * dt) / rate


cdef double bounded_time(const Pipe* pipe, const Stream* s, double time, bint decays_after) noexcept nogil:
    """`time`, or as much as keeps the water within the temperatures around it.

    In a wall that is warmer than that of a steady stream the water could become warmer than all around. The contact is
    so strong at most that with the decay before and after it does not, even where it came in half a step ago.
    """
    cdef double kept = 1.0 - s.decay
    cdef double fresh = kept * sinhc((s.decay_bend + s.decay) / kept)
    cdef double excess = -s.loss_by_water / (s.wall_by_water * pipe.wall_capacity_j_k * s.wall_share)
    cdef double left = kept if decays_after else 1.0
    cdef double bound = (1.0 - left * fresh) / (left * (1.0 + excess - fresh) * s.water_by_water)
    return bound if bound < time else time


cdef Stream* stream_of(const Pipe* pipe, double* memo, double film_temp, double flow, double dt) noexcept nogil:
    """`streaming` (`standing` without flow), remembered: the same as long as flow, step and film (in whole K) are."""
    cdef double rounded = rint(film_temp)
    cdef Stream* kept = <Stream*> (memo + 3)
    if memo[0] != flow or memo[1] != dt or memo[2] != rounded:
        kept[0] = streaming(pipe, rounded, flow, dt) if flow > 0.0 else standing(pipe, rounded, dt)
        memo[0] = flow
        memo[1] = dt
        memo[2] = rounded
    return kept


cdef Profile profile_of(const Stream* s, bint forward) noexcept nogil:
    cdef Profile p
    cdef double mean = 1.0 - s.fall * s.start, mean_end = 1.0 + s.fall * s.end
    p.sinh = sinhc(s.fall)
    p.both = mean * mean_end
    p.fall = s.fall if forward else -s.fall
    p.start = s.start if forward else s.end
    p.end = s.end if forward else s.start
    p.from_start = 1.0 / (p.sinh * (mean if forward else mean_end))
    p.from_end = 1.0 / (p.sinh * (mean_end if forward else mean))
    return p


cdef void disperse(
    Py_ssize_t n, double number, double first, double last, double density,
    const double* volume, const double* old, double* new,
) noexcept nogil:
    """One pass of exchange between neighbours; a plug that takes up little room takes part with little."""
    cdef Py_ssize_t i
    cdef double scale = density * number
    cdef double at_first = 2.0 * number / (1.0 + first)
    cdef double at_last = 2.0 * number / (1.0 + last)
    at_first = (at_first if at_first < 0.25 * first else 0.25 * first) * (old[0] - old[1])
    at_last = (at_last if at_last < 0.25 * last else 0.25 * last) * (old[n - 1] - old[n])
    for i in range(2, n - 1):
        new[i] = old[i] + scale * volume[i] * (old[i - 1] - 2.0 * old[i] + old[i + 1])
    new[0] = old[0] - (density * volume[0] * at_first / first if first > 0.0 else 0.0)
    new[1] = old[1] + density * volume[1] * (at_first - number * (old[1] - old[2]))
    new[n - 1] = old[n - 1] + density * volume[n - 1] * (number * (old[n - 2] - old[n - 1]) - at_last)
    new[n] = old[n] + (density * volume[n] * at_last / last if last > 0.0 else 0.0)


cdef inline double limited(double back, double ahead) noexcept nogil:
    """Mean of two slopes of the same sign, at most 1.75 of the smaller, else nothing, to stay between neighbours."""
    cdef double least = fabs(back) if fabs(back) < fabs(ahead) else fabs(ahead)
    cdef double mean = 0.5 * fabs(back + ahead)
    least *= MOST_SLOPE
    least = mean if mean < least else least
    return 0.5 * (copysign(least, back) + copysign(least, ahead))


cdef inline double lesser(double one, double other) noexcept nogil:
    """The smaller of two values of the same sign, else nothing."""
    cdef double least = fabs(one) if fabs(one) < fabs(other) else fabs(other)
    return 0.5 * (copysign(least, one) + copysign(least, other))


cdef inline double total(const double* values, Py_ssize_t count) noexcept nogil:
    """The sum, in eight chains: one would wait for itself. Reads on to a multiple of eight: zeros must stand there."""
    cdef double[8] sums
    cdef Py_ssize_t i, k
    for k in range(8):
        sums[k] = values[k]
    for i in range(8, count, 8):
        for k in range(8):
            sums[k] += values[i + k]
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))


cdef double exchange(
    const Pipe* pipe, double* record, const Stream* s, const Profile* p, double time, bint before, bint after,
    double missing, double ambient
) noexcept nogil:
    """Decay `before`, even out water and wall for `time` that counts, decay `after`; returns the loss in J.

    Wall cell k lies beside plug k with its first part, `fill`, and beside plug k + 1 with the rest. A part differs from
    the mean of its cell by a multiple of the limited central slope: half the rest on a straight line, and exactly what
    the profile of a steady stream has. A plug at an end takes part whole, that at the inlet for 1 - `missing` of the
    time. Conserving, and free of over- and undershoot for any step.
    """
    cdef Py_ssize_t n = pipe.cells, i
    cdef double* temp = record + HEAD
    cdef const double* volume = temp + n + 1
    cdef double* wall = temp + 2 * n + 2
    cdef double[MOST_CELLS + 8] water  # above the ambient
    cdef double[MOST_CELLS + 8] decayed
    cdef double[MOST_CELLS + 8] share  # of a plug that decays
    cdef double[MOST_CELLS + 8] ratio
    cdef double[MOST_CELLS + 8] metal  # the wall, above the ambient
    cdef double[MOST_CELLS + 8] step
    cdef double[MOST_CELLS + 8] wall_step
    cdef double[MOST_CELLS + 8] slope
    cdef double[MOST_CELLS + 8] wall_slope
    cdef double first = record[0], last = 1.0 - record[0]
    cdef double water_by_wall, water_by_water, wall_by_water, wall_by_wall, loss_by_water, loss_by_wall
    cdef double half_water, half_wall, start_part, end_part, at_first, at_last, lightest, here, absent, loss
    cdef double density = s.density, bent = s.decay_bend, straight = s.decay - s.decay_bend
    cdef double decays_before = 1.0 if before else 0.0, decays_after = 1.0 if after else 0.0
    lightest = volume[0]
    for i in range(1, n + 1):
        lightest = volume[i] if volume[i] > lightest else lightest
    if (before or after) and density * lightest > 1.0:
        time /= density * lightest
    water_by_wall = s.water_by_wall * time
    water_by_water = s.water_by_water * time
    wall_by_water = s.wall_by_water * time
    wall_by_wall = s.wall_by_wall * time
    loss_by_water = s.loss_by_water * time
    loss_by_wall = s.loss_by_wall * time
    half_water = last * (p.start - last * bend(p.fall * last)) * p.from_start
    start_part = (p.start - first * bend(p.fall * first)) * p.from_start
    half_wall = first * start_part
    # Both are one, but for the accuracy of the series: this keeps heat from being lost between them.
    end_part = half_wall / last if last > 1e-3 else (p.end - last * bend(-p.fall * last)) * p.from_end
    for i in range(n + 1):
        ratio[i] = density * volume[i]
        share[i] = straight + bent * ratio[i]
        here = temp[i] - ambient
        decayed[i] = decays_before * share[i] * here
        water[i] = here - decays_before * ratio[i] * share[i] * here
    metal[0] = wall[0] - ambient
    for i in range(1, n):
        metal[i] = wall[i] - ambient
    for i in range(n):
        step[i] = water[i + 1] - water[i]
    for i in range(n - 1):
        wall_step[i] = metal[i + 1] - metal[i]
    # Steps at the ends are stretched to whole cells.
    step[0] *= p.both / (p.start + first * bend(-p.fall * first))
    step[n - 1] *= p.both / (p.end + last * bend(p.fall * last))
    slope[0] = slope[n] = 0.0
    for i in range(1, n):
        slope[i] = limited(step[i - 1], step[i])
    for i in range(1, n - 1):
        wall_slope[i] = limited(wall_step[i - 1], wall_step[i])
    wall_slope[0] = lesser(
        wall_step[0] * p.sinh * p.sinh * p.from_start,
        (metal[0] - s.wall_share * (record[2] - ambient)) / (p.start * p.from_start),
    )
    wall_slope[n - 1] = lesser(
        wall_step[n - 2] * p.sinh * p.sinh * p.from_end,
        (s.wall_share * (record[3] - ambient) - metal[n - 1]) / (p.end * p.from_end),
    )
    at_first = metal[0] - start_part * wall_slope[0]
    at_last = metal[n - 1] + end_part * wall_slope[n - 1]
    for i in range(n):
        wall[i] += wall_by_water * (
            first * water[i] + last * water[i + 1] + half_water * (slope[i] - slope[i + 1])
        ) - wall_by_wall * metal[i]
    loss = 0.0
    if missing > 0.0 and p.fall >= 0.0:
        absent = missing * first
        wall[0] -= absent * (wall_by_water * water[0] - wall_by_wall * at_first)
        loss -= absent * (loss_by_water * water[0] + loss_by_wall * at_first)
    elif missing > 0.0:
        absent = missing * last
        wall[n - 1] -= absent * (wall_by_water * water[n] - wall_by_wall * at_last)
        loss -= absent * (loss_by_water * water[n] + loss_by_wall * at_last)
    if not before and not after:  # at rest what lies beyond the ends ages like the water beside it
        record[2] += water_by_wall * (metal[0] - 0.5 * wall_slope[0]) - water_by_water * (record[2] - ambient)
        record[3] += water_by_wall * (metal[n - 1] + 0.5 * wall_slope[n - 1]) - water_by_water * (record[3] - ambient)
    for i in range(1, n):
        step[i] = water[i] + ratio[i] * (
            water_by_wall * (
                last * metal[i - 1] + first * metal[i] + half_wall * (wall_slope[i - 1] - wall_slope[i])
            ) - water_by_water * water[i]
        )
    here = 1.0 - missing
    step[0] = water[0] + ratio[0] * (water_by_wall * at_first - water_by_water * water[0]) * (
        here if p.fall >= 0.0 else 1.0
    )
    step[n] = water[n] + ratio[n] * (water_by_wall * at_last - water_by_water * water[n]) * (
        here if p.fall < 0.0 else 1.0
    )
    for i in range(n + 1):
        decayed[i] += decays_after * share[i] * step[i]
        temp[i] = ambient + step[i] - decays_after * ratio[i] * share[i] * step[i]
    # The plugs at the ends count with their parts.
    water[0] *= first
    water[n] *= last
    decayed[0] *= first
    decayed[n] *= last
    for i in range(n + 1, n + 8):
        water[i] = 0.0
        decayed[i] = 0.0
    for i in range(n, n + 8):
        metal[i] = 0.0
    here = total(water, n + 1)
    record[1] = ambient + here / n
    return (
        loss + loss_by_water * here + loss_by_wall * total(metal, n)
        + HEAT_CAPACITY * density * pipe.cell_volume_m3 * total(decayed, n + 1)
    )


cdef void disperse_all(const Pipe* pipe, double* record, const Stream* s) noexcept nogil:
    """Dispersion of a pass, in parts that stay stable."""
    cdef Py_ssize_t n = pipe.cells, i
    cdef double passes = clip(ceil(s.dispersion / LARGEST_DISPERSION_NUMBER), 0.0, MOST_DISPERSION_PASSES)
    cdef double[MOST_CELLS + 1] new_temp
    cdef double* temp = record + HEAD
    cdef double number
    if passes == 0.0:
        return
    number = clip(s.dispersion / passes, 0.0, LARGEST_DISPERSION_NUMBER)
    for i in range(<Py_ssize_t> passes):
        disperse(n, number, record[0], 1.0 - record[0], s.density, temp + n + 1, temp, new_temp)
        memcpy(temp, new_temp, (n + 1) * sizeof(double))


cdef void pop(
    const Pipe* pipe, double* record, double cells, double mass, const Stream* s, bint forward, double ambient,
    Outflow* out
) noexcept nogil:
    """Take a volume of `cells` (at most the cells of the pipe less two) out at the downstream end.

    Of the plug that is cut its outer part leaves, which differs from its mean as in `exchange`. What leaves in the
    step decays with its own age, not for half a step: a factor makes up for the difference. The room that the water
    leaves at the other end is not filled yet: `push` must follow with the same volume.
    """
    cdef Py_ssize_t n = pipe.cells, d = 1 if forward else -1, gone = 0, i
    cdef double* end = record + HEAD + (n if forward else 0)  # seen along the flow: the plug before it is at end[-d]
    cdef const double* volume = end + n + 1
    cdef double* left = record + (3 if forward else 2)
    cdef double last = 1.0 - record[0] if forward else record[0]
    cdef double exponent = 0.5 * s.fall * mass / pipe.cell_volume_m3
    cdef double both = (1.0 - s.fall * s.start) * (1.0 + s.fall * s.end)
    cdef double part, rest, ahead, took, taken = cells, mass_out = 0.0, heat = 0.0, decayed = 0.0
    if cells <= last:
        rest = last - cells
        took = last * bend(s.fall * last)
        part = (took - rest * bend(s.fall * rest)) / (took + s.end) * (end[0] - end[-d])
        part = lesser(part * rest / cells, left[0] - end[0])
    else:
        for i in range(n):  # plugs that leave whole
            took = 1.0 if gone else last
            if taken <= took:
                break
            taken -= took
            took *= pipe.cell_volume_m3 / volume[-gone * d]
            mass_out += took
            heat += took * (end[-gone * d] - ambient)
            decayed += took * (end[-gone * d] - ambient) / sinhc(exponent * volume[-gone * d])
            gone += 1
        end -= gone * d
        volume -= gone * d
        rest = 1.0 - taken
        ahead = end[d] - end[0]
        part = both / (s.end + last * bend(s.fall * last)) if gone == 1 else 1.0
        part = limited(end[0] - end[-d], ahead * part) / ((1.0 - s.fall * s.start) * sinhc(s.fall))
        part = lesser((s.start - rest * bend(s.fall * rest)) * part * rest / taken, ahead)
    took = pipe.cell_volume_m3 * taken / volume[0]
    mass_out += took
    heat += took * (end[0] + part - ambient)
    decayed += took * (end[0] + part - ambient) / sinhc(exponent * volume[0])
    if rest > 0.0:
        end[0] -= part * taken / rest
    left[0] = ambient + decayed / mass_out
    out.mass_kg += mass_out
    out.heat_kgk += decayed + mass_out * ambient
    out.loss_j += HEAT_CAPACITY * (heat - decayed)


cdef double push(
    const Pipe* pipe, double* record, double cells, double mass, double temp_in, const Stream* s, bint forward,
    double ambient, Outflow* out
) noexcept nogil:
    """Fill the room that `pop` left at the upstream end: first the plug there, then new ones.

    Water that enters during the step decays with its own age, as in `pop`. Returns the part of half a step of contact
    that the water of a new plug has missed.
    """
    cdef Py_ssize_t n = pipe.cells, d = 1 if forward else -1, new, i
    cdef double* temp = record + HEAD + (0 if forward else n)  # both seen along the flow: plug i is at i * d
    cdef double* volume = temp + n + 1
    cdef double first = record[0] if forward else 1.0 - record[0]
    cdef double room = 1.0 - first, pushed = mass / pipe.cell_volume_m3, warmth = temp_in - ambient
    cdef double half = 0.5 * s.fall * cells
    cdef double older = 1.0, part = pushed, there = first / volume[0], missed = 0.0
    cdef double first_in, new_in
    first_in = new_in = warmth * sinhc(half)
    new = 0
    if cells > room:
        new = <Py_ssize_t> ceil(cells - room)
        older = room / cells
        part = pushed * older
        if new == 1:
            first_in = warmth * exp(-half * (1.0 - older)) * sinhc(half * older)
            new_in = warmth * exp(half * older) * sinhc(half * (1.0 - older))
            missed = older
    if there + part > 0.0:
        temp[0] = ambient + (there * (temp[0] - ambient) + part * first_in) / (there + part)
        volume[0] = (first + (room if new else cells)) / (there + part)
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
    record[2 if forward else 3] = temp_in
    first_in = part * (warmth - first_in) + (pushed - part) * (warmth - new_in)
    out.loss_j += HEAT_CAPACITY * pipe.cell_volume_m3 * first_in
    return missed


cdef double water_heat(const Pipe* pipe, const double* record, double zero, double* mass) noexcept nogil:
    """Sum of mass times temperature above `zero`; `mass` receives the mass."""
    cdef Py_ssize_t n = pipe.cells, i
    cdef const double* temp = record + HEAD
    cdef const double* volume = temp + n + 1
    cdef double first = record[0] / volume[0], last = (1.0 - record[0]) / volume[n], part
    cdef double heat = first * (temp[0] - zero) + last * (temp[n] - zero)
    cdef double masses = first + last
    for i in range(1, n):
        part = 1.0 / volume[i]
        heat += part * (temp[i] - zero)
        masses += part
    mass[0] = pipe.cell_volume_m3 * masses
    return pipe.cell_volume_m3 * heat


cdef double stored_energy_j(const Pipe* pipe, const double* record) noexcept nogil:
    """Heat content of water and wall above 0 degC."""
    cdef Py_ssize_t n = pipe.cells, i
    cdef const double* wall = record + HEAD + 2 * n + 2
    cdef double mass, sum_wall = 0.0
    for i in range(n):
        sum_wall += wall[i] - ENERGY_ZERO
    return HEAT_CAPACITY * water_heat(pipe, record, ENERGY_ZERO, &mass) + pipe.wall_capacity_j_k * sum_wall


cdef double end_temp_k(const Pipe* pipe, const double* record, bint at_end) noexcept nogil:
    """Temperature of the water at the start or the end of the pipe."""
    cdef Py_ssize_t n = pipe.cells
    if at_end:
        return record[HEAD + n] if record[0] < 1.0 else record[HEAD + n - 1]
    return record[HEAD] if record[0] > 0.0 else record[HEAD + 1]


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
    cdef double conductance = contact(pipe, record[1], flow).conductance_w_k
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
    cdef double inverse = 1.0 / density_kg_m3(temp_in)
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
    out.loss_j = stream * dt * (temp_in - ambient - here) - pipe.wall_capacity_j_k * sum_change


cdef Outflow advance(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """Advance one pipe by `dt_s` while `mass_kg` of `temp_k` goes in; negative: from the end to the start.

    Splitting after Strang: half an exchange, a move, whole exchanges and moves, half an exchange. A move is one cell at
    most (half a cell in steps of more), and so short that a stream decays little.
    """
    cdef Outflow out
    cdef Stream* s
    cdef Profile p
    cdef bint forward = mass_kg >= 0.0
    cdef double mass = fabs(mass_kg)
    cdef double cells = mass / (density_kg_m3(temp_k) * pipe.cell_volume_m3)
    cdef double missed, time, passes, moves
    cdef Py_ssize_t i
    out.mass_kg = 0.0
    out.heat_kgk = 0.0
    out.loss_j = 0.0
    if cells < LEAST_MOVE:
        s = stream_of(pipe, memo, record[1], 0.0, dt_s)
        p = profile_of(s, True)
        out.loss_j = exchange(pipe, record, s, &p, 1.0, False, False, 0.0, ambient_temp_k)
        return out
    if cells > MARCH_CONTENTS * pipe.cells:
        march(pipe, record, mass / dt_s, temp_k, dt_s, ambient_temp_k, forward, &out)
        return out
    passes = ceil(pipe.loss_w_k * dt_s * cells / (HEAT_CAPACITY * mass * MOST_DECAY))
    moves = ceil(cells / MOST_MOVE) if cells > 1.0 else 1.0
    passes = clip(passes, moves, fmax(MOST_PASSES, moves))
    s = stream_of(pipe, memo, record[1], mass / dt_s, dt_s / passes)
    p = profile_of(s, forward)
    cells /= passes
    mass /= passes
    time = evening_time(s, dt_s / passes) if passes > 1.0 else 0.0
    time = bounded_time(pipe, s, time, True)
    out.loss_j += exchange(pipe, record, s, &p, s.time_first, False, True, 0.0, ambient_temp_k)
    for i in range(<Py_ssize_t> passes - 1):
        pop(pipe, record, cells, mass, s, forward, ambient_temp_k, &out)
        missed = push(pipe, record, cells, mass, temp_k, s, forward, ambient_temp_k, &out)
        out.loss_j += exchange(pipe, record, s, &p, time, True, True, 0.5 * missed, ambient_temp_k)
        disperse_all(pipe, record, s)
    pop(pipe, record, cells, mass, s, forward, ambient_temp_k, &out)
    missed = push(pipe, record, cells, mass, temp_k, s, forward, ambient_temp_k, &out)
    out.loss_j += exchange(pipe, record, s, &p, s.time_last, True, False, missed, ambient_temp_k)
    disperse_all(pipe, record, s)
    return out


cdef double volume_in_cells(const Pipe* pipe, const double* record, double mass_kg) noexcept nogil:
    """Volume of `mass_kg`, in cells, as long as its temperature is not known: that of what last came in."""
    return fabs(mass_kg) / (density_kg_m3(record[2 if mass_kg >= 0.0 else 3]) * pipe.cell_volume_m3)


cdef bint releases_first(const Pipe* pipe, const double* record, double mass_kg, double dt_s) noexcept nogil:
    """Whether what leaves in a step does not depend on what enters in it."""
    return volume_in_cells(pipe, record, mass_kg) <= pipe.cells - 2


cdef Outflow release(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double dt_s, double ambient_temp_k
) noexcept nogil:
    """What leaves while `mass_kg` goes in whose temperature is not known yet; only where `releases_first`.

    Half an exchange, then the outflow. `admit` must follow, and its mass fills the volume that left.
    """
    cdef Outflow out
    cdef double cells = volume_in_cells(pipe, record, mass_kg), mass = fabs(mass_kg)
    cdef bint forward = mass_kg >= 0.0
    cdef Stream* s
    cdef Profile p
    out.mass_kg = 0.0
    out.heat_kgk = 0.0
    out.loss_j = 0.0
    if cells < LEAST_MOVE:
        s = stream_of(pipe, memo, record[1], 0.0, dt_s)
        p = profile_of(s, True)
        out.loss_j = exchange(pipe, record, s, &p, 1.0, False, False, 0.0, ambient_temp_k)
        cells = 0.0
    else:
        s = stream_of(pipe, memo, record[1], mass / dt_s, dt_s)
        p = profile_of(s, forward)
        out.loss_j = exchange(pipe, record, s, &p, s.time_first, False, True, 0.0, ambient_temp_k)
        pop(pipe, record, cells, mass, s, forward, ambient_temp_k, &out)
    memo[PENDING] = cells
    return out


cdef double admit(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """After `release`: `mass_kg` of `temp_k` goes in, then the other half of the exchange; returns the loss in J."""
    cdef Outflow out
    cdef double cells = memo[PENDING], missed
    cdef bint forward = mass_kg >= 0.0
    cdef Stream* s = <Stream*> (memo + 3)  # as `release` left it
    cdef Profile p
    out.loss_j = 0.0
    if cells > 0.0:
        p = profile_of(s, forward)
        missed = push(pipe, record, cells, fabs(mass_kg), temp_k, s, forward, ambient_temp_k, &out)
        out.loss_j += exchange(pipe, record, s, &p, s.time_last, True, False, missed, ambient_temp_k)
        disperse_all(pipe, record, s)
    return out.loss_j


cdef class Pipes:
    """Geometry of several pipes, as kernels read it. Records of all pipes stand one after the other in a row."""

    def __cinit__(self, geometries):
        cdef Py_ssize_t i
        self.count = len(geometries)
        self.pipe = <Pipe*> calloc(self.count + 1, sizeof(Pipe))
        self.offset = <Py_ssize_t*> calloc(self.count + 1, sizeof(Py_ssize_t))
        if not self.pipe or not self.offset:
            raise MemoryError
        for i, g in enumerate(geometries):
            if not 4 <= g.cells <= MOST_CELLS:
                raise InvalidInput(f"{g.cells} cells in a pipe; 4 to {MOST_CELLS} are possible")
            self.pipe[i].cells = g.cells
            self.pipe[i].cell_length_m = g.cell_length_m
            self.pipe[i].cell_volume_m3 = g.cell_volume_m3
            self.pipe[i].inner_diameter_m = g.inner_diameter_m
            self.pipe[i].wall_capacity_j_k = g.wall_capacity_j_k
            self.pipe[i].loss_w_k = g.loss_w_k
            self.pipe[i].dispersion_factor = g.dispersion_factor
            self.offset[i] = self.width
            self.width += record_width(g.cells)

    def __dealloc__(self):
        free(self.pipe)
        free(self.offset)

    def fill(self, double[:, ::1] rows, const double[:, ::1] start_temp_k, const double[:, ::1] end_temp_k):
        """Start the records: rows (members, width); temperatures (pipes, members), linear along each pipe."""
        cdef Py_ssize_t member, i, k, n
        cdef double* record
        cdef double start, end, temp
        for member in range(rows.shape[0]):
            for i in range(self.count):
                record = &rows[member, self.offset[i]]
                n = self.pipe[i].cells
                start, end = start_temp_k[i, member], end_temp_k[i, member]
                record[0] = 0.0
                record[1] = 0.5 * (start + end)
                record[2] = start
                record[3] = end
                for k in range(n + 1):
                    temp = start + (end - start) * (k - 0.5) / n if k else start
                    record[HEAD + k] = temp
                    record[HEAD + n + 1 + k] = 1.0 / density_kg_m3(temp)
                    if k:
                        record[HEAD + 2 * n + 1 + k] = temp

    def advance(self, double[:, ::1] rows, double[:, ::1] memos, const double[:, ::1] mass_kg,
                const double[:, ::1] temp_k, double dt_s, const double[::1] ambient_temp_k,
                double[:, ::1] out_mass_kg, double[:, ::1] out_heat_kgk, double[::1] loss_j):
        """Advance every pipe for itself.

        rows (members, width) and memos (members, pipes * MEMO_WIDTH) change in place; mass_kg that goes in and its
        temp_k are (pipes, members); what comes out is filled in the same shape, the loss of all pipes as (members,).
        """
        cdef Py_ssize_t member, i
        cdef Outflow out
        cdef Py_ssize_t members = rows.shape[0]
        self.check(rows, memos, mass_kg, temp_k, dt_s, ambient_temp_k, out_mass_kg, out_heat_kgk, loss_j)
        with nogil:
            for member in range(members):
                loss_j[member] = 0.0
                for i in range(self.count):
                    out = advance(
                        &self.pipe[i], &rows[member, self.offset[i]], &memos[member, i * MEMO_WIDTH],
                        mass_kg[i, member], temp_k[i, member], dt_s, ambient_temp_k[member],
                    )
                    out_mass_kg[i, member] = out.mass_kg
                    out_heat_kgk[i, member] = out.heat_kgk
                    loss_j[member] += out.loss_j

    def release_and_admit(self, double[:, ::1] rows, double[:, ::1] memos, const double[:, ::1] mass_kg,
                          const double[:, ::1] temp_k, double dt_s, const double[::1] ambient_temp_k,
                          double[:, ::1] out_mass_kg, double[:, ::1] out_heat_kgk, double[::1] loss_j):
        """Like `advance`, but all pipes release before any admits; arrays as there. False: a pipe moves too much."""
        cdef Py_ssize_t member, i
        cdef Outflow out
        cdef double* record
        cdef bint possible = True
        self.check(rows, memos, mass_kg, temp_k, dt_s, ambient_temp_k, out_mass_kg, out_heat_kgk, loss_j)
        for member in range(rows.shape[0]):
            for i in range(self.count):
                record = &rows[member, self.offset[i]]
                possible = possible and releases_first(&self.pipe[i], record, mass_kg[i, member], dt_s)
        if not possible:
            return False
        for member in range(rows.shape[0]):
            loss_j[member] = 0.0
            for i in range(self.count):
                out = release(
                    &self.pipe[i], &rows[member, self.offset[i]], &memos[member, i * MEMO_WIDTH],
                    mass_kg[i, member], dt_s, ambient_temp_k[member],
                )
                out_mass_kg[i, member] = out.mass_kg
                out_heat_kgk[i, member] = out.heat_kgk
                loss_j[member] += out.loss_j
            for i in range(self.count):
                loss_j[member] += admit(
                    &self.pipe[i], &rows[member, self.offset[i]], &memos[member, i * MEMO_WIDTH],
                    mass_kg[i, member], temp_k[i, member], dt_s, ambient_temp_k[member],
                )
        return True

    cdef check(self, double[:, ::1] rows, double[:, ::1] memos, const double[:, ::1] mass_kg,
               const double[:, ::1] temp_k, double dt_s, const double[::1] ambient_temp_k,
               double[:, ::1] out_mass_kg, double[:, ::1] out_heat_kgk, double[::1] loss_j):
        cdef Py_ssize_t members = rows.shape[0]
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
