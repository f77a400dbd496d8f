"""A building as two or three nodes that exchange heat, stepped exactly by its modes.

    C dT/dt = K T + g To + q

with K symmetric is turned into independent modes by the eigenvectors of C^-1/2 K C^-1/2, worked out once (compile.py).
Outdoor temperature, gains and heating are constant within a step. SI units, temperatures in K.
"""

from libc.math cimport expm1, fabs

from uem.twin_core.thermal.units.limits cimport clip


cdef double thermostat_w(
    const BuildingParameters* p, const BuildingState* s, const BuildingCommand* c, double outdoor_temp_k, double most_w
) noexcept nogil:
    """The heating that brings the air to its set point within the thermostat's horizon, as far as it goes."""
    cdef double sun = c.solar_w_m2 * p.solar_area_m2
    cdef double free = (
        p.horizon_hold[0] * s.air_temp_k + p.horizon_hold[1] * s.wall_temp_k + p.horizon_hold[2] * s.mass_temp_k
        + p.horizon_outdoor * outdoor_temp_k
        + p.horizon_air_k_w * (c.internal_gains_w + sun * p.sun_to_air)
        + p.horizon_mass_k_w * sun * (1.0 - p.sun_to_air)
    )
    return clip((c.room_set_temp_k - free) / p.horizon_air_k_w, 0.0, most_w)


cdef void advance_building(
    const BuildingParameters* p, BuildingState* s, const BuildingCommand* c, double outdoor_temp_k, double heating_w,
    double dt_s, BuildingResult* result
) noexcept nogil:
    cdef double sun = c.solar_w_m2 * p.solar_area_m2
    cdef double heat[NODES]
    cdef double temp[NODES]
    cdef double after[NODES]
    cdef double sums[NODES]  # of temperature over time, above the outdoors
    cdef double amplitude, drive, y, once, twice, end, total
    cdef Py_ssize_t i, j
    # Temperatures above the outdoors: its part of the drive vanishes and long steps keep their digits.
    temp[0] = s.air_temp_k - outdoor_temp_k
    temp[1] = s.wall_temp_k - outdoor_temp_k
    temp[2] = s.mass_temp_k - outdoor_temp_k
    heat[0] = heating_w + c.internal_gains_w + sun * p.sun_to_air
    heat[1] = 0.0
    heat[2] = sun * (1.0 - p.sun_to_air)
    for i in range(NODES):
        after[i] = 0.0
        sums[i] = 0.0
    for j in range(NODES):
        amplitude = 0.0
        drive = 0.0
        for i in range(NODES):
            amplitude += p.to_modes[j * NODES + i] * temp[i]
            drive += p.from_modes[i * NODES + j] * heat[i]
        y = p.rate_1_s[j] * dt_s
        # once = (e^y - 1) / y, twice = (e^y - 1 - y) / y^2
        if fabs(y) < 1e-2:
            twice = 0.5 + y * (1.0 / 6.0 + y * (1.0 / 24.0 + y * (1.0 / 120.0 + y * (1.0 / 720.0 + y / 5040.0))))
            once = 1.0 + y * twice
        else:
            once = expm1(y) / y
            twice = (once - 1.0) / y
        end = amplitude + (p.rate_1_s[j] * amplitude + drive) * once * dt_s
        total = (amplitude * once + drive * twice * dt_s) * dt_s
        for i in range(NODES):
            after[i] += p.from_modes[i * NODES + j] * end
            sums[i] += p.from_modes[i * NODES + j] * total
    s.air_temp_k = outdoor_temp_k + after[0]
    s.wall_temp_k = outdoor_temp_k + after[1]
    s.mass_temp_k = outdoor_temp_k + after[2]
    result.air_temp_k = outdoor_temp_k + sums[0] / dt_s
    result.gains_j = (c.internal_gains_w + sun) * dt_s
    result.loss_j = p.outdoor_w_k * sums[0] + p.wall_outside_w_k * sums[1]
