"""Darcy friction factor and pressure drop of pipes.

Laminar flow up to Re 2000: 64 / Re. From Re 4000 Colebrook-White, or the explicit formula of Swamee and Jain (1976).
In between a cubic in Re that has value and slope of both ends (Dunlop 1991, as in EPANET). Nikuradse: 64 / Re plus the
value of a fully rough pipe, everywhere.

Colebrook-White has a closed form in the Wright omega function (Brkic and Praks 2019): with c = 2 / ln(10),
s = Re / (2.51 c), r = relative roughness / 3.7 and omega + ln(omega) = z = r s + ln(s),

    1 / sqrt(factor) = c (ln(s) - ln(omega)),   d ln(factor) / d ln(Re) = -2 / (1 + omega).

ln(s) and ln(omega), as a function of z, are read from tables of Taylor polynomials: no iteration, within 1e-11.
"""

from libc.math cimport fabs, log, pow
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

import numpy as np

from uem.twin_core.errors import InvalidInput

cdef double LAMINAR = 2000.0
cdef double TURBULENT = 4000.0
cdef double PER_LN10 = 0.8685889638065036  # c
cdef double PER_REYNOLDS = 1.0 / (2.51 * PER_LN10)  # s / Re
cdef double PER_ROOT = 1.0 / (PER_LN10 * PER_LN10)
cdef double LN2 = 0.6931471805599453

LAWS = ("colebrook", "swamee-jain", "nikuradse")

# Tables stand at the middles of equal parts of octaves: PARTS of them, s from 2**10 to 2**50 and z from 4 to 2**48.
# Literals, since overflowcheck (debug builds) knows no sums here.
cdef enum:
    PARTS_BITS = 6
    PARTS = 64  # 2**PARTS_BITS
    SHIFT = 46  # 52 - PARTS_BITS
    LN_FIRST = 66112  # PARTS * (1023 + 10)
    LN_PARTS = 2560  # PARTS * 40
    OMEGA_FIRST = 65600  # PARTS * (1023 + 2)
    OMEGA_PARTS = 2944  # PARTS * 46
    BLOCK = 32  # pipes at a time: what is found of them stays next to the processor

cdef struct LnPart:
    double inverse
    double ln

cdef struct OmegaPart:
    double middle
    double[5] ln_omega  # coefficients in z - middle

cdef LnPart[LN_PARTS] LN
cdef OmegaPart[OMEGA_PARTS] LN_OMEGA


cdef inline double middle_of(uint64_t part) noexcept nogil:
    cdef uint64_t bits = (part << SHIFT) | (<uint64_t>1 << (SHIFT - 1))
    cdef double value
    memcpy(&value, &bits, sizeof(value))
    return value


cdef double wright_omega(double z) noexcept nogil:
    """The solution of omega + ln(omega) = z, for z from 4, by Newton."""
    cdef double omega = z - log(z)
    cdef int i
    for i in range(6):
        omega *= (1.0 + z - log(omega)) / (1.0 + omega)
    return omega


cdef void fill_tables() noexcept nogil:
    cdef Py_ssize_t i, j, n
    cdef double middle
    cdef double* k
    cdef double[5] omega
    for i in range(LN_PARTS):
        middle = middle_of(LN_FIRST + i)
        LN[i].inverse = 1.0 / middle
        LN[i].ln = log(middle)
    for i in range(OMEGA_PARTS):
        middle = middle_of(OMEGA_FIRST + i)
        omega[0] = wright_omega(middle)
        k = LN_OMEGA[i].ln_omega
        k[0] = log(omega[0])
        # Taylor coefficients of both from (1 + omega) ln(omega)' = 1 and omega' = omega ln(omega)'.
        for n in range(4):
            k[n + 1] = 1.0 if n == 0 else 0.0
            for j in range(1, n + 1):
                k[n + 1] -= omega[j] * (n + 1 - j) * k[n + 1 - j]
            k[n + 1] /= (1.0 + omega[0]) * (n + 1)
            omega[n + 1] = 0.0
            for j in range(n + 1):
                omega[n + 1] += omega[n - j] * (j + 1) * k[j + 1] / (n + 1)
        LN_OMEGA[i].middle = middle


fill_tables()


cdef inline uint64_t part_of(double value, uint64_t first, uint64_t parts) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, sizeof(bits))
    bits = (bits >> SHIFT) - first
    return bits if bits < parts else parts - 1


cdef void colebrook(
    Py_ssize_t count, const double* rough, const double* reynolds, double* factor, double* slow
) noexcept nogil:
    """Factors of at most BLOCK pipes, Re from 4000, and by how much they change with ln(Re).

    Loops that read tables stand apart from those that compute, which compilers can do several pipes at a time.
    """
    cdef Py_ssize_t i
    cdef double r, w, root, both
    cdef double[BLOCK] s, inverse, ln_s, z, t, k0, k1, k2, k3, k4
    cdef const LnPart* ln
    cdef const OmegaPart* omega
    for i in range(count):
        s[i] = reynolds[i] * PER_REYNOLDS
    for i in range(count):
        ln = &LN[part_of(s[i], LN_FIRST, LN_PARTS)]
        inverse[i] = ln.inverse
        ln_s[i] = ln.ln
    for i in range(count):
        r = s[i] * inverse[i] - 1.0
        ln_s[i] += r * (1.0 + r * (-0.5 + r * (1.0 / 3.0 + r * (-0.25 + r * 0.2))))
        z[i] = rough[i] * s[i] + ln_s[i]
    for i in range(count):
        omega = &LN_OMEGA[part_of(z[i], OMEGA_FIRST, OMEGA_PARTS)]
        t[i] = z[i] - omega.middle
        k0[i] = omega.ln_omega[0]
        k1[i] = omega.ln_omega[1]
        k2[i] = omega.ln_omega[2]
        k3[i] = omega.ln_omega[3]
        k4[i] = omega.ln_omega[4]
    for i in range(count):
        w = k0[i] + t[i] * (k1[i] + t[i] * (k2[i] + t[i] * (k3[i] + t[i] * k4[i])))  # ln(omega)
        root = ln_s[i] - w
        w = 1.0 + (z[i] - w)  # 1 + omega
        both = PER_ROOT / (root * root * w)
        factor[i] = both * w
        slow[i] = -2.0 * both


