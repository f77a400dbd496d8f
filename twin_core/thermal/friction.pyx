"""Darcy friction factor and pressure drop of pipes.

Laminar flow up to Re 2000: 64 / Re. From Re 4000 Colebrook-White, solved by two Newton steps from Haaland's formula, or
the explicit formula of Swamee and Jain (1976). In between a cubic in Re that has value and slope of both ends (Dunlop
1991, as in EPANET). Nikuradse: 64 / Re plus the value of a fully rough pipe, everywhere.
"""

from libc.math cimport fabs, log, pow, sqrt

import numpy as np

from uem.twin_core.errors import InvalidInput

cdef double LAMINAR = 2000.0
cdef double TURBULENT = 4000.0
cdef double PER_LN10 = 0.8685889638065036  # 2 / ln(10)
LAWS = ("colebrook", "swamee-jain", "nikuradse")


cdef double turbulent(int law, const Wall* wall, double reynolds, double* slope) noexcept nogil:
    """Factor and d factor / d Re; reynolds not below 4000."""
    cdef double x, inside, part, derivative, by_reynolds
    cdef int i
    if law == SWAMEE_JAIN:
        part = 5.74 / pow(reynolds, 0.9)
        inside = wall.rough + part
        x = -PER_LN10 * log(inside)
        slope[0] = -2.0 / (x * x * x) * PER_LN10 * 0.9 * part / (inside * reynolds)
        return 1.0 / (x * x)
    x = -0.9 * PER_LN10 * log(wall.haaland + 6.9 / reynolds)
    part = 2.51 / reynolds
    for i in range(2):
        inside = wall.rough + part * x
        x -= (x + PER_LN10 * log(inside)) / (1.0 + PER_LN10 * part / inside)
    inside = wall.rough + part * x
    derivative = 1.0 + PER_LN10 * part / inside
    by_reynolds = PER_LN10 * part * x / (inside * reynolds) / derivative  # dx / dRe
    slope[0] = -2.0 / (x * x * x) * by_reynolds
    return 1.0 / (x * x)


cdef void make_wall(int law, double relative_roughness, Wall* wall) noexcept nogil:
    cdef double slope = 0.0
    wall.rough = relative_roughness / 3.7
    wall.haaland = pow(wall.rough, 1.11)
    if law == NIKURADSE:
        # Without roughness the rough part is none at all.
        wall.factor_4000 = 1.0 / (PER_LN10 * log(wall.rough)) ** 2 if wall.rough > 0.0 else 0.0
        wall.slope_4000 = 0.0
    else:
        wall.factor_4000 = turbulent(law, wall, TURBULENT, &slope)
        wall.slope_4000 = slope * LAMINAR


cdef double friction_factor(int law, const Wall* wall, double reynolds, double* slope) noexcept nogil:
    """Factor and d factor / d Re at a positive Reynolds number."""
    cdef double r, a, b
    if law == NIKURADSE:
        slope[0] = -64.0 / (reynolds * reynolds)
        return 64.0 / reynolds + wall.factor_4000
    if reynolds <= LAMINAR:
        slope[0] = -64.0 / (reynolds * reynolds)
        return 64.0 / reynolds
    if reynolds >= TURBULENT:
        return turbulent(law, wall, reynolds, slope)
    # Hermite on r = Re / 2000 - 1 in 0..1, with 0.032 and slope -0.032 at its beginning.
    r = reynolds / LAMINAR - 1.0
    a = wall.factor_4000 - 0.032 + 0.032
    b = wall.slope_4000 + 0.032 - 2.0 * a
    slope[0] = (-0.032 + r * (2.0 * (a - b) + 3.0 * r * b)) / LAMINAR
    return 0.032 + r * (-0.032 + r * ((a - b) + r * b))


cdef void pressure_drops(
    int law, Py_ssize_t count, const Wall* wall, const double* reynolds_per_flow, const double* friction,
    const double* local, const double* flow_kg_s, double* drop_pa, double* slope
) noexcept nogil:
    """Fill drop_pa with the sign of the flow, and slope (unless NULL) with d drop / d flow."""
    cdef Py_ssize_t i
    cdef double q, reynolds, factor, by_reynolds = 0.0
    for i in range(count):
        q = fabs(flow_kg_s[i])
        reynolds = q * reynolds_per_flow[i]
        if reynolds <= LAMINAR or law == NIKURADSE:  # factor Re = 64 + ...: linear where the water stands
            factor = 64.0 / reynolds_per_flow[i]
            if law == NIKURADSE:
                factor += wall[i].factor_4000 * q
                by_reynolds = wall[i].factor_4000
            else:
                by_reynolds = 0.0
            drop_pa[i] = (friction[i] * factor + local[i] * q) * flow_kg_s[i]
            if slope != NULL:
                slope[i] = friction[i] * (factor + by_reynolds * q) + 2.0 * local[i] * q
            continue
        factor = friction_factor(law, &wall[i], reynolds, &by_reynolds)
        drop_pa[i] = (friction[i] * factor + local[i]) * q * flow_kg_s[i]
        if slope != NULL:
            slope[i] = (2.0 * (friction[i] * factor + local[i]) + friction[i] * by_reynolds * reynolds) * q


def friction_factors(str law, const double[::1] relative_roughness, const double[::1] reynolds, double[::1] out):
    """Fill `out` with Darcy friction factors; arrays of (n,), Reynolds numbers above 0.

    Raises:
        InvalidInput: unknown law, lengths that differ, roughness outside of 0 .. 0.5, Reynolds number not above 0.
    """
    cdef Py_ssize_t i, n = out.shape[0]
    cdef Wall wall
    cdef double slope = 0.0
    if law not in LAWS:
        raise InvalidInput(f"friction law {law!r}; there are {', '.join(LAWS)}")
    cdef int number = LAWS.index(law)
    if not relative_roughness.shape[0] == reynolds.shape[0] == n:
        raise InvalidInput(f"arrays of {relative_roughness.shape[0]}, {reynolds.shape[0]} and {n} pipes")
    for i in range(n):
        if not (0.0 <= relative_roughness[i] <= 0.5 and reynolds[i] > 0.0):
            raise InvalidInput(f"relative roughness {relative_roughness[i]}, Reynolds number {reynolds[i]} (index {i})")
        make_wall(number, relative_roughness[i], &wall)
        out[i] = friction_factor(number, &wall, reynolds[i], &slope)
