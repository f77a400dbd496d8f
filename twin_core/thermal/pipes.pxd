# One pipe and one member is a record of doubles: fill, film temperature, what last left at start and end,
# then plug temperatures [cells + 1], plug specific volumes [cells + 1], wall temperatures [cells].
# A memo is a record of MEMO_WIDTH doubles that holds the last exchange factors and what they were made for.

cdef enum:
    HEAD = 4
    MEMO_WIDTH = 10
    MOST_CELLS = 128

cdef struct Pipe:
    Py_ssize_t cells
    double cell_length_m
    double cell_volume_m3
    double inner_diameter_m
    double wall_capacity_j_k
    double loss_w_k
    double dispersion_factor

cdef struct Outflow:
    double mass_kg
    double heat_kgk  # mass times temperature
    double loss_j

cdef double HEAT_CAPACITY
cdef double ENERGY_ZERO
cdef double LEAST_MOVE

cdef Py_ssize_t record_width(Py_ssize_t cells) noexcept nogil
cdef Outflow advance(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil
cdef double stored_energy_j(const Pipe* pipe, const double* record) noexcept nogil
cdef double end_temp_k(const Pipe* pipe, const double* record, bint at_end) noexcept nogil

cdef class Pipes:
    cdef Pipe* pipe  # [count]
    cdef Py_ssize_t* offset  # [count], of a pipe's record in the row of a member
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t width
