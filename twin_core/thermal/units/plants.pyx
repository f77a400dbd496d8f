"""Boilers, combined heat and power, waste incinerators: fuel to heat and electricity.

SI units, temperatures in K; electricity is positive where it is used, negative where it is made. In every step
fuel + electricity = heat + loss (+ dumped). Equations: docs/models/units.md.
"""

from libc.math cimport INFINITY, expm1

from uem.twin_core.thermal.pipes cimport HEAT_CAPACITY
from uem.twin_core.thermal.units.burner cimport Burn, burn
from uem.twin_core.thermal.units.limits cimport LEAST_MASS_KG, carrying_flow_kg_s, clip, larger, smaller


cdef double on_curve(const double* x, const double* y, Py_ssize_t points, double at) noexcept nogil:
    """Linear between points, constant beyond them."""
    cdef Py_ssize_t i
    if at <= x[0]:
        return y[0]
    for i in range(1, points):
        if at < x[i]:
            return y[i - 1] + (y[i] - y[i - 1]) * (at - x[i - 1]) / (x[i] - x[i - 1])
    return y[points - 1]


cdef inline double running_load(const BurnerParameters* p, const Burn* b) noexcept nogil:
    """Load while it runs: below the minimum, a cycling unit runs at the minimum for a part of the time."""
    return larger(b.heat_j / b.running_s, p.minimum_heat_w) / p.nominal_heat_w if b.running_s > 0.0 else 0.0


cdef void advance_boiler(
    const BoilerParameters* p, BurnerState* s, const BurnerCommand* c, double temp_in_k, double mass_kg, double dt_s,
    BoilerResult* result
) noexcept nogil:
    cdef Burn b = burn(&p.burner, s, c, INFINITY, temp_in_k, mass_kg, dt_s)
    cdef double load = running_load(&p.burner, &b)
    cdef double at_load_s = smaller(b.heat_j / (load * p.burner.nominal_heat_w), b.running_s) if load > 0.0 else 0.0
    result.outlet_temp_k = b.outlet_temp_k
    result.heat_j = b.heat_j
    result.fuel_j = (
        b.heat_j / on_curve(p.load, p.efficiency, <Py_ssize_t> p.points, load) + b.start_j
        + p.standby_loss_w * (b.running_s - at_load_s)
    )
    result.electricity_j = p.auxiliary_w * b.heat_j / p.burner.nominal_heat_w
    result.loss_j = result.fuel_j + result.electricity_j - result.heat_j
    result.running_s = at_load_s


cdef void advance_chp(
    const ChpParameters* p, BurnerState* s, const ChpCommand* c, double temp_in_k, double mass_kg, double dt_s,
    ChpResult* result
) noexcept nogil:
    cdef Burn b = burn(&p.burner, s, &c.burner, INFINITY, temp_in_k, mass_kg, dt_s)
    cdef double load = running_load(&p.burner, &b)
    cdef double span = p.burner.nominal_heat_w - p.burner.minimum_heat_w
    cdef double part = 1.0 if span <= 0.0 else clip(
        (load * p.burner.nominal_heat_w - p.burner.minimum_heat_w) / span, 0.0, 1.0
    )
    cdef double bound_j = b.heat_j * (p.power_to_heat_minimum + part * (p.power_to_heat - p.power_to_heat_minimum))
    cdef double made_j = bound_j, lost_j, most_j
    result.outlet_temp_k = b.outlet_temp_k
    result.heat_j = b.heat_j
    if p.extracts:
        lost_j = p.power_loss * b.heat_j
        most_j = larger(p.nominal_electricity_w * b.running_s - lost_j, bound_j)
        made_j = larger(bound_j, p.minimum_electricity_w * b.running_s - lost_j)
        made_j = clip(c.electricity_w * b.running_s, made_j, most_j)
        result.fuel_j = (made_j + lost_j) / p.electric_efficiency + b.start_j
    else:
        result.fuel_j = (made_j + b.heat_j) / p.total_efficiency + b.start_j
    result.electricity_j = -made_j
    result.loss_j = result.fuel_j + result.electricity_j - result.heat_j
    result.running_s = b.running_s


cdef double incinerator_flow(
    const IncineratorParameters* p, const IncineratorState* s, const IncineratorCommand* c, double temp_in_k
) noexcept nogil:
    cdef double set_k = smaller(c.supply_temp_k, p.highest_temp_k)
    return carrying_flow_kg_s(s.fire_w * p.heat_efficiency, set_k - temp_in_k, p.smallest_rise_k)


cdef void advance_incinerator(
    const IncineratorParameters* p, IncineratorState* s, const IncineratorCommand* c, double temp_in_k, double mass_kg,
    double dt_s, IncineratorResult* result
) noexcept nogil:
    cdef double capacity = mass_kg * HEAT_CAPACITY if mass_kg >= LEAST_MASS_KG else 0.0
    cdef double set_k = smaller(c.supply_temp_k, p.highest_temp_k)
    cdef double fed_kg = clip(c.waste_kg_s, 0.0, p.nominal_waste_kg_s) * dt_s
    cdef double fed_w = fed_kg * p.heating_value_j_kg / dt_s
    cdef double gone  # part of the distance to the new feed that the fire has gone
    # The fire follows the feed with a lag; its mean over the step is exact.
    result.fuel_j = fed_w * dt_s
    if p.lag_s > 0.0:
        gone = -expm1(-dt_s / p.lag_s)
        result.fuel_j += (s.fire_w - fed_w) * p.lag_s * gone
        s.fire_w += gone * (fed_w - s.fire_w)
    else:
        s.fire_w = fed_w
    result.heat_j = clip(capacity * (set_k - temp_in_k), 0.0, p.heat_efficiency * result.fuel_j)
    result.dumped_j = p.heat_efficiency * result.fuel_j - result.heat_j
    result.electricity_j = -p.electric_efficiency * result.fuel_j
    result.loss_j = result.fuel_j + result.electricity_j - result.heat_j - result.dumped_j
    result.waste_kg = fed_kg
    result.outlet_temp_k = temp_in_k
    if capacity > 0.0:
        result.outlet_temp_k += result.heat_j / capacity
