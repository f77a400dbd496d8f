"""A compression heat pump between a source stream and the network.

By Carnot: cop = f Th / (Th - Tc), Th a pinch above the water leaving, Tc a pinch below the source leaving. The source's
outlet follows from the heat taken from it, so that

    Qe = Q (1 - 1/cop) = Q k / (1 + Q g),   k = 1 - 1/f + (Ts - pinch) / (f Th),   g = 1 / (Cs f Th)

in closed form. SI units, temperatures in K; equations and limits: docs/models/units.md.
"""

from libc.math cimport INFINITY, sqrt

from uem.twin_core.thermal.units.burner cimport Burn, burn, supply_set_k
from uem.twin_core.thermal.units.limits cimport clip, larger, smaller


# A source stream of less than this is none.
cdef double LEAST_SOURCE_W_K = 1e-3


cdef Py_ssize_t bracket(const double* axis, Py_ssize_t points, double at, double* part) noexcept nogil:
    """The interval of an axis and the part of it that `at` lies in; held at the ends."""
    cdef Py_ssize_t i = 0
    while i < points - 2 and at >= axis[i + 1]:
        i += 1
    part[0] = clip((at - axis[i]) / (axis[i + 1] - axis[i]), 0.0, 1.0)
    return i


cdef double table_cop(const HeatPumpParameters* p, double source_k, double outlet_k) noexcept nogil:
    cdef double by_source, by_outlet, low, high
    cdef Py_ssize_t width = <Py_ssize_t> p.outlets
    cdef Py_ssize_t i = bracket(p.source_k, <Py_ssize_t> p.sources, source_k, &by_source)
    cdef Py_ssize_t j = bracket(p.outlet_k, width, outlet_k, &by_outlet)
    cdef const double* row = &p.cop[i * width + j]
    low = row[0] + by_outlet * (row[1] - row[0])
    high = row[width] + by_outlet * (row[width + 1] - row[width])
    return low + by_source * (high - low)


cdef double cop_at(
    const HeatPumpParameters* p, double hot_k, double source_k, double source_rate_w_k, double table, double heat_w
) noexcept nogil:
    """Coefficient of performance when `heat_w` is given; from 1, an electric heater, to the highest."""
    cdef double k, g, work_w
    if table > 0.0:
        return table
    k = 1.0 - 1.0 / p.carnot_fraction + (source_k - p.pinch_k) / (p.carnot_fraction * hot_k)
    g = 1.0 / (source_rate_w_k * p.carnot_fraction * hot_k)
    work_w = 1.0 - k / (1.0 + heat_w * g)  # per heat
    return clip(1.0 / work_w if work_w > 0.0 else p.highest_cop, 1.0, p.highest_cop)


cdef double most_heat_w(
    const HeatPumpParameters* p, double hot_k, double source_k, double source_rate_w_k, double table
) noexcept nogil:
    """What the source and the electric limit allow."""
    cdef double source_w = larger(source_rate_w_k * (source_k - p.lowest_source_temp_k), 0.0)
    cdef double by_source = INFINITY, by_power = INFINITY, cop, k, g, b, cold_k
    if table > 0.0:
        if table > 1.0:
            by_source = source_w / (1.0 - 1.0 / table)
        return smaller(by_source, p.electric_limit_w * table)
    cold_k = p.lowest_source_temp_k - p.pinch_k
    cop = p.highest_cop
    if hot_k > cold_k:
        cop = clip(p.carnot_fraction * hot_k / (hot_k - cold_k), 1.0, p.highest_cop)
    if cop > 1.0:
        by_source = source_w / (1.0 - 1.0 / cop)
    if p.electric_limit_w < INFINITY:
        # (Q - P) (1 + Q g) = k Q: a positive root, the larger of two
        k = 1.0 - 1.0 / p.carnot_fraction + (source_k - p.pinch_k) / (p.carnot_fraction * hot_k)
        g = 1.0 / (source_rate_w_k * p.carnot_fraction * hot_k)
        b = 1.0 - g * p.electric_limit_w - k
        by_power = sqrt(b * b + 4.0 * g * p.electric_limit_w)
        by_power = (by_power - b) / (2.0 * g) if b < 0.0 else 2.0 * p.electric_limit_w / larger(by_power + b, 1e-300)
        by_power = clip(by_power, p.electric_limit_w, p.electric_limit_w * p.highest_cop)
    return smaller(by_source, by_power)


cdef void advance_heat_pump(
    const HeatPumpParameters* p, BurnerState* s, const HeatPumpCommand* c, double temp_in_k, double mass_kg,
    double dt_s, HeatPumpResult* result
) noexcept nogil:
    # The condenser is taken at the set point, or at the water's own temperature where that is higher; it is held there.
    cdef BurnerParameters limits = p.burner
    cdef double outlet_k = larger(supply_set_k(&p.burner, &c.burner), temp_in_k)
    cdef double hot_k = outlet_k + p.pinch_k
    cdef double source_rate = larger(c.source_flow_kg_s, 0.0) * p.source_heat_capacity_j_kgk
    cdef double table = 0.0, most_w = 0.0, running_w
    cdef Burn b
    if p.sources > 0.0:
        table = smaller(table_cop(p, c.source_temp_k, outlet_k), p.highest_cop)
    if source_rate >= LEAST_SOURCE_W_K:
        most_w = most_heat_w(p, hot_k, c.source_temp_k, source_rate, table)
    limits.highest_temp_k = supply_set_k(&p.burner, &c.burner)
    b = burn(&limits, s, &c.burner, most_w, temp_in_k, mass_kg, dt_s)
    result.cop = 0.0
    result.electricity_j = 0.0
    result.running_s = 0.0
    if b.heat_j > 0.0:
        running_w = larger(b.heat_j / b.running_s, p.burner.minimum_heat_w)
        result.cop = cop_at(p, hot_k, c.source_temp_k, source_rate, table, running_w)
        result.electricity_j = b.heat_j / result.cop
        result.running_s = smaller(b.heat_j / running_w, b.running_s)
    result.outlet_temp_k = b.outlet_temp_k
    result.heat_j = b.heat_j
    result.source_heat_j = b.heat_j - result.electricity_j
    result.electricity_j += b.start_j
    result.loss_j = b.start_j
    result.source_outlet_temp_k = c.source_temp_k
    if source_rate >= LEAST_SOURCE_W_K:
        result.source_outlet_temp_k -= result.source_heat_j / (source_rate * dt_s)
