"""Heat and water moving through pipes: plugs that travel with the water over the cells of a heavy wall.

A pipe is cut into cells of equal length. Its water is cells + 1 plugs that slide over them: every plug takes up one
cell length, the first only the part `fill`, the last only 1 - `fill`. Water that goes in fills the upstream plug, then
begins a new one; water that leaves is taken from the downstream plug. A plug is never remixed while it travels, so
there is no numerical diffusion and no limit on the step. Equations, sources and limits: docs/models/thermal.md;
the same in NumPy: reference.py.

SI units, temperatures in K. A plug keeps the specific volume with which it came in: mass and volume are both conserved.
"""

from libc.math cimport ceil, copysign, exp, expm1, fabs, log, rint, sqrt
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
# Slopes at an end are taken over at least this part of a cell.
cdef double LEAST_PART = 1e-9
cdef double LAMINAR_NUSSELT = 3.66
cdef double LAMINAR_REYNOLDS = 2300.0
cdef double TURBULENT_REYNOLDS = 4000.0
cdef double LARGEST_DISPERSION_NUMBER = 0.25
cdef double MOST_DISPERSION_PASSES = 16.0

HEAT_CAPACITY_J_KGK = HEAT_CAPACITY
ENERGY_ZERO_K = ENERGY_ZERO
MAX_CELLS_OF_A_PIPE = MOST_CELLS
MEMO_NUMBERS = MEMO_WIDTH


# Where `release` leaves for `admit` how many cells have left; the last number of a memo.
cdef enum:
    PENDING = MEMO_WIDTH - 1


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


cdef struct Factors:
    double water_by_wall  # shares of a temperature difference evened out in the time of contact
    double wall_by_water
    double water_by_ambient
    double wall_by_ambient
    double dispersion  # dispersion number of one pass
    double passes
    double density


cdef inline double clip(double value, double low, double high) noexcept nogil:
    return low if value < low else high if value > high else value


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


cdef Factors make_factors(const Pipe* pipe, double film_temp, double flow, double dt) noexcept nogil:
    """The exact exponential of water, wall and ambient in contact for `dt`: two modes, one fast and one slow."""
    cdef Factors f
    cdef Contact c = contact(pipe, film_temp, flow)
    cdef double p = c.conductance_w_k / (HEAT_CAPACITY * c.density * pipe.cell_volume_m3)
    cdef double q = c.conductance_w_k / pipe.wall_capacity_j_k
    cdef double loss = pipe.loss_w_k / pipe.wall_capacity_j_k
    cdef double total = p + q + loss
    cdef double gap = sqrt(total * total - 4.0 * p * loss)
    cdef double fast = 0.5 * (total + gap)
    cdef double slow = p * loss / fast
    cdef double lost_slow = -expm1(-slow * dt)
    cdef double lost_fast = -expm1(-fast * dt)
    cdef double evened = (lost_fast - lost_slow) / gap
    cdef double number = c.dispersion_m2_s * dt / (pipe.cell_length_m * pipe.cell_length_m)
    f.water_by_wall = p * evened
    f.wall_by_water = q * evened
    f.water_by_ambient = (fast * lost_slow - slow * lost_fast) / gap
    f.wall_by_ambient = ((fast - loss) * lost_slow + (loss - slow) * lost_fast) / gap
    f.passes = clip(ceil(number / LARGEST_DISPERSION_NUMBER), 0.0, MOST_DISPERSION_PASSES)
    f.dispersion = clip(number / f.passes, 0.0, LARGEST_DISPERSION_NUMBER) if f.passes > 0.0 else 0.0
    f.density = c.density
    return f


cdef Factors factors(const Pipe* pipe, double* memo, double film_temp, double flow, double dt) noexcept nogil:
    """`make_factors`, remembered: they are the same as long as flow, step and film temperature (in whole K) are."""
    cdef double rounded = rint(film_temp)
    cdef Factors* kept = <Factors*> (memo + 3)
    if memo[0] != flow or memo[1] != dt or memo[2] != rounded:
        kept[0] = make_factors(pipe, rounded, flow, dt)
        memo[0] = flow
        memo[1] = dt
        memo[2] = rounded
    return kept[0]


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
    """The smaller of two slopes of the same sign, else nothing: no value outside of its neighbours. (Without branches.)"""
    cdef double least = fabs(back) if fabs(back) < fabs(ahead) else fabs(ahead)
    return 0.5 * (copysign(least, back) + copysign(least, ahead))


