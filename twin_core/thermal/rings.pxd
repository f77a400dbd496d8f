# The planning kernel: one pipe is a mixed tank, a row of plugs and another mixed tank. Same calls as pipes.pxd.
# A record is HEAD doubles and then `capacity` plugs of PLUG doubles, see plugs.pxi. A memo is not used.

cdef enum:
    HEAD = 3
    INLET = 0  # temperature of the tank where water comes in
    OUTLET = 1
    AHEAD = 2  # one more than there are plugs; positive where water comes in at the start, negative: at the end
    PLUG = 4
    MASS = 0
    TEMP = 1  # mean
    # The logarithm of how much the end has cooled more than the beginning, and that times what has cooled: per kg.
    SLOPE = 2
    STEEPNESS = 3
    MEMO_WIDTH = 1  # for the sake of equal calls

cdef struct Ring:
    Py_ssize_t capacity  # plugs that the record has room for
    double tank_kg  # of each of both tanks, its share of the wall as water
    double tank_inverse_kg
    double ring_kg  # between them
    double least_kg  # a plug is filled up to this before the next one begins
    double decay_per_s  # of a temperature above the ambient
    double whole_kg

cdef struct Outflow:
    double mass_kg
    double heat_kgk  # mass times temperature
    double loss_j

cdef double HEAT_CAPACITY
cdef double ENERGY_ZERO
cdef double LEAST_MOVE

cdef Py_ssize_t record_width(Py_ssize_t capacity) noexcept nogil
cdef Outflow advance(
    const Ring* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil
cdef bint releases_first(const Ring* pipe, const double* record, double mass_kg, double dt_s) noexcept nogil
cdef Outflow release(
    const Ring* pipe, double* record, double* memo, double mass_kg, double dt_s, double ambient_temp_k
) noexcept nogil
cdef double admit(
    const Ring* pipe, double* record, double* memo, double mass_kg, double temp_k, double dt_s, double ambient_temp_k
) noexcept nogil
cdef double stored_energy_j(const Ring* pipe, const double* record) noexcept nogil
cdef double end_temp_k(const Ring* pipe, const double* record, bint at_end) noexcept nogil

cdef void copy_record(const Ring* pipe, const double* record, double* copy) noexcept nogil

cdef class Rings:
    cdef Ring* pipe  # [count]
    cdef Py_ssize_t* offset  # [count], of a pipe's record in the row of a member
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t width
