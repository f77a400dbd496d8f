"""A customer's station: space heating and hot water behind counterflow exchangers, in parallel on the primary side.

Each demand says what its secondary stream looks like; the control valve lets through the primary flow that just meets
it. Where less comes, effectiveness and transfer units say what goes over; where more comes, it passes by. SI units,
temperatures in K; equations: docs/models/units.md.
"""

from libc.math cimport pow

from uem.twin_core.thermal.pipes cimport HEAT_CAPACITY
from uem.twin_core.thermal.units.building cimport BuildingResult, advance_building, thermostat_w
from uem.twin_core.thermal.units.exchanger cimport film_part, stream_needed_k_w, total_k_w
from uem.twin_core.thermal.units.limits cimport LEAST_MASS_KG, clip, larger, smaller

# A demand below this part of the rating is none.
cdef double LEAST_PART = 1e-6
# An outlet is kept this far above the secondary return, so that resistances stay finite.
cdef double LEAST_DIFFERENCE_K = 1e-3
# More than this part of a demand is all of it: the flow is found and comes here with rounding.
cdef double MET = 1.0 - 1e-9


cdef struct Secondary:  # a demand as the exchanger sees it
    double heat_w
    double supply_temp_k
    double return_temp_k
    double stream_k_w  # 1/C
    double fixed_k_w  # fouling and secondary film


cdef inline double space_heating_w(const SubstationParameters* p, const SubstationCommand* c) noexcept nogil:
    """Heating asked for: commanded or on the load line."""
    if p.by_outdoor:
        return p.heating.nominal_w * clip(
            (p.heating_limit_k - c.outdoor_temp_k) / (p.heating_limit_k - p.design_outdoor_k), 0.0, 1.0
        )
    return larger(c.heating_w, 0.0)


cdef inline double secondary_set_k(const SubstationParameters* p, double outdoor_temp_k) noexcept nogil:
    """The heating curve."""
    cdef double part = clip(
        (p.heating_limit_k - outdoor_temp_k) / (p.heating_limit_k - p.design_outdoor_k), 0.0, 1.0
    )
    return p.curve_low_k + part * (p.curve_high_k - p.curve_low_k)


cdef inline void behind(const Circuit* circuit, double fouling, Secondary* out) noexcept nogil:
    """Stream and wall of a circuit whose heat and temperatures are known."""
    out.stream_k_w = (out.supply_temp_k - out.return_temp_k) / out.heat_w
    out.fixed_k_w = circuit.wall_k_w * (larger(fouling, 0.0) + 0.5 * film_part(circuit.secondary_k_w / out.stream_k_w))


cdef Secondary heating_side(
    const SubstationParameters* p, const SubstationCommand* c, double heat_w
) noexcept nogil:
    """Space heating: the radiators' mean temperature follows from their heat, their return from it and the curve."""
    cdef Secondary out
    cdef double highest
    out.heat_w = heat_w
    out.supply_temp_k = secondary_set_k(p, c.outdoor_temp_k)
    # The circulation pump gives at most the nominal flow, and no radiator cools water below its room.
    highest = out.supply_temp_k - heat_w * p.heating.secondary_k_w
    out.return_temp_k = 2.0 * (
        p.room_k + p.radiator_rise_k * pow(heat_w / p.heating.nominal_w, p.radiator_power)
    ) - out.supply_temp_k
    out.return_temp_k = larger(smaller(out.return_temp_k, highest), p.room_k)
    behind(&p.heating, c.fouling, &out)
    return out


cdef inline bint draws_hot_water(const SubstationParameters* p, const SubstationCommand* c) noexcept nogil:
    return p.hot_water.nominal_w > 0.0 and c.hot_water_w > LEAST_PART * p.hot_water.nominal_w


cdef Secondary hot_water_side(const SubstationParameters* p, const SubstationCommand* c) noexcept nogil:
    cdef Secondary out
    out.heat_w = c.hot_water_w
    out.supply_temp_k = p.hot_water_k
    out.return_temp_k = p.cold_water_k
    behind(&p.hot_water, c.fouling, &out)
    return out


cdef double stream_wanted_k_w(
    const Circuit* circuit, const Secondary* side, const double* last, double temp_in_k, double most_kg_s
) noexcept nogil:
    """1/C of the primary flow that meets a demand; with too cold a supply: all that the valve can give.

    `last`: 1/C, total resistance and slope of the last step, where the search begins.
    """
    cdef double slope, total, difference = temp_in_k - side.return_temp_k
    cdef double least_k_w = 1.0 / (HEAT_CAPACITY * most_kg_s)
    if not difference > LEAST_DIFFERENCE_K:
        return least_k_w
    total = difference / side.heat_w
    return stream_needed_k_w(
        total, side.stream_k_w, side.fixed_k_w, 0.5 * circuit.wall_k_w, circuit.primary_k_w, least_k_w,
        last[0] + last[2] * (total - last[1]), &slope
    )


cdef double given_w(
    const Circuit* circuit, const Secondary* side, double* last, double stream_k_w, double temp_in_k
) noexcept nogil:
    """Heat that goes over from a primary stream, not more than asked for; notes where the exchanger is."""
    cdef double heat_w, difference = temp_in_k - side.return_temp_k
    if not difference > 0.0:
        return 0.0
    last[0] = stream_k_w
    last[1] = total_k_w(
        stream_k_w, side.stream_k_w, side.fixed_k_w, 0.5 * circuit.wall_k_w, circuit.primary_k_w, &last[2]
    )
    last[2] = 1.0 / last[2]
    heat_w = difference / last[1]
    if heat_w > side.heat_w * MET:
        heat_w = side.heat_w
    # Rounding may not cool the primary below the secondary.
    return smaller(heat_w, difference / stream_k_w)