cdef double turbulent(int law, const Wall* wall, double reynolds, double* slope) noexcept nogil:
    """Factor and d factor / d Re; reynolds not below 4000."""
    cdef double x, inside, part, factor = 0.0
    if law == SWAMEE_JAIN:
        part = 5.74 / pow(reynolds, 0.9)
        inside = wall.rough + part
        x = -PER_LN10 * log(inside)
        slope[0] = -2.0 / (x * x * x) * PER_LN10 * 0.9 * part / (inside * reynolds)
        return 1.0 / (x * x)
    colebrook(1, &wall.rough, &reynolds, &factor, slope)
    slope[0] /= reynolds
    return factor


cdef void make_wall(int law, double relative_roughness, Wall* wall) noexcept nogil:
    cdef double slope = 0.0
    wall.rough = relative_roughness / 3.7
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


cdef void pressure_drop(
    int law, const Wall* wall, double reynolds_per_flow, double friction, double local, double flow_kg_s,
    double* drop_pa, double* slope
) noexcept nogil:
    cdef double q = fabs(flow_kg_s), reynolds = q * reynolds_per_flow, factor, by_reynolds = 0.0
    if reynolds <= LAMINAR or law == NIKURADSE:  # factor times flow: linear where the water stands
        factor = 64.0 / reynolds_per_flow
        if law == NIKURADSE:
            factor += wall.factor_4000 * q
            by_reynolds = wall.factor_4000
        drop_pa[0] = (friction * factor + local * q) * flow_kg_s
        slope[0] = friction * (factor + by_reynolds * q) + 2.0 * local * q
        return
    factor = friction_factor(law, wall, reynolds, &by_reynolds)
    drop_pa[0] = (friction * factor + local) * q * flow_kg_s
    slope[0] = (2.0 * (friction * factor + local) + friction * by_reynolds * reynolds) * q


cdef void pressure_drops(
    int law, Py_ssize_t count, const Wall* wall, const double* reynolds_per_flow, const double* friction,
    const double* local, const double* flow_kg_s, double* drop_pa, double* slope
) noexcept nogil:
    """Fill drop_pa with the sign of the flow, and slope with d drop / d flow."""
    cdef Py_ssize_t i, k, size, first = 0
    cdef double q, whole, less
    cdef double[BLOCK] rough, reynolds, turbulent_reynolds, factor, slow
    if law != COLEBROOK:
        for i in range(count):
            pressure_drop(
                law, &wall[i], reynolds_per_flow[i], friction[i], local[i], flow_kg_s[i], &drop_pa[i], &slope[i]
            )
        return
    while first < count:
        size = count - first if count - first < BLOCK else BLOCK
        for i in range(size):
            rough[i] = wall[first + i].rough
            reynolds[i] = fabs(flow_kg_s[first + i]) * reynolds_per_flow[first + i]
            less = reynolds[i] - TURBULENT
            turbulent_reynolds[i] = TURBULENT + 0.5 * (less + fabs(less))  # the larger one, without a branch
        colebrook(size, rough, turbulent_reynolds, factor, slow)
        for i in range(size):
            k = first + i
            q = fabs(flow_kg_s[k])
            whole = friction[k] * factor[i] + local[k]
            drop_pa[k] = whole * q * flow_kg_s[k]
            slope[k] = (2.0 * whole + friction[k] * slow[i]) * q
        for i in range(size):
            k = first + i
            if reynolds[i] < TURBULENT:
                pressure_drop(
                    law, &wall[k], reynolds_per_flow[k], friction[k], local[k], flow_kg_s[k], &drop_pa[k], &slope[k]
                )
        first += BLOCK


def pressure_drops_of(str law, const double[::1] relative_roughness, const double[::1] reynolds_per_flow,
                      const double[::1] flow_kg_s, double[::1] drop_pa, double[::1] slope):
    """Pressure drops and their slopes as the hydraulics work them out, for pipes of unit friction and no local loss.

    Arrays of (n,); with `friction` 1 a drop is factor * flow * |flow|.
    """
    cdef Py_ssize_t i, n = flow_kg_s.shape[0]
    cdef double[::1] ones = np.ones(n)
    cdef double[::1] none = np.zeros(n)
    cdef double[::1] walls = np.zeros(n * sizeof(Wall) // sizeof(double) + 1)
    cdef Wall* wall = <Wall*>&walls[0]
    for i in range(n):
        make_wall(LAWS.index(law), relative_roughness[i], &wall[i])
    pressure_drops(
        LAWS.index(law), n, wall, &reynolds_per_flow[0], &ones[0], &none[0], &flow_kg_s[0], &drop_pa[0], &slope[0]
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
