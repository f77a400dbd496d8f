# What a step of a network works on, for the kernels that do one; shapes stand in network.py.

cdef enum:
    INPUTS = 9  # arrays

# The arrays of a state.
cdef class Arrays:
    cdef double[:, ::1] rows
    cdef double[:, ::1] memos
    cdef double[:, ::1] records
    cdef double[::1] stored_j
    cdef double[:, ::1] step_j
    cdef double[:, ::1] total_j
    cdef double[:, ::1] node_temp_k
    cdef double[:, ::1] node_pressure_pa
    cdef double[:, ::1] node_unsupplied
    cdef double[:, ::1] edge_flow_kg_s
    cdef double[:, ::1] pipe_outlet_temp_k
    cdef double[:, ::1] unit_results

# The arrays of inputs, and within which bounds their values make sense.
cdef class InputArrays:
    cdef double[:, ::1] supply_temp_k
    cdef double[:, ::1] demand_kg_s
    cdef double[:, ::1] pressure_pa
    cdef double[:, ::1] opening
    cdef double[:, ::1] valve_flow_kg_s
    cdef double[:, ::1] speed
    cdef double[:, ::1] pressure_rise_pa
    cdef double[:, ::1] ambient_temp_k
    cdef double[:, ::1] commands
    cdef double[INPUTS][2] bound

    cdef bint within(self, double[:, ::1] values, int k) noexcept nogil
