# Compression heat pump; equations: docs/models/units.md.
from uem.twin_core.thermal.units.burner cimport BurnerCommand, BurnerParameters, BurnerState

cdef enum:
    TABLE_POINTS = 8

cdef struct HeatPumpParameters:
    BurnerParameters burner
    double carnot_fraction
    double pinch_k
    double highest_cop
    double electric_limit_w
    double source_heat_capacity_j_kgk
    double lowest_source_temp_k
    double sources  # points of the table; 0: Carnot
    double outlets
    double source_k[TABLE_POINTS]
    double outlet_k[TABLE_POINTS]
    double cop[TABLE_POINTS * TABLE_POINTS]  # a row of `outlets` numbers per source temperature
cdef struct HeatPumpCommand:
    BurnerCommand burner
    double source_temp_k
    double source_flow_kg_s
cdef struct HeatPumpResult:
    double outlet_temp_k
    double heat_j
    double electricity_j
    double source_heat_j
    double loss_j
    double source_outlet_temp_k
    double cop
    double running_s

cdef void advance_heat_pump(
    const HeatPumpParameters* p, BurnerState* s, const HeatPumpCommand* c, double temp_in_k, double mass_kg,
    double dt_s, HeatPumpResult* result
) noexcept nogil
