# Boiler, combined heat and power, waste incinerator; equations: docs/models/units.md.
from uem.twin_core.thermal.units.burner cimport BurnerCommand, BurnerParameters, BurnerState

cdef enum:
    CURVE_POINTS = 8

cdef struct BoilerParameters:
    BurnerParameters burner
    double points
    double load[CURVE_POINTS]
    double efficiency[CURVE_POINTS]
    double standby_loss_w
    double auxiliary_w
cdef struct BoilerResult:
    double outlet_temp_k
    double heat_j
    double fuel_j
    double electricity_j
    double loss_j
    double running_s

cdef void advance_boiler(
    const BoilerParameters* p, BurnerState* s, const BurnerCommand* c, double temp_in_k, double mass_kg, double dt_s,
    BoilerResult* result
) noexcept nogil

cdef struct ChpParameters:
    BurnerParameters burner
    double extracts
    double power_to_heat
    double power_to_heat_minimum
    double total_efficiency
    double electric_efficiency
    double power_loss
    double nominal_electricity_w
    double minimum_electricity_w
cdef struct ChpCommand:
    BurnerCommand burner
    double electricity_w
cdef struct ChpResult:
    double outlet_temp_k
    double heat_j
    double fuel_j
    double electricity_j
    double loss_j
    double running_s

cdef void advance_chp(
    const ChpParameters* p, BurnerState* s, const ChpCommand* c, double temp_in_k, double mass_kg, double dt_s,
    ChpResult* result
) noexcept nogil

cdef struct IncineratorParameters:
    double nominal_waste_kg_s
    double heating_value_j_kg
    double heat_efficiency
    double electric_efficiency
    double lag_s
    double highest_temp_k
    double smallest_rise_k
cdef struct IncineratorState:
    double fire_w
cdef struct IncineratorCommand:
    double supply_temp_k
    double waste_kg_s
cdef struct IncineratorResult:
    double outlet_temp_k
    double heat_j
    double fuel_j
    double electricity_j
    double loss_j
    double dumped_j
    double waste_kg

cdef double incinerator_flow(
    const IncineratorParameters* p, const IncineratorState* s, const IncineratorCommand* c, double temp_in_k
) noexcept nogil
cdef void advance_incinerator(
    const IncineratorParameters* p, IncineratorState* s, const IncineratorCommand* c, double temp_in_k, double mass_kg,
    double dt_s, IncineratorResult* result
) noexcept nogil
