# A building of two or three nodes, air, walls and inner masses; equations: docs/models/units.md.
cdef enum:
    NODES = 3

cdef struct BuildingParameters:
    double rate_1_s[NODES]  # eigenvalues, not positive
    double to_modes[NODES * NODES]  # amplitudes of the modes from node temperatures, row after row
    double from_modes[NODES * NODES]
    double outdoor_w_k  # air to outdoors
    double wall_outside_w_k
    double sun_to_air  # 1: no inner masses
    double solar_area_m2
    double horizon_hold[NODES]  # share of each node's temperature in that of the air after the thermostat's horizon
    double horizon_outdoor
    double horizon_air_k_w
    double horizon_mass_k_w

cdef struct BuildingState:
    double air_temp_k
    double wall_temp_k
    double mass_temp_k

cdef struct BuildingCommand:
    double solar_w_m2
    double internal_gains_w
    double room_set_temp_k

cdef struct BuildingResult:
    double air_temp_k
    double gains_j  # internal and solar
    double loss_j  # to the outdoors

cdef double thermostat_w(
    const BuildingParameters* p, const BuildingState* s, const BuildingCommand* c, double outdoor_temp_k, double most_w
) noexcept nogil
cdef void advance_building(
    const BuildingParameters* p, BuildingState* s, const BuildingCommand* c, double outdoor_temp_k, double heating_w,
    double dt_s, BuildingResult* result
) noexcept nogil
