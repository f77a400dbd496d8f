# Exchangers with a stream that is not the network's: industrial waste heat, air; equations: docs/models/units.md.
cdef struct WasteHeatParameters:
    double wall_k_w  # 1/UA, clean, at the nominal flows; half of it is the film of each side
    double water_k_w  # 1/C of the water at its nominal flow
    double stream_k_w
    double stream_heat_capacity_j_kgk
    double lowest_stream_temp_k
    double minimum_flow_kg_s
    double maximum_flow_kg_s
cdef struct WasteHeatState:
    double heat_w
cdef struct WasteHeatCommand:
    double supply_temp_k
    double stream_flow_kg_s
    double stream_temp_k
    double fouling
cdef struct WasteHeatResult:
    double outlet_temp_k
    double heat_j
    double stream_outlet_temp_k  # after the bypass has joined
    double bypass  # part of the stream that passes by

cdef double waste_heat_flow(
    const WasteHeatParameters* p, const WasteHeatState* s, const WasteHeatCommand* c, double temp_in_k
) noexcept nogil
cdef void advance_waste_heat(
    const WasteHeatParameters* p, WasteHeatState* s, const WasteHeatCommand* c, double temp_in_k, double mass_kg,
    double dt_s, WasteHeatResult* result
) noexcept nogil

cdef struct CoolerParameters:
    double wall_k_w
    double air_k_w  # 1/C of the air at full fan speed
    double fan_w
    double nominal_flow_kg_s
    double nominal_heat_w
cdef struct CoolerState:
    double heat_w
cdef struct CoolerCommand:
    double on
    double outlet_temp_k
    double air_temp_k
cdef struct CoolerResult:
    double outlet_temp_k
    double heat_j
    double electricity_j
    double fan_speed

cdef double cooler_flow(
    const CoolerParameters* p, const CoolerState* s, const CoolerCommand* c, double temp_in_k
) noexcept nogil
cdef void advance_cooler(
    const CoolerParameters* p, CoolerState* s, const CoolerCommand* c, double temp_in_k, double mass_kg, double dt_s,
    CoolerResult* result
) noexcept nogil