cdef double exchange(const Pipe* pipe, double* record, const Factors* f, double ambient) noexcept nogil:
    """Even out water and wall, lose heat to the ambient, disperse; returns the loss in J.

    Wall cell k lies beside plug k with its first part, `fill`, and beside plug k + 1 with the rest. Each part is solved
    exactly for itself, with the temperatures that limited straight lines through plugs and cells have there; then plugs
    and cells are mixed again. Conserving, and free of over- and undershoot for any step.
    """
    cdef Py_ssize_t n = pipe.cells, i
    cdef double* temp = record + HEAD
    cdef const double* volume = temp + n + 1
    cdef double* wall = temp + 2 * n + 2
    cdef double[MOST_CELLS] step
    cdef double[MOST_CELLS + 1] temp_slope
    cdef double[MOST_CELLS] wall_slope
    cdef double[MOST_CELLS + 1] new_temp
    cdef double[MOST_CELLS] new_wall
    cdef double first = record[0], last = 1.0 - record[0]
    cdef double half = 0.5 * first * last
    cdef double by_wall = f.density * f.water_by_wall, by_ambient = f.density * f.water_by_ambient
    cdef double wall_by_water = f.wall_by_water, wall_by_ambient = f.wall_by_ambient
    cdef double water_sum, wall_sum, at_start, at_end, number = f.dispersion
    cdef double* swap
    cdef double* here = new_temp
    cdef double* there = temp
    cdef double[4] sums
    cdef Py_ssize_t passes = <Py_ssize_t> f.passes
    # Slopes per cell length. The plugs at the ends take part whole; what lies beyond an end is what last passed it.
    for i in range(n):
        step[i] = temp[i + 1] - temp[i]
    step[0] /= 0.5 * (1.0 + first)
    step[n - 1] /= 0.5 * (1.0 + last)
    temp_slope[0] = temp_slope[n] = 0.0
    for i in range(1, n):
        temp_slope[i] = limited(step[i - 1], step[i])
    for i in range(1, n - 1):
        wall_slope[i] = limited(wall[i] - wall[i - 1], wall[i + 1] - wall[i])
    at_start = limited(step[0], 2.0 * (temp[0] - record[2]) / (first if first > LEAST_PART else LEAST_PART))
    at_end = limited(step[n - 1], 2.0 * (record[3] - temp[n]) / (last if last > LEAST_PART else LEAST_PART))
    wall_slope[0] = limited(wall[1] - wall[0], at_start)
    wall_slope[n - 1] = limited(wall[n - 1] - wall[n - 2], at_end)
    for i in range(n):
        new_wall[i] = wall[i] - wall_by_ambient * (wall[i] - ambient) + wall_by_water * (
            first * temp[i] + last * temp[i + 1] + half * (temp_slope[i] - temp_slope[i + 1]) - wall[i]
        )
    for i in range(1, n):
        new_temp[i] = temp[i] - volume[i] * (
            by_wall * (temp[i] - last * wall[i - 1] - first * wall[i] - half * (wall_slope[i - 1] - wall_slope[i]))
            + by_ambient * (temp[i] - ambient)
        )
    new_temp[0] = temp[0] - volume[0] * (
        by_wall * (temp[0] - wall[0] + 0.5 * last * wall_slope[0]) + by_ambient * (temp[0] - ambient)
    )
    new_temp[n] = temp[n] - volume[n] * (
        by_wall * (temp[n] - wall[n - 1] - 0.5 * first * wall_slope[n - 1]) + by_ambient * (temp[n] - ambient)
    )
    # What lies beyond the ends ages like the water beside it.
    record[2] -= f.water_by_wall * (record[2] - wall[0] + 0.5 * wall_slope[0])
    record[2] -= f.water_by_ambient * (record[2] - ambient)
    record[3] -= f.water_by_wall * (record[3] - wall[n - 1] - 0.5 * wall_slope[n - 1])
    record[3] -= f.water_by_ambient * (record[3] - ambient)
    # Two chains of additions for each sum: one would wait for itself.
    sums[0] = first * (temp[0] - ambient)
    sums[1] = last * (temp[n] - ambient)
    sums[2] = wall[0] - ambient
    sums[3] = 0.0
    for i in range(1, n - 1, 2):
        sums[0] += temp[i] - ambient
        sums[1] += temp[i + 1] - ambient
        sums[2] += wall[i] - ambient
        sums[3] += wall[i + 1] - ambient
    if n % 2 == 0:
        sums[0] += temp[n - 1] - ambient
        sums[2] += wall[n - 1] - ambient
    water_sum = sums[0] + sums[1]
    wall_sum = sums[2] + sums[3]
    record[1] = ambient + water_sum / n
    memcpy(wall, new_wall, n * sizeof(double))
    for i in range(passes):
        disperse(n, number, first, last, f.density, volume, here, there)
        swap = here
        here = there
        there = swap
    if here != temp:
        memcpy(temp, here, (n + 1) * sizeof(double))
    return (
        HEAT_CAPACITY * pipe.cell_volume_m3 * by_ambient * water_sum
        + pipe.wall_capacity_j_k * wall_by_ambient * wall_sum
    )


