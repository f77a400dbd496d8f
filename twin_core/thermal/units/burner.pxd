# How the heat of a commanded producer may move: start, minimum, ramp, cycling; docs/models/units.md.
cdef struct BurnerParameters:
    double nominal_heat_w
    double minimum_heat_w
    double ramp_w_s
    double start_up_s
    double start_up_j
    double cycling
    double highest_temp_k
    double pumped
    double smallest_rise_k  # that the pump of a pumped one is made for

cdef struct BurnerState:
    double stage  # OFF, STARTING, RUNNING
    double start_remaining_s
    double heat_w  # at the end of the last step
    double next_heat_w  # what a pumped one will give in the next step of the same length

cdef struct BurnerCommand:
    double on
    double supply_temp_k
    double heat_w

cdef struct Burn:
    double heat_j
    double start_j
    double running_s
    double outlet_temp_k

cdef double supply_set_k(const BurnerParameters* p, const BurnerCommand* c) noexcept nogil
cdef double burner_flow(
    const BurnerParameters* p, const BurnerState* s, const BurnerCommand* c, double temp_in_k
) noexcept nogil
cdef Burn burn(
    const BurnerParameters* p, BurnerState* s, const BurnerCommand* c, double most_w, double temp_in_k, double mass_kg,
    double dt_s
) noexcept nogil
