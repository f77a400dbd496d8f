# Ideal producer and prescribed consumer; equations: docs/models/units.md.
cdef struct SourceParameters:
    double heat_limit_w
    double smallest_rise_k
cdef struct SourceState:
    double heat_w  # given in the last step
cdef struct SourceCommand:
    double supply_temp_k
    double heat_w
cdef struct SourceResult:
    double outlet_temp_k
    double heat_j

cdef double source_flow(
    const SourceParameters* p, const SourceState* s, const SourceCommand* c, double temp_in_k
) noexcept nogil
cdef void advance_source(
    const SourceParameters* p, SourceState* s, const SourceCommand* c, double temp_in_k, double mass_kg, double dt_s,
    SourceResult* result
) noexcept nogil

cdef struct LoadParameters:
    double gives_heat  # 1 or 0: which commands count
    double gives_flow
    double gives_drop  # else the return temperature
    double minimum_flow_kg_s
    double maximum_flow_kg_s
    double lowest_return_temp_k
cdef struct LoadState:
    double heat_w
cdef struct LoadCommand:
    double heat_w
    double flow_kg_s
    double temperature_drop_k
    double return_temp_k
cdef struct LoadResult:
    double outlet_temp_k
    double heat_j
    double unmet_j

cdef double load_flow(
    const LoadParameters* p, const LoadState* s, const LoadCommand* c, double temp_in_k
) noexcept nogil
cdef void advance_load(
    const LoadParameters* p, LoadState* s, const LoadCommand* c, double temp_in_k, double mass_kg, double dt_s,
    LoadResult* result
) noexcept nogil