cdef void pop(const Pipe* pipe, double* record, double cells, bint forward, Outflow* out) noexcept nogil:
    """Take a volume of `cells` (at most the cells of the pipe less two) out at the downstream end.

    The water of the plug that leaves is taken to lie on a limited straight line through its neighbours. The room that
    the water leaves at the other end is not filled yet: `push` must follow with the same volume.
    """
    cdef Py_ssize_t n = pipe.cells, d = 1 if forward else -1, gone = 0, i
    cdef double* end = record + HEAD + (n if forward else 0)  # seen along the flow: the plug before it is at end[-d]
    cdef const double* volume = end + n + 1
    cdef double* left = record + (3 if forward else 2)
    cdef double last = 1.0 - record[0] if forward else record[0]
    cdef double slope, took, taken = cells
    if cells <= 0.0:
        return
    if cells <= last:
        slope = limited((end[0] - end[-d]) / (0.5 * (1.0 + last)), (left[0] - end[0]) / (0.5 * last))
        left[0] = end[0] + 0.5 * slope * (last - cells)
        end[0] -= 0.5 * slope * cells
    else:
        for i in range(n):  # plugs that leave whole
            took = 1.0 if gone else last
            if taken <= took:
                break
            out.mass_kg += pipe.cell_volume_m3 * took / volume[-gone * d]
            out.heat_kgk += pipe.cell_volume_m3 * took / volume[-gone * d] * end[-gone * d]
            taken -= took
            gone += 1
        end -= gone * d
        volume -= gone * d
        slope = limited(end[0] - end[-d], (end[d] - end[0]) / (0.5 * (1.0 + last) if gone == 1 else 1.0))
        left[0] = end[0] + 0.5 * slope * (1.0 - taken)
        end[0] -= 0.5 * slope * taken
    out.mass_kg += pipe.cell_volume_m3 * taken / volume[0]
    out.heat_kgk += pipe.cell_volume_m3 * taken / volume[0] * left[0]


cdef void push(
    const Pipe* pipe, double* record, double cells, double mass, double temp_in, bint forward
) noexcept nogil:
    """Fill the room that `pop` left at the upstream end: first the plug there, then new ones."""
    cdef Py_ssize_t n = pipe.cells, d = 1 if forward else -1, new, i
    cdef double* temp = record + HEAD + (0 if forward else n)  # both seen along the flow: plug i is at i * d
    cdef double* volume = temp + n + 1
    cdef double first = record[0] if forward else 1.0 - record[0]
    cdef double room = 1.0 - first, pushed, part, there
    if cells <= 0.0:
        return
    pushed = mass / pipe.cell_volume_m3
    part = pushed * (room / cells) if cells > room else pushed
    there = first / volume[0]
    if there + part > 0.0:
        temp[0] = (there * temp[0] + part * temp_in) / (there + part)
        volume[0] = (first + (cells if cells <= room else room)) / (there + part)
    first += cells
    if cells > room:
        new = <Py_ssize_t> ceil(cells - room)
        first = cells - room - (new - 1)
        if forward:
            memmove(temp + new, temp, (n + 1 - new) * sizeof(double))
            memmove(volume + new, volume, (n + 1 - new) * sizeof(double))
        else:
            memmove(temp - n, temp - n + new, (n + 1 - new) * sizeof(double))
            memmove(volume - n, volume - n + new, (n + 1 - new) * sizeof(double))
        for i in range(new):
            temp[i * d] = temp_in
            volume[i * d] = cells / pushed
    record[0] = first if forward else 1.0 - first
    record[2 if forward else 3] = temp_in


