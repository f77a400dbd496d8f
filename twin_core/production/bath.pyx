"""A heated bath and the load that it wets: two heat capacities, solved exactly over a step of constant inputs.

Temperatures here are excesses over the hall, in K; powers in W, heat capacities in J/K. With b the bath and l the load

    C_b db/dt = q - L_b b - G (b - l)        C_l dl/dt = G (b - l) - L_l l

In the variables sqrt(C) * excess the matrix is symmetric, so one rotation splits it into two independent modes with
decay rates that are never positive: no case is singular, neither without losses nor without exchange.
"""

from libc.math cimport atan2, cos, exp, expm1, fabs, fmin, sin, sqrt


cdef double mean_of_decay(double z) noexcept nogil:
    """(exp(z) - 1) / z for z <= 0."""
    return expm1(z) / z if z < 0.0 else 1.0


cdef double mean_of_mean(double z) noexcept nogil:
    """(exp(z) - 1 - z) / z**2 for z <= 0; the series where the difference would lose digits."""
    if fabs(z) < 1e-2:
        return 0.5 + z * (1.0 / 6 + z * (1.0 / 24 + z * (1.0 / 120 + z * (1.0 / 720 + z / 5040))))
    return (mean_of_decay(z) - 1.0) / z


cdef Modes modes_of(
    double bath_j_k, double load_j_k, double bath_loss_w_k, double load_loss_w_k, double exchange_w_k, double h_s
) noexcept nogil:
    """The two modes and their advance over `h_s`; both heat capacities positive."""
    cdef Modes modes
    cdef double a = -(bath_loss_w_k + exchange_w_k) / bath_j_k
    cdef double b = exchange_w_k / sqrt(bath_j_k * load_j_k)
    cdef double c = -(load_loss_w_k + exchange_w_k) / load_j_k
    cdef double angle = 0.5 * atan2(2.0 * b, a - c)
    cdef double u = cos(angle), v = sin(angle), z
    cdef double[2] rate
    cdef int k
    rate[0] = fmin(0.0, a * u * u + 2.0 * b * u * v + c * v * v)
    rate[1] = fmin(0.0, a * v * v - 2.0 * b * u * v + c * u * u)
    modes.cosine = u
    modes.sine = v
    for k in range(2):
        z = rate[k] * h_s
        modes.decay[k] = exp(z)
        modes.gain[k] = h_s * mean_of_decay(z)
        modes.twice[k] = h_s * h_s * mean_of_mean(z)
    return modes


cdef void advance(
    const Modes* modes, double bath_j_k, double load_j_k, double source_w,
    double* bath_k, double* load_k, double* bath_integral_ks, double* load_integral_ks
) noexcept nogil:
    """Advance both excesses over the step of `modes` with `source_w` into the bath; integrals of both over the step."""
    cdef double root_b = sqrt(bath_j_k), root_l = sqrt(load_j_k)
    cdef double u = modes.cosine, v = modes.sine
    cdef double[2] mode, source, integral
    cdef int k
    mode[0] = u * root_b * bath_k[0] + v * root_l * load_k[0]
    mode[1] = -v * root_b * bath_k[0] + u * root_l * load_k[0]
    source[0] = u * source_w / root_b
    source[1] = -v * source_w / root_b
    for k in range(2):
        integral[k] = modes.gain[k] * mode[k] + modes.twice[k] * source[k]
        mode[k] = modes.decay[k] * mode[k] + modes.gain[k] * source[k]
    bath_k[0] = (u * mode[0] - v * mode[1]) / root_b
    load_k[0] = (v * mode[0] + u * mode[1]) / root_l
    bath_integral_ks[0] = (u * integral[0] - v * integral[1]) / root_b
    load_integral_ks[0] = (v * integral[0] + u * integral[1]) / root_l