cdef double flow_for(
    const SubstationParameters* p, const SubstationState* s, const SubstationCommand* c, double heating_w,
    double temp_in_k
) noexcept nogil:
    cdef Secondary side
    cdef double rate = 0.0
    if heating_w > LEAST_PART * p.heating.nominal_w:
        side = heating_side(p, c, heating_w)
        rate += 1.0 / stream_wanted_k_w(&p.heating, &side, &s.heating_k_w, temp_in_k, p.maximum_flow_kg_s)
    if draws_hot_water(p, c):
        side = hot_water_side(p, c)
        rate += 1.0 / stream_wanted_k_w(&p.hot_water, &side, &s.hot_water_k_w, temp_in_k, p.maximum_flow_kg_s)
    return clip(rate / HEAT_CAPACITY, p.minimum_flow_kg_s, p.maximum_flow_kg_s)


cdef void advance_for(
    const SubstationParameters* p, SubstationState* s, const SubstationCommand* c, double heating_w, double temp_in_k,
    double mass_kg, double dt_s, SubstationResult* result
) noexcept nogil:
    cdef Secondary heating_is, water_is
    cdef double heating_k_w, water_k_w, rate, capacity = mass_kg * HEAT_CAPACITY
    cdef bint flows = mass_kg >= LEAST_MASS_KG
    cdef bint heats = heating_w > LEAST_PART * p.heating.nominal_w
    cdef bint draws = draws_hot_water(p, c)
    result.heating_j = 0.0
    result.hot_water_j = 0.0
    result.unmet_heating_j = heating_w * dt_s if heats else 0.0
    # Asked of a station that has no exchanger for it, all of it is unmet.
    result.unmet_hot_water_j = c.hot_water_w * dt_s if c.hot_water_w > LEAST_PART * p.hot_water.nominal_w else 0.0
    result.secondary_supply_temp_k = secondary_set_k(p, c.outdoor_temp_k)
    result.secondary_return_temp_k = result.secondary_supply_temp_k
    result.heat_j = 0.0
    result.outlet_temp_k = temp_in_k
    if heats:
        heating_is = heating_side(p, c, heating_w)
        result.secondary_return_temp_k = heating_is.return_temp_k
        result.secondary_supply_temp_k = heating_is.return_temp_k
    if not flows:
        return
    heating_k_w = water_k_w = dt_s / capacity
    if draws:
        water_is = hot_water_side(p, c)
        if heats:
            # Both valves are open: what comes is shared as it is wanted.
            heating_k_w = stream_wanted_k_w(&p.heating, &heating_is, &s.heating_k_w, temp_in_k, p.maximum_flow_kg_s)
            water_k_w = stream_wanted_k_w(&p.hot_water, &water_is, &s.hot_water_k_w, temp_in_k, p.maximum_flow_kg_s)
            rate = (1.0 / heating_k_w + 1.0 / water_k_w) * dt_s / capacity
            heating_k_w *= rate
            water_k_w *= rate
        result.hot_water_j = given_w(&p.hot_water, &water_is, &s.hot_water_k_w, water_k_w, temp_in_k) * dt_s
        result.unmet_hot_water_j -= result.hot_water_j
    if heats:
        result.heating_j = given_w(&p.heating, &heating_is, &s.heating_k_w, heating_k_w, temp_in_k) * dt_s
        result.unmet_heating_j -= result.heating_j
        result.secondary_supply_temp_k += result.heating_j / dt_s * heating_is.stream_k_w
    result.heat_j = -(result.heating_j + result.hot_water_j)
    result.outlet_temp_k += result.heat_j / capacity


cdef double substation_flow(
    const SubstationParameters* p, const SubstationState* s, const SubstationCommand* c, double temp_in_k
) noexcept nogil:
    return flow_for(p, s, c, space_heating_w(p, c), temp_in_k)


cdef void advance_substation(
    const SubstationParameters* p, SubstationState* s, const SubstationCommand* c, double temp_in_k, double mass_kg,
    double dt_s, SubstationResult* result
) noexcept nogil:
    advance_for(p, s, c, space_heating_w(p, c), temp_in_k, mass_kg, dt_s, result)


cdef double house_flow(
    const HouseParameters* p, const HouseState* s, const HouseCommand* c, double temp_in_k
) noexcept nogil:
    cdef double heating_w = thermostat_w(
        &p.building, &s.building, &c.building, c.station.outdoor_temp_k, p.station.heating.nominal_w
    )
    return flow_for(&p.station, &s.station, &c.station, heating_w, temp_in_k)


cdef void advance_house(
    const HouseParameters* p, HouseState* s, const HouseCommand* c, double temp_in_k, double mass_kg, double dt_s,
    HouseResult* result
) noexcept nogil:
    cdef double heating_w = thermostat_w(
        &p.building, &s.building, &c.building, c.station.outdoor_temp_k, p.station.heating.nominal_w
    )
    cdef BuildingResult building
    advance_for(&p.station, &s.station, &c.station, heating_w, temp_in_k, mass_kg, dt_s, &result.station)
    advance_building(
        &p.building, &s.building, &c.building, c.station.outdoor_temp_k, result.station.heating_j / dt_s, dt_s, &building
    )
    result.room_temp_k = building.air_temp_k
    result.gains_j = building.gains_j
    result.building_loss_j = building.loss_j
