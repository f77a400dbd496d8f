"""What boilers, CHP plants and heat pumps have in common: how their heat may move.

A start takes its time and its energy; running, the heat lies between the minimum and the nominal one and moves no faster
than the ramp, from the minimum on. Below the minimum a cycling unit runs for a part of the time, others stop. Water
hotter than allowed cuts the heat at once. SI units, temperatures in K; docs/models/units.md.
"""

from libc.math cimport fabs

from uem.twin_core.thermal.pipes cimport HEAT_CAPACITY
from uem.twin_core.thermal.units.limits cimport LEAST_MASS_KG, carrying_flow_kg_s, larger, smaller

# Stages, as doubles because they stand in a row of them.
cdef double OFF = 0.0
cdef double STARTING = 1.0
cdef double RUNNING = 2.0


cdef double ramped(double start, double target, double ramp, double time, double after, double* end) noexcept nogil:
    """Integral of a power that moves from `start` to `target` at `ramp`, and is `after` once it has arrived."""
    cdef double way = target - start
    cdef double needed = fabs(way) / ramp
    if needed > time:
        end[0] = start + (ramp if way > 0.0 else -ramp) * time
        return 0.5 * (start + end[0]) * time
    end[0] = after
    return 0.5 * (start + target) * needed + after * (time - needed)


cdef void run(const BurnerParameters* p, BurnerState* s, bint on, double need, double time, Burn* out) noexcept nogil:
    """Heat of a step in which `need` W are asked for, as if the water could take it."""
    cdef double used
    cdef double target = larger(need, p.minimum_heat_w)
    cdef bint wanted = on and (p.cycling > 0.0 or need >= p.minimum_heat_w)
    out.heat_j = 0.0
    out.start_j = 0.0
    out.running_s = 0.0
    if not wanted:
        if s.stage == RUNNING and s.heat_w > p.minimum_heat_w:
            # Down to the minimum at the ramp, then off.
            out.heat_j = ramped(s.heat_w, p.minimum_heat_w, p.ramp_w_s, time, 0.0, &s.heat_w)
            out.running_s = smaller(time, out.heat_j / p.minimum_heat_w) if p.minimum_heat_w > 0.0 else time
            if s.heat_w > 0.0:
                out.running_s = time
                return
        s.stage = OFF
        s.heat_w = 0.0
        s.start_remaining_s = 0.0
        return
    if s.stage == OFF:
        s.stage = STARTING
        s.heat_w = 0.0
        s.start_remaining_s = p.start_up_s
        if p.start_up_s <= 0.0:
            out.start_j += p.start_up_j
    if s.stage == STARTING:
        used = smaller(time, s.start_remaining_s)
        if used > 0.0:
            out.start_j += p.start_up_j * used / p.start_up_s
        s.start_remaining_s -= used
        time -= used
        if s.start_remaining_s > 0.0:
            return
        s.stage = RUNNING
    if time > 0.0:
        out.heat_j = ramped(larger(s.heat_w, p.minimum_heat_w), target, p.ramp_w_s, time, need, &s.heat_w)
        out.running_s = time


cdef double supply_set_k(const BurnerParameters* p, const BurnerCommand* c) noexcept nogil:
    return smaller(c.supply_temp_k, p.highest_temp_k)


cdef double burner_flow(
    const BurnerParameters* p, const BurnerState* s, const BurnerCommand* c, double temp_in_k
) noexcept nogil:
    return carrying_flow_kg_s(s.next_heat_w, supply_set_k(p, c) - temp_in_k, p.smallest_rise_k)


cdef Burn burn(
    const BurnerParameters* p, BurnerState* s, const BurnerCommand* c, double most_w, double temp_in_k, double mass_kg,
    double dt_s
) noexcept nogil:
    """One step; never more than `most_w`, the command, the nominal heat or what the water may take."""
    cdef Burn out, ahead
    cdef BurnerState then
    cdef double capacity = mass_kg * HEAT_CAPACITY if mass_kg >= LEAST_MASS_KG else 0.0
    cdef double hottest_k = supply_set_k(p, c) if p.pumped else p.highest_temp_k
    cdef double limit_j = larger(capacity * (hottest_k - temp_in_k), 0.0)
    cdef double need = smaller(smaller(larger(c.heat_w, 0.0), p.nominal_heat_w), most_w)
    cdef bint on = c.on > 0.0
    if not p.pumped:
        need = smaller(need, larger(capacity * (supply_set_k(p, c) - temp_in_k), 0.0) / dt_s)
    run(p, s, on, need, dt_s, &out)
    # What cannot be ramped down to fast enough is cut: the source is exhausted or the water too hot.
    limit_j = smaller(limit_j, most_w * dt_s)
    if out.heat_j > limit_j:
        s.heat_w *= limit_j / out.heat_j
        out.heat_j = limit_j
    s.next_heat_w = 0.0
    if p.pumped:
        then = s[0]
        run(p, &then, on, need, dt_s, &ahead)
        s.next_heat_w = ahead.heat_j / dt_s
    out.outlet_temp_k = temp_in_k
    if capacity > 0.0:
        out.outlet_temp_k += out.heat_j / capacity
    return out
