"""Heat and water moving through pipes at a cost that hardly depends on their length: the scheme for planning.

A pipe is a mixed tank at its start, plugs in a row, and an equal tank at its end. The wall counts as water that is as
warm as the water beside it, so that fronts travel as slowly as they do past a heavy wall; the tanks smear them as much
as dispersion and the film do. Plugs are put in at one end and taken out at the other; all of them cool by the same
factor. Equations, sources and limits: docs/models/planning.md; the same in NumPy: reference_rings.py.

The scheme itself stands in plugs.pxi; here it is compiled for one member at a time, in lane_step.pyx for as many as
a vector has lanes. SI units, temperatures in K. Mass is that of water at 60 degC with the share of the wall in it.
"""

from libc.math cimport ceil, fabs, pow, sqrt
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from uem.twin_core.thermal.water cimport conductivity_w_mk, density_kg_m3, heat_capacity_j_kgk, viscosity_pa_s

from uem.twin_core.errors import InvalidInput

include "uem/twin_core/thermal/pipe_arrays.pxi"
include "uem/twin_core/thermal/plugs.pxi"

# One temperature for all properties of water, as in pipes.pyx: energy is linear in temperature and ledgers are exact.
cdef double FILM_TEMP = 333.15
cdef double HEAT_CAPACITY = heat_capacity_j_kgk(333.15)
cdef double ENERGY_ZERO = 273.15
cdef double LEAST_MOVE = LEAST_MOVE_OF_A_PIPE
cdef double PI = 3.141592653589793
# The speed of water for which the smear of the film and of dispersion is taken; its square depends on the speed with
# the power 0.2 at most.
cdef double USUAL_SPEED = 0.5
# Both tanks together are at most this part of a pipe.
cdef double MOST_TANK = 0.9
cdef double PLUGS_PER_TANK = 1.0
cdef double LEAST_PLUGS = 4.0
# With so many, a plug smears a front less than the tanks do.
cdef double MOST_PLUGS = 16.0
# Room for plugs that are not full: those at both ends.
cdef Py_ssize_t SPARE_PLUGS = 4

HEAT_CAPACITY_J_KGK = HEAT_CAPACITY
ENERGY_ZERO_K = ENERGY_ZERO
MEMO_NUMBERS = MEMO_WIDTH


cdef Py_ssize_t record_width(Py_ssize_t capacity) noexcept nogil:
    return HEAD + PLUG * capacity


cdef bint releases_first(const Ring* pipe, const double* record, double mass_kg, double dt_s) noexcept nogil:
    """Does what leaves in this step not depend on what enters?"""
    return fabs(mass_kg) <= MOST_RELEASE * pipe.ring_kg


cdef Outflow release(
    const Ring* pipe, double* record, double* memo, double mass_kg, double dt_s, double ambient_temp_k
) noexcept nogil:
    """The first half of `advance`: what leaves, and all loss but that of what will enter, when `mass_kg` goes in."""
    cdef Cooling c = cooling(pipe, dt_s)
    return outflow(first_out(pipe, record, &c, mass_kg, ambient_temp_k))


cdef double admit(
    const Ring* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """The second half: what enters; returns what is lost of it in J."""
    cdef Cooling c = cooling(pipe, dt_s)
    return HEAT_CAPACITY * then_in(pipe, record, &c, mass_kg, temp_k, ambient_temp_k)


cdef Outflow advance(
    const Ring* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil:
    """Advance one pipe by `dt_s` while `mass_kg` of `temp_k` goes in; negative: from the end to the start."""
    cdef Cooling c = cooling(pipe, dt_s)
    return outflow(through(pipe, record, &c, mass_kg, temp_k, ambient_temp_k))


cdef inline Outflow outflow(Passed passed) noexcept nogil:
    cdef Outflow out
    out.mass_kg, out.heat_kgk, out.loss_j = passed.mass, passed.mass * passed.temp, HEAT_CAPACITY * passed.lost
    return out


cdef double stored_energy_j(const Ring* pipe, const double* record) noexcept nogil:
    """Heat content of water and wall above 0 degC."""
    return HEAT_CAPACITY * contents_kg_k(pipe, record, ENERGY_ZERO)


cdef double end_temp_k(const Ring* pipe, const double* record, bint at_end) noexcept nogil:
    """Temperature of the water at the start or the end of the pipe."""
    return end_temp(record, at_end)


cdef void copy_record(const Ring* pipe, const double* record, double* copy) noexcept nogil:
    """Copy what is in use of a record."""
    copy_plugs(pipe, record, copy)


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
    plugs = plugs if plugs < MOST_PLUGS else MOST_PLUGS
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
        cdef double* plug
        cdef double start, end, share
        for member in range(rows.shape[0]):
            for i in range(self.count):
                record = &rows[member, self.offset[i]]
                start, end = start_temp_k[i, member], end_temp_k[i, member]
                plugs = 1 if start == end else self.pipe[i].capacity - SPARE_PLUGS
                share = self.pipe[i].tank_kg / self.pipe[i].whole_kg
                for k in range(record_width(self.pipe[i].capacity)):
                    record[k] = 0.0
                record[INLET] = start + 0.5 * share * (end - start)
                record[OUTLET] = end - 0.5 * share * (end - start)
                record[AHEAD] = 1.0 + plugs
                for k in range(plugs):
                    plug = record + HEAD + PLUG * k
                    plug[MASS] = self.pipe[i].ring_kg / plugs
                    plug[TEMP] = start + (end - start) * (share + (1.0 - 2.0 * share) * (k + 0.5) / plugs)

    def advance(self, double[:, ::1] rows, double[:, ::1] memos, const double[:, ::1] mass_kg,
                const double[:, ::1] temp_k, double dt_s, const double[::1] ambient_temp_k,
                double[:, ::1] out_mass_kg, double[:, ::1] out_heat_kgk, double[::1] loss_j):
        """Advance every pipe for itself.

        rows (members, width) and memos (members, pipes * MEMO_NUMBERS) change in place; mass_kg that goes in and its
        temp_k are (pipes, members); what comes out is filled in the same shape, the loss of all pipes as (members,).
        """
        cdef Py_ssize_t member, i
        cdef Outflow out
        check_arrays(
            self.count, self.width, MEMO_WIDTH, rows, memos, mass_kg, temp_k, dt_s, ambient_temp_k, out_mass_kg,
            out_heat_kgk, loss_j,
        )
        with nogil:
            for member in range(rows.shape[0]):
                loss_j[member] = 0.0
                for i in range(self.count):
                    out = advance(
                        &self.pipe[i], &rows[member, self.offset[i]], NULL, mass_kg[i, member], temp_k[i, member],
                        dt_s, ambient_temp_k[member],
                    )
                    out_mass_kg[i, member] = out.mass_kg
                    out_heat_kgk[i, member] = out.heat_kgk
                    loss_j[member] += out.loss_j

    def advance_in_halves(self, double[:, ::1] rows, double[:, ::1] memos, const double[:, ::1] mass_kg,
                          const double[:, ::1] temp_k, double dt_s, const double[::1] ambient_temp_k,
                          double[:, ::1] out_mass_kg, double[:, ::1] out_heat_kgk, double[::1] loss_j):
        """`advance`, where possible first with what leaves and then with what enters, as pipes that close a cycle."""
        cdef Py_ssize_t member, i
        cdef Outflow out
        cdef double* record
        cdef double* memo
        check_arrays(
            self.count, self.width, MEMO_WIDTH, rows, memos, mass_kg, temp_k, dt_s, ambient_temp_k, out_mass_kg,
            out_heat_kgk, loss_j,
        )
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
