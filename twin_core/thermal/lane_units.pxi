# Units of members side by side: the formulas of units/ideal.pyx, in the same order and so to the same bits. `command`
# and `result` of a unit are the numbers of its structs there, each in lanes.

cdef enum:  # numbers of the structs
    LOAD_HEAT_W = 0
    FLOW_KG_S = 1
    DROP_K = 2
    RETURN_TEMP_K = 3
    SUPPLY_TEMP_K = 0
    SOURCE_HEAT_W = 1
    UNMET_J = 2


cdef inline lane coldest_return(const LoadParameters* p, const lane* command, lane temp_in) noexcept nogil:
    cdef lane temp = temp_in - command[DROP_K] if p.gives_drop else command[RETURN_TEMP_K]
    return smaller(larger(temp, spread(p.lowest_return_temp_k)), temp_in)


cdef inline lane clipped(lane value, double low, double high) noexcept nogil:
    return choose(less(value, spread(low)), spread(low), choose(less(spread(high), value), spread(high), value))


cdef inline lane flow_of_load(const LoadParameters* p, const lane* command, lane temp_in) noexcept nogil:
    cdef lane flow, drop
    if p.gives_flow:
        flow = command[FLOW_KG_S]
    else:
        drop = larger(temp_in - coldest_return(p, command, temp_in), spread(LEAST_DROP_K))
        flow = larger(command[LOAD_HEAT_W], spread(0.0)) / (HEAT_CAPACITY * drop)
    return clipped(flow, p.minimum_flow_kg_s, p.maximum_flow_kg_s)


cdef inline lane flow_of_source(const SourceParameters* p, const lane* command, lane temp_in) noexcept nogil:
    cdef lane heat = smaller(larger(command[SOURCE_HEAT_W], spread(0.0)), spread(p.heat_limit_w))
    cdef lane rise = command[SUPPLY_TEMP_K] - temp_in
    return heat / (HEAT_CAPACITY * larger(rise, spread(p.smallest_rise_k))) * clipped(
        rise / spread(LAST_RISE_K), 0.0, 1.0
    )


cdef inline void through_load(
    const LoadParameters* p, const lane* command, lane temp_in, lane mass, double dt, lane* result
) noexcept nogil:
    cdef lane zero = spread(0.0), capacity = mass * HEAT_CAPACITY, most = temp_in - coldest_return(p, command, temp_in)
    cdef lane wanted, drop
    cdef mask moves = at_most(spread(LEAST_MASS_KG), mass)
    if p.gives_heat:
        wanted = larger(command[LOAD_HEAT_W], zero) * dt
    else:
        wanted = larger(command[FLOW_KG_S], zero) * dt * HEAT_CAPACITY * most
    drop = choose(moves, smaller(wanted / choose(moves, capacity, spread(1.0)), most), zero)
    result[OUTLET_TEMP] = temp_in - drop
    result[HEAT] = zero - capacity * drop
    result[UNMET_J] = larger(wanted + result[HEAT], zero) if p.gives_heat else zero


cdef inline void through_source(
    const SourceParameters* p, const lane* command, lane temp_in, lane mass, double dt, lane* result
) noexcept nogil:
    cdef lane zero = spread(0.0), capacity = mass * HEAT_CAPACITY, rise
    cdef mask moves = at_most(spread(LEAST_MASS_KG), mass)
    rise = smaller(
        larger(command[SUPPLY_TEMP_K] - temp_in, zero),
        spread(p.heat_limit_w * dt) / choose(moves, capacity, spread(1.0)),
    )
    rise = choose(moves, rise, zero)
    result[OUTLET_TEMP] = temp_in + rise
    result[HEAT] = capacity * rise
