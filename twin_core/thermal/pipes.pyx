"""Heat and water moving through pipes: plugs that travel with the water over the cells of a heavy wall.

A pipe is cut into cells of equal length. Its water is cells + 1 plugs that slide over them: every plug takes up one
cell length, the first only the part `fill`, the last only 1 - `fill`. Water that goes in fills the upstream plug, then
begins a new one; water that leaves is taken from the downstream plug. A plug is never remixed while it travels, so
there is no numerical diffusion and no limit on the step. Equations, sources and limits: docs/models/thermal.md;
the same in NumPy: reference.py.

The scheme itself stands in pipe_step.pyx. SI units, temperatures in K. A plug keeps the specific volume with which it
came in: mass and volume are both conserved.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdlib cimport calloc, free

from importlib import import_module

from uem.twin_core.errors import InvalidInput
from uem.twin_core.thermal.levels import LEVEL

include "uem/twin_core/thermal/pipe_arrays.pxi"
include "uem/twin_core/thermal/pipe_water.pxi"

HEAT_CAPACITY_J_KGK = HEAT_CAPACITY
ENERGY_ZERO_K = ENERGY_ZERO
MAX_CELLS_OF_A_PIPE = MOST_CELLS
MEMO_NUMBERS = MEMO_WIDTH

cdef object KERNEL = import_module(f"uem.twin_core.thermal.pipe_step_{LEVEL}").kernel()


cdef Py_ssize_t record_width(const Pipe* pipe) noexcept nogil:
    return HEAD + 2 + (5 if pipe.insulation != NULL else 3) * pipe.cells


cdef bint releases_first(const Pipe* pipe, const double* record, double mass_kg, double dt_s) noexcept nogil:
    """Whether what leaves in a step does not depend on what enters in it."""
    return volume_in_cells(pipe, record, mass_kg) <= pipe.cells - 2


cdef double end_temp_k(const Pipe* pipe, const double* record, bint at_end) noexcept nogil:
    """Temperature of the water at the start or the end of the pipe."""
    cdef Py_ssize_t n = pipe.cells
    if at_end:
        return record[HEAD + n] if record[0] < 1.0 else record[HEAD + n - 1]
    return record[HEAD] if record[0] > 0.0 else record[HEAD + 1]


cdef void insulate_with(Pipe* pipe, Insulation* insulation, capacities, parts):
    cdef Py_ssize_t i
    pipe.insulation = insulation if capacities[0] > 0.0 and pipe.loss_w_k > 0.0 else NULL
    for i in range(2):
        insulation.capacity_j_k[i] = capacities[i]
    for i in range(3):
        insulation.conductance_w_k[i] = pipe.loss_w_k / max(parts[i], 1e-9)
    insulation.share[0] = parts[1] + parts[2]
    insulation.share[1] = parts[2]


cdef class Pipes:
    """Geometry of several pipes, as kernels read it. Records of all pipes stand one after the other in a row.

    `kernel`: of a pipe_step.pyx that this processor can run, by default the newest.
    """

    def __cinit__(self, geometries, kernel=None):
        cdef Py_ssize_t i
        self.kernel = <const Kernel*> PyCapsule_GetPointer(KERNEL if kernel is None else kernel, NULL)
        self.count = len(geometries)
        self.pipe = <Pipe*> calloc(self.count + 1, sizeof(Pipe))
        self.insulation = <Insulation*> calloc(self.count + 1, sizeof(Insulation))
        self.offset = <Py_ssize_t*> calloc(self.count + 1, sizeof(Py_ssize_t))
        if not self.pipe or not self.insulation or not self.offset:
            raise MemoryError
        for i, g in enumerate(geometries):
            if not 4 <= g.cells <= MOST_CELLS:
                raise InvalidInput(f"{g.cells} cells in a pipe; 4 to {MOST_CELLS} are possible")
            self.pipe[i].cells = g.cells
            self.pipe[i].cell_length_m = g.cell_length_m
            self.pipe[i].cell_volume_m3 = g.cell_volume_m3
            self.pipe[i].wall_capacity_j_k = g.wall_capacity_j_k
            self.pipe[i].loss_w_k = g.loss_w_k
            self.pipe[i].reynolds_per_fluidity = 4.0 / (PI * g.inner_diameter_m)
            self.pipe[i].dispersion_per_flow = g.dispersion_factor * 2.0 / (PI * g.inner_diameter_m)
            self.pipe[i].per_cell_volume = 1.0 / g.cell_volume_m3
            self.pipe[i].per_cell_area = 1.0 / g.cell_length_m**2
            self.pipe[i].kelvin_per_heat = 1.0 / (HEAT_CAPACITY * g.cell_volume_m3)
            self.pipe[i].kelvin_per_wall_heat = 1.0 / g.wall_capacity_j_k
            self.offset[i] = self.width
            insulate_with(&self.pipe[i], &self.insulation[i], g.shell_capacity_j_k, g.shell_resistance_parts)
            self.width += record_width(&self.pipe[i])
        self.offset[self.count] = self.width

    def __dealloc__(self):
        free(self.pipe)
        free(self.insulation)
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
                record[OWED_TIME] = record[OWED_FLOW] = record[OWED_DECAY] = record[OWED_MISSED] = 0.0
                for k in range(n + 1):
                    temp = start + (end - start) * (k - 0.5) / n if k else start
                    record[HEAD + k] = temp
                    record[HEAD + n + 1 + k] = 1.0 / density_kg_m3(temp)
                    if k:
                        record[HEAD + 2 * n + 1 + k] = temp
                    if k and self.pipe[i].insulation != NULL:
                        record[HEAD + 3 * n + 1 + k] = record[HEAD + 4 * n + 1 + k] = temp

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
        check_arrays(
            self.count, self.width, MEMO_WIDTH, rows, memos, mass_kg, temp_k, dt_s, ambient_temp_k, out_mass_kg,
            out_heat_kgk, loss_j,
        )
        with nogil:
            for member in range(members):
                loss_j[member] = 0.0
                for i in range(self.count):
                    out = self.kernel.advance(
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
        check_arrays(
            self.count, self.width, MEMO_WIDTH, rows, memos, mass_kg, temp_k, dt_s, ambient_temp_k, out_mass_kg,
            out_heat_kgk, loss_j,
        )
        for member in range(rows.shape[0]):
            for i in range(self.count):
                record = &rows[member, self.offset[i]]
                possible = possible and releases_first(&self.pipe[i], record, mass_kg[i, member], dt_s)
        if not possible:
            return False
        for member in range(rows.shape[0]):
            loss_j[member] = 0.0
            for i in range(self.count):
                out = self.kernel.release(
                    &self.pipe[i], &rows[member, self.offset[i]], &memos[member, i * MEMO_WIDTH],
                    mass_kg[i, member], dt_s, ambient_temp_k[member],
                )
                out_mass_kg[i, member] = out.mass_kg
                out_heat_kgk[i, member] = out.heat_kgk
                loss_j[member] += out.loss_j
            for i in range(self.count):
                loss_j[member] += self.kernel.admit(
                    &self.pipe[i], &rows[member, self.offset[i]], &memos[member, i * MEMO_WIDTH],
                    mass_kg[i, member], temp_k[i, member], dt_s, ambient_temp_k[member],
                )
        return True

    def energy_j(self, const double[:, ::1] rows, double[::1] out):
        """Heat content of all pipes above 0 degC, filled into out (members,)."""
        cdef Py_ssize_t member, i
        if rows.shape[1] != self.width or out.shape[0] != rows.shape[0]:
            raise InvalidInput("rows or out do not fit these pipes")
        with nogil:
            for member in range(rows.shape[0]):
                out[member] = 0.0
                for i in range(self.count):
                    out[member] += self.kernel.stored_energy_j(&self.pipe[i], &rows[member, self.offset[i]])
