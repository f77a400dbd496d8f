# Every kind of unit behind two functions. Parameters, state, command and result of a unit are rows of doubles whose
# names `names(kind)` tells; every result row begins with outlet_temp_k and heat_j (given to the water).
cpdef enum UnitKind:
    HEAT_SOURCE = 0
    HEAT_LOAD = 1
    SUBSTATION = 2
    HOUSE = 3  # a substation with its building
    BOILER = 4
    CHP = 5
    INCINERATOR = 6
    HEAT_PUMP = 7
    WASTE_HEAT = 8
    TANK = 9
    COOLER = 10

cdef enum:
    MOST_RESULTS = 12  # of any kind

# Flow in kg/s that the unit asks for, positive from start to end; free units are not asked.
cdef double wanted_flow_kg_s(
    int kind, const double* parameters, const double* state, const double* command, double temp_in_k
) noexcept nogil
# Whether water that is liquid leaves the unit as liquid whatever comes in; of units that are not sure: no.
cdef bint stays_liquid(int kind, const double* parameters, const double* command) noexcept nogil
# One step: mass_kg comes in at temp_in_k, at start if positive, at end if negative.
cdef void advance_unit(
    int kind, const double* parameters, double* state, const double* command, double temp_in_k, double mass_kg,
    double dt_s, double* result
) noexcept nogil
