# What a step of a network works on, for the kernels that do one; shapes stand in network.py. And what they agree on.

cdef extern from *:
    """
    #define UEM_LEAST_FLOW 1e-8
    #define UEM_MOST_REPAID 0.1
    #define UEM_SAME_TEMP 0.1
    #define UEM_SAME_FLOW 1e-4
    #define UEM_FLOW_TOLERANCE 1e-3
    #define UEM_CUT_MARGIN 1.25
    """
    # In networks with pressures, smaller flows in kg/s are what a solver leaves over.
    double LEAST_FLOW "UEM_LEAST_FLOW"
    # An edge gives back what it owes by water that is warmer or colder by this at most, in K.
    double MOST_REPAID "UEM_MOST_REPAID"
    # Within a step flows are not worked out again as long as no temperature in K and no part of a wanted flow moved
    # more.
    double SAME_TEMP "UEM_SAME_TEMP"
    double SAME_FLOW "UEM_SAME_FLOW"
    # Flows have settled when all that still changed is this part of their sum.
    double FLOW_TOLERANCE "UEM_FLOW_TOLERANCE"
    # A cut is chosen only where the pipe would release first with this much more flow too, so that it stays valid.
    double CUT_MARGIN "UEM_CUT_MARGIN"

cdef enum:  # what can go wrong in a step
    NO_FLOWS = 1  # no flows found that fit the pressures
    NO_WATER = 2  # a unit gives what is not liquid

cdef enum:  # first results of every unit
    OUTLET_TEMP = 0
    HEAT = 1

cdef enum:  # where the water of an edge goes in a step
    UNKNOWN = -1
    WHOLE = 0
    RELEASED = 1  # the pipe gives its outflow before its inlet is known
    LATE = 2  # the edge takes in water as warm as it was in the inner step before

cdef enum:  # of a ledger
    IN = 0
    OUT = 1
    LOSS = 2
    STORED = 3

cdef enum:  # arrays of inputs, in their order
    SUPPLY
    DEMAND
    PRESSURE
    OPENING
    VALVE_FLOW
    SPEED
    RISE
    AMBIENT
    COMMANDS
    INPUTS

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

cdef struct InputArray:
    const double* at
    Py_ssize_t count
    Py_ssize_t width  # of a row
    double low
    double high

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
    cdef InputArray[INPUTS] array  # the same by number
