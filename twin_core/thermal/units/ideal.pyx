"""An ideal producer and a prescribed consumer. SI units, temperatures in K; equations: docs/models/units.md."""

from uem.twin_core.thermal.pipes cimport HEAT_CAPACITY
from uem.twin_core.thermal.units.limits cimport LEAST_MASS_KG, LEAST_DROP_K, carrying_flow_kg_s, clip, larger, smaller


cdef double source_flow(
    const SourceParameters* p, const SourceState* s, const SourceCommand* c, double temp_in_k
) noexcept nogil:
    cdef double heat_w = smaller(larger(c.heat_w, 0.0), p.heat_limit_w)
    return carrying_flow_kg_s(heat_w, c.supply_temp_k - temp_in_k, p.smallest_rise_k)


cdef void advance_source(
    const SourceParameters* p, SourceState* s, const SourceCommand* c, double temp_in_k, double mass_kg, double dt_s,
    SourceResult* result
) noexcept nogil:
    cdef double capacity = mass_kg * HEAT_CAPACITY
    cdef double rise = 0.0
    if mass_kg >= LEAST_MASS_KG:
        rise = smaller(larger(c.supply_temp_k - temp_in_k, 0.0), p.heat_limit_w * dt_s / capacity)
    result.outlet_temp_k = temp_in_k + rise
    result.heat_j = capacity * rise
    s.heat_w = result.heat_j / dt_s


cdef double coldest(const LoadParameters* p, const LoadCommand* c, double temp_in_k) noexcept nogil:
    """How cold the water may leave."""
    cdef double temp = temp_in_k - c.temperature_drop_k if p.gives_drop else c.return_temp_k
    return smaller(larger(temp, p.lowest_return_temp_k), temp_in_k)


cdef double load_flow(
    const LoadParameters* p, const LoadState* s, const LoadCommand* c, double temp_in_k
) noexcept nogil:
    cdef double flow
    if p.gives_flow:
        flow = c.flow_kg_s
    else:
        flow = larger(c.heat_w, 0.0) / (HEAT_CAPACITY * larger(temp_in_k - coldest(p, c, temp_in_k), LEAST_DROP_K))
    return clip(flow, p.minimum_flow_kg_s, p.maximum_flow_kg_s)


cdef void advance_load(
    const LoadParameters* p, LoadState* s, const LoadCommand* c, double temp_in_k, double mass_kg, double dt_s,
    LoadResult* result
) noexcept nogil:
    cdef double capacity = mass_kg * HEAT_CAPACITY
    cdef double most = temp_in_k - coldest(p, c, temp_in_k)  # drop
    cdef double wanted_j = larger(c.heat_w, 0.0) * dt_s if p.gives_heat else (
        larger(c.flow_kg_s, 0.0) * dt_s * HEAT_CAPACITY * most
    )
    cdef double drop = 0.0
    if mass_kg >= LEAST_MASS_KG:
        drop = smaller(wanted_j / capacity, most)
    result.outlet_temp_k = temp_in_k - drop
    result.heat_j = -capacity * drop
    result.unmet_j = larger(wanted_j + result.heat_j, 0.0) if p.gives_heat else 0.0
    s.heat_w = -result.heat_j / dt_s
