"""Exchangers between the network and another stream: industrial waste heat, and air that heat is dumped to.

SI units, temperatures in K; equations and limits: docs/models/units.md.
"""

from uem.twin_core.thermal.pipes cimport HEAT_CAPACITY
from uem.twin_core.thermal.units.exchanger cimport (
    exchanged_w,
    film_part,
    stream_for_outlet_k_w,
    stream_needed_k_w,
)
from uem.twin_core.thermal.units.limits cimport LEAST_MASS_KG, clip, larger, smaller

# A set point nearer to the stream's temperature than this would need an endless exchanger.
cdef double LEAST_APPROACH_K = 2.0
cdef double LEAST_RATE_W_K = 1e-6


cdef double waste_heat_flow(
    const WasteHeatParameters* p, const WasteHeatState* s, const WasteHeatCommand* c, double temp_in_k
) noexcept nogil:
    """The water flow that leaves at the set point."""
    cdef double rate = c.stream_flow_kg_s * p.stream_heat_capacity_j_kgk
    cdef double difference = c.stream_temp_k - temp_in_k
    cdef double rise = smaller(c.supply_temp_k, c.stream_temp_k - LEAST_APPROACH_K) - temp_in_k
    cdef double fixed, water, available
    if rate < LEAST_RATE_W_K or not rise > 0.0:
        return p.minimum_flow_kg_s
    fixed = p.wall_k_w * (larger(c.fouling, 0.0) + 0.5 * film_part(p.stream_k_w * rate))
    water = stream_for_outlet_k_w(
        difference / rise, 1.0 / rate, fixed, 0.5 * p.wall_k_w, p.water_k_w, 1.0 / (HEAT_CAPACITY * p.maximum_flow_kg_s)
    )
    # Nor more than what the stream may be cooled by.
    available = larger(rate * (c.stream_temp_k - p.lowest_stream_temp_k), 0.0)
    return clip(smaller(1.0 / water, available / rise) / HEAT_CAPACITY, p.minimum_flow_kg_s, p.maximum_flow_kg_s)


cdef void advance_waste_heat(
    const WasteHeatParameters* p, WasteHeatState* s, const WasteHeatCommand* c, double temp_in_k, double mass_kg,
    double dt_s, WasteHeatResult* result
) noexcept nogil:
    cdef double rate = c.stream_flow_kg_s * p.stream_heat_capacity_j_kgk
    cdef double capacity = mass_kg * HEAT_CAPACITY
    cdef double difference = c.stream_temp_k - temp_in_k
    cdef double water_k_w, film_k_w, most_w, heat_w = 0.0, needed_k_w, slope
    result.bypass = 1.0
    result.stream_outlet_temp_k = c.stream_temp_k
    if mass_kg >= LEAST_MASS_KG and rate >= LEAST_RATE_W_K and difference > 0.0:
        water_k_w = dt_s / capacity
        film_k_w = 0.5 * p.wall_k_w * film_part(p.water_k_w / water_k_w) + p.wall_k_w * larger(c.fouling, 0.0)
        most_w = exchanged_w(
            difference, 1.0 / rate, water_k_w, film_k_w + 0.5 * p.wall_k_w * film_part(p.stream_k_w * rate)
        )
        heat_w = smaller(most_w, larger(c.supply_temp_k - temp_in_k, 0.0) / water_k_w)
        heat_w = smaller(heat_w, larger(rate * (c.stream_temp_k - p.lowest_stream_temp_k), 0.0))
        if heat_w >= most_w:
            result.bypass = 0.0
        elif heat_w > 0.0:
            needed_k_w = stream_needed_k_w(
                difference / heat_w, water_k_w, film_k_w, 0.5 * p.wall_k_w, p.stream_k_w, 1.0 / rate, 1.0 / rate,
                &slope
            )
            result.bypass = 1.0 - 1.0 / (needed_k_w * rate)
        result.stream_outlet_temp_k -= heat_w / rate
    s.heat_w = heat_w
    result.heat_j = heat_w * dt_s
    result.outlet_temp_k = temp_in_k
    if heat_w > 0.0:
        result.outlet_temp_k += result.heat_j / capacity


cdef double cooler_flow(
    const CoolerParameters* p, const CoolerState* s, const CoolerCommand* c, double temp_in_k
) noexcept nogil:
    """Pumped, a cooler holds its nominal flow while there is something to cool."""
    return p.nominal_flow_kg_s if c.on > 0.0 and temp_in_k > c.outlet_temp_k else 0.0


cdef void advance_cooler(
    const CoolerParameters* p, CoolerState* s, const CoolerCommand* c, double temp_in_k, double mass_kg, double dt_s,
    CoolerResult* result
) noexcept nogil:
    cdef double capacity = mass_kg * HEAT_CAPACITY
    cdef double difference = temp_in_k - c.air_temp_k
    cdef double water_k_w, most_w, heat_w = 0.0, needed_k_w, slope
    result.fan_speed = 0.0
    if c.on > 0.0 and mass_kg >= LEAST_MASS_KG and difference > 0.0:
        water_k_w = dt_s / capacity
        most_w = smaller(exchanged_w(difference, water_k_w, p.air_k_w, p.wall_k_w), p.nominal_heat_w)
        heat_w = smaller(most_w, larger(temp_in_k - c.outlet_temp_k, 0.0) / water_k_w)
        if heat_w > 0.0:
            # The films are the air's: that of the water is left out.
            needed_k_w = stream_needed_k_w(
                difference / heat_w, water_k_w, 0.0, p.wall_k_w, p.air_k_w, p.air_k_w, p.air_k_w,
                &slope
            )
            result.fan_speed = p.air_k_w / needed_k_w
    s.heat_w = heat_w
    result.heat_j = -heat_w * dt_s
    result.electricity_j = p.fan_w * result.fan_speed * result.fan_speed * result.fan_speed * dt_s
    result.outlet_temp_k = temp_in_k
    if heat_w > 0.0:
        result.outlet_temp_k += result.heat_j / capacity
