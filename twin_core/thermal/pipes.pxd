# One pipe and one member is a record of doubles: fill, mean temperature, what last left at start and end, the contact
# that the last step left to the next one (time, flow, exponent of the decay, part that a new plug missed), then plug
# temperatures [cells + 1], plug specific volumes [cells + 1], wall temperatures [cells]; with insulation that stores
# heat the temperatures of its inner and of its outer shell [cells each].
# A memo is a record of MEMO_WIDTH doubles that holds the last exchange factors and what they were made for, between
# `release` and `admit` the volume that left, and what insulation does in a step. Whatever it holds at first, NaN best,
# is found out to be stale.

cdef enum:
    OWED_TIME = 4
    OWED_FLOW = 5
    OWED_DECAY = 6
    OWED_MISSED = 7
    HEAD = 8
    PENDING = 26  # of a memo: cells that `release` left empty; a literal, since overflowcheck knows no sums here
    SHELL_MEMO = 27  # of a memo: a step and what insulation does in it
    MEMO_WIDTH = 36
    MOST_CELLS = 128

cdef struct Insulation:  # as two shells
    double[2] capacity_j_k
    double[2] share  # steady temperature of a shell over that of the wall, above the ambient
    double[3] conductance_w_k  # wall to shell to shell to ambient

cdef struct Pipe:
    Py_ssize_t cells
    double cell_length_m
    double cell_volume_m3
    double wall_capacity_j_k
    double loss_w_k
    double reynolds_per_fluidity  # the following are worked out from those above, for a flow of 1 kg/s
    double dispersion_per_flow
    double per_cell_volume
    double per_cell_area
    double kelvin_per_heat  # of the water of a cell, for 1 kg/m3
    double kelvin_per_wall_heat
    const Insulation* insulation  # that stores heat, else NULL

cdef struct Outflow:
    double mass_kg
    double heat_kgk  # mass times temperature
    double loss_j

cdef double HEAT_CAPACITY
cdef double ENERGY_ZERO
cdef double LEAST_MOVE

cdef Py_ssize_t record_width(const Pipe* pipe) noexcept nogil
cdef bint releases_first(const Pipe* pipe, const double* record, double mass_kg, double dt_s) noexcept nogil
cdef double end_temp_k(const Pipe* pipe, const double* record, bint at_end) noexcept nogil

# A step as a whole, or in two halves for a pipe that closes a cycle of flows: what leaves, then what enters. Good for
# at most the cells less two (`releases_first`, which needs no `release`); `admit` must follow `release`. mass_kg < 0:
# from end to start.
ctypedef Outflow (*Move)(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil
ctypedef Outflow (*Release)(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double dt_s, double ambient_temp_k
) noexcept nogil
ctypedef double (*Admit)(
    const Pipe* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil
ctypedef double (*Stored)(const Pipe* pipe, const double* record) noexcept nogil

cdef struct Kernel:  # of pipe_step.pyx
    Move advance
    Release release
    Admit admit
    Stored stored_energy_j

cdef class Pipes:
    cdef const Kernel* kernel
    cdef Pipe* pipe  # [count]
    cdef Insulation* insulation  # [count]
    cdef Py_ssize_t* offset  # [count + 1], of a pipe's record in the row of a member
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t width
