"""Darcy friction factor and pressure drop of pipes.

Laminar flow up to Re 2000: 64 / Re. From Re 4000 Colebrook-White, solved by two Newton steps from Haaland's formula, or
the explicit formula of Swamee and Jain (1976). In between a cubic in Re that has value and slope of both ends (Dunlop
1991, as in EPANET). Nikuradse: 64 / Re plus the value of a fully rough pipe, everywhere.
"""

from libc.math cimport fabs, log, pow
from libc.stdint cimport uint64_t

import numpy as np

from uem.twin_core.errors import InvalidInput

cdef double LAMINAR = 2000.0
cdef double TURBULENT = 4000.0
cdef double PER_LN10 = 0.8685889638065036  # 2 / ln(10)
cdef union Bits:
    double real
    uint64_t bits

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


cdef inline double quick_log(double value) noexcept nogil:
    """Natural logarithm of a normal number above 0, within 1e-12; in a form that compilers can do several at a time."""
    cdef Bits number, exponent
    cdef double mantissa, u, square
    number.real = value
    exponent.bits = (number.bits >> 52) | 0x4330000000000000ULL  # 2**52 + biased exponent, as a real number
    number.bits = (number.bits & 0x000FFFFFFFFFFFFFULL) | 0x3FE0000000000000ULL  # 0.5 .. 1
    mantissa = number.real
    # Centred on 1 by the fixed factor sqrt(2): u in -0.172 .. 0.172.
    u = (1.4142135623730951 * mantissa - 1.0) / (1.4142135623730951 * mantissa + 1.0)
    square = u * u
    return (exponent.real - 4503599627371518.0) * 0.6931471805599453 - 0.34657359027997264 + 2.0 * u * (
        1.0 + square * (1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0 + square * (
            1.0 / 9.0 + square * (1.0 / 11.0 + square * (1.0 / 13.0 + square * (1.0 / 15.0)))
        ))))
    )


cdef void pressure_drops(
    int law, Py_ssize_t count, const Wall* wall, const double* rough, const double* haaland,
    const double* reynolds_per_flow, const double* friction, const double* local, const double* flow_kg_s,
    double* drop_pa, double* slope
) noexcept nogil:
    """Fill drop_pa with the sign of the flow, and slope with d drop / d flow."""
    cdef Py_ssize_t i
    cdef double q, reynolds, factor, by_reynolds = 0.0, inverse, x, part, inside, logarithm, u, both
    if law == COLEBROOK:
        # All as if turbulent, without a branch; the few that are not are done again below.
        for i in range(count):
            q = fabs(flow_kg_s[i])
            reynolds = q * reynolds_per_flow[i]
            inverse = 2.0 / (reynolds + TURBULENT + fabs(reynolds - TURBULENT))  # of the larger one, without a branch
            part = 2.51 * inverse
            x = -0.9 * PER_LN10 * quick_log(haaland[i] + 6.9 * inverse)
            inside = rough[i] + part * x
            logarithm = quick_log(inside)
            both = 1.0 / inside
            u = -(x + PER_LN10 * logarithm) / (1.0 + PER_LN10 * part * both)
            x += u
            u *= part * both  # the argument of the logarithm moved by this part of itself, 2 % at most
            logarithm += u * (1.0 + u * (-0.5 + u * (1.0 / 3.0 + u * (-0.25 + u * (0.2 - u * (1.0 / 6.0))))))
            inside = rough[i] + part * x
            both = 1.0 / (inside + PER_LN10 * part)
            x -= (x + PER_LN10 * logarithm) * inside * both
            factor = friction[i] / (x * x)
            # d factor / dRe * Re = -2 factor / x * dx / dRe * Re, and dx / dRe * Re = PER_LN10 part x / (...).
            drop_pa[i] = (factor + local[i]) * q * flow_kg_s[i]
            slope[i] = 2.0 * (factor * (1.0 - PER_LN10 * part * both) + local[i]) * q
    for i in range(count):
        q = fabs(flow_kg_s[i])
        reynolds = q * reynolds_per_flow[i]
        if law == COLEBROOK and reynolds >= TURBULENT:
            continue
        if reynolds <= LAMINAR or law == NIKURADSE:  # factor times flow: linear where the water stands
            factor = 64.0 / reynolds_per_flow[i]
            by_reynolds = 0.0
            if law == NIKURADSE:
                factor += wall[i].factor_4000 * q
                by_reynolds = wall[i].factor_4000
            drop_pa[i] = (friction[i] * factor + local[i] * q) * flow_kg_s[i]
            slope[i] = friction[i] * (factor + by_reynolds * q) + 2.0 * local[i] * q
            continue
        factor = friction_factor(law, &wall[i], reynolds, &by_reynolds)
        drop_pa[i] = (friction[i] * factor + local[i]) * q * flow_kg_s[i]
        slope[i] = (2.0 * (friction[i] * factor + local[i]) + friction[i] * by_reynolds * reynolds) * q


def pressure_drops_of(str law, const double[::1] relative_roughness, const double[::1] reynolds_per_flow,
                      const double[::1] flow_kg_s, double[::1] drop_pa, double[::1] slope):
    """Pressure drops and their slopes as the hydraulics work them out, for pipes of unit friction and no local loss.

    Arrays of (n,); with `friction` 1 a drop is factor * flow * |flow|.
    """
    cdef Py_ssize_t i, n = flow_kg_s.shape[0]
    cdef double[::1] ones = np.ones(n)
    cdef double[::1] none = np.zeros(n)
    cdef double[::1] haaland = np.zeros(n)
    cdef double[::1] rough = np.zeros(n)
    cdef double[::1] walls = np.zeros(4 * n)
    cdef Wall* wall = <Wall*>&walls[0]
    for i in range(n):
        make_wall(LAWS.index(law), relative_roughness[i], &wall[i])
        rough[i] = wall[i].rough
        haaland[i] = wall[i].haaland
    pressure_drops(
        LAWS.index(law), n, wall, &rough[0], &haaland[0], &reynolds_per_flow[0], &ones[0], &none[0], &flow_kg_s[0],
        &drop_pa[0], &slope[0],
    )


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
