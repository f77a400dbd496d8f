# A stratified tank; a state is `fill`, then layers + 1 plug temperatures from the bottom to the top; units.md.
cdef enum:
    MOST_LAYERS = 64

cdef struct TankParameters:
    double layers
    double capacity_j_k  # of the whole content
    double conductance_w_k  # from the middle of a layer to that of the next
    double side_w_k  # loss of a layer's wall
    double lid_w_k  # loss of the bottom, and of the top
    double maximum_flow_kg_s
    double lowest_discharge_temp_k
    double highest_charge_temp_k
cdef struct TankCommand:
    double flow_kg_s
    double room_temp_k
cdef struct TankResult:
    double outlet_temp_k
    double heat_j
    double loss_j
    double mean_temp_k  # of the whole content: its heat
    double bottom_temp_k
    double top_temp_k

cdef double tank_flow(const TankParameters* p, const double* state, const TankCommand* c) noexcept nogil
cdef void advance_tank(
    const TankParameters* p, double* state, const TankCommand* c, double temp_in_k, double mass_kg, double dt_s,
    TankResult* result
) noexcept nogil