cdef void move(
    const Pipe* pipe, double* record, double cells, double mass, double temp_in, bint forward, Outflow* out
) noexcept nogil:
    """Push `mass` that takes up `cells` (at most one) in at the upstream end, take the same volume out at the other."""
    pop(pipe, record, cells, forward, out)
    push(pipe, record, cells, mass, temp_in, forward)


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

    Heat that leaves follows from the balance of the whole pipe, so energy closes whatever the profile inside was.
    """
    cdef Py_ssize_t n = pipe.cells, d = 1 if forward else -1, k
    cdef double* temp = record + HEAD + (0 if forward else n)
    cdef double* volume = record + HEAD + n + 1
    cdef double* wall = record + HEAD + 2 * n + 2 + (0 if forward else n - 1)
    cdef double transfer = contact(pipe, record[1], flow).conductance_w_k / (flow * HEAT_CAPACITY)
    cdef double met = -expm1(-transfer)
    cdef double grip = flow * HEAT_CAPACITY * met
    cdef double both = grip + pipe.loss_w_k
    cdef double times = both * dt / pipe.wall_capacity_j_k
    cdef double settled = -expm1(-times)
    cdef double mean_share = settled / times
    cdef double water_share = met / transfer
    cdef double mass_before, mass_after, goal, mean, given = 0.0, here = temp_in, sum_temp = 0.0
    cdef double heat_before = water_heat(pipe, record, temp_in, &mass_before)
    cdef double inverse = 1.0 / density_kg_m3(temp_in)
    temp[0] = temp_in
    for k in range(n):
        goal = (grip * here + pipe.loss_w_k * ambient) / both
        mean = goal + (wall[k * d] - goal) * mean_share
        wall[k * d] = goal + (wall[k * d] - goal) * (1.0 - settled)
        temp[(k + 1) * d] = wall[k * d] + (here - wall[k * d]) * water_share
        sum_temp += temp[(k + 1) * d]
        given += grip * dt * (here - mean)
        out.loss_j += pipe.loss_w_k * dt * (mean - ambient)
        here -= met * (here - mean)
    for k in range(n + 1):
        volume[k] = inverse
    record[0] = 0.0 if forward else 1.0
    record[1] = sum_temp / n
    record[3 if forward else 2] = here
    record[2 if forward else 3] = temp_in
    heat_before -= water_heat(pipe, record, temp_in, &mass_after)
    out.mass_kg = flow * dt + mass_before - mass_after
    out.heat_kgk = out.mass_kg * temp_in + heat_before - given / HEAT_CAPACITY


cdef Outflow advance(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """Advance one pipe by `dt_s` while `mass_kg` of `temp_k` goes in; negative: from the end to the start.

    Splitting after Strang: half a move, exchange, whole moves and exchanges, half a move; a move is one cell at most.
    """
    cdef Outflow out
    cdef Factors f
    cdef bint forward = mass_kg >= 0.0
    cdef double mass = fabs(mass_kg)
    cdef double cells = mass / (density_kg_m3(temp_k) * pipe.cell_volume_m3)
    cdef Py_ssize_t passes, i
    out.mass_kg = 0.0
    out.heat_kgk = 0.0
    out.loss_j = 0.0
    if cells < LEAST_MOVE:
        f = factors(pipe, memo, record[1], 0.0, dt_s)
        out.loss_j = exchange(pipe, record, &f, ambient_temp_k)
        return out
    if cells > MARCH_CONTENTS * pipe.cells:
        march(pipe, record, mass / dt_s, temp_k, dt_s, ambient_temp_k, forward, &out)
        return out
    passes = <Py_ssize_t> ceil(cells)
    f = factors(pipe, memo, record[1], mass / dt_s, dt_s / passes)
    cells /= passes
    mass /= passes
    move(pipe, record, 0.5 * cells, 0.5 * mass, temp_k, forward, &out)
    for i in range(passes - 1):
        out.loss_j += exchange(pipe, record, &f, ambient_temp_k)
        move(pipe, record, cells, mass, temp_k, forward, &out)
    out.loss_j += exchange(pipe, record, &f, ambient_temp_k)
    move(pipe, record, 0.5 * cells, 0.5 * mass, temp_k, forward, &out)
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
    cdef double cells = volume_in_cells(pipe, record, mass_kg)
    cdef bint moves = cells >= LEAST_MOVE
    cdef Factors f = factors(pipe, memo, record[1], fabs(mass_kg) / dt_s if moves else 0.0, 0.5 * dt_s)
    out.mass_kg = 0.0
    out.heat_kgk = 0.0
    out.loss_j = exchange(pipe, record, &f, ambient_temp_k)
    memo[PENDING] = cells if moves else 0.0
    if moves:
        pop(pipe, record, cells, mass_kg >= 0.0, &out)
    return out


cdef double admit(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """After `release`: `mass_kg` of `temp_k` goes in, then the other half of the exchange; returns the loss in J."""
    cdef double cells = memo[PENDING]
    cdef Factors f
    push(pipe, record, cells, fabs(mass_kg), temp_k, mass_kg >= 0.0)
    f = factors(pipe, memo, record[1], fabs(mass_kg) / dt_s if cells > 0.0 else 0.0, 0.5 * dt_s)
    return exchange(pipe, record, &f, ambient_temp_k)


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
