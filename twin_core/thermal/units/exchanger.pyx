"""Counterflow heat exchangers by effectiveness and number of transfer units, written with resistances in K/W.

A stream of heat capacity rate C has the resistance 1/C, the wall with its films 1/UA. With a and b those of the two
streams and r that of the wall, the inlet difference dT drives the heat

    Q = dT / (b + phi(z) r),    z = (a - b) / r,    phi(z) = z / (1 - exp(-z)),

which is effectiveness-NTU for counterflow without a case for equal streams, a vanishing stream or an endless one; a and
b may change places. The film of a stream goes with its flow to the power 0.75. Sources and ranges: docs/models/units.md.
"""

from libc.math cimport exp, fabs, sqrt

# Below this, the series of phi is better than the fraction: its error is z**6 / 30240.
cdef double SERIES = 0.05
cdef double LARGEST_EXPONENT = 700.0
cdef double FILM_EXPONENT = 0.75
# Newton doubles the digits: after a step as small as this part, what remains is about its square.
cdef double CLOSE = 1e-5
cdef enum:
    MOST_ITERATIONS = 60


cdef inline double stretch(double z, double* slope) noexcept nogil:
    """phi(z) and its slope."""
    cdef double phi
    if fabs(z) < SERIES:
        slope[0] = 0.5 + z * (1.0 / 6.0 - z * z / 180.0)
        return 1.0 + z * (0.5 + z * (1.0 / 12.0 - z * z / 720.0))
    if z > LARGEST_EXPONENT:
        slope[0] = 1.0
        return z
    if z < -LARGEST_EXPONENT:
        slope[0] = 0.0
        return 0.0
    phi = z / (1.0 - exp(-z))
    slope[0] = phi * (1.0 - phi + z) / z
    return phi


cdef double film_part(double flow_part) noexcept nogil:
    """Film resistance at a part of the nominal flow, as a multiple of that at nominal flow."""
    cdef double root = sqrt(flow_part)
    return 1.0 / (root * sqrt(root))


cdef double exchanged_w(double difference_k, double hot_k_w, double cold_k_w, double wall_k_w) noexcept nogil:
    """Heat that goes over at a difference of the inlet temperatures."""
    cdef double slope
    return difference_k / (cold_k_w + wall_k_w * stretch((hot_k_w - cold_k_w) / wall_k_w, &slope))


cdef inline double resistance(
    double a, double b, double fixed, double film, double nominal, double* slope
) noexcept nogil:
    cdef double root = sqrt(a / nominal)
    cdef double moving = film * root * sqrt(root)
    cdef double r = moving + fixed
    cdef double z = (a - b) / r
    cdef double phi = stretch(z, slope)
    slope[0] += FILM_EXPONENT * moving / a * (phi - z * slope[0])
    return b + phi * r


cdef double total_k_w(
    double a, double b, double fixed_k_w, double film_k_w, double nominal_k_w, double* slope
) noexcept nogil:
    """dT / Q of an exchanger whose stream `a` has the film `film_k_w` at its nominal resistance; slope over `a`."""
    return resistance(a, b, fixed_k_w, film_k_w, nominal_k_w, slope)


cdef double stream_needed_k_w(
    double total_k_w, double other_k_w, double fixed_k_w, double film_k_w, double nominal_k_w, double least_k_w,
    double guess_k_w, double* slope
) noexcept nogil:
    """The resistance of the controlled stream at which the exchanger has the total resistance dT / Q.

    `film_k_w` is the stream's film at its nominal resistance `nominal_k_w`, `fixed_k_w` the rest of the wall.
    Not below `least_k_w`: the largest flow, which is the answer too where no flow is enough. `slope` becomes that of
    the answer over the total resistance, for the next guess.
    """
    return solve(total_k_w, 0.0, other_k_w, fixed_k_w, film_k_w, nominal_k_w, least_k_w, total_k_w, guess_k_w, slope)


cdef double stream_for_outlet_k_w(
    double ratio, double other_k_w, double fixed_k_w, double film_k_w, double nominal_k_w, double least_k_w
) noexcept nogil:
    """The resistance at which the stream comes to the 1/ratio part of the inlet difference; ratio > 1.

    Not below `least_k_w`, the largest flow.
    """
    cdef double slope, most = 1e9 * nominal_k_w
    return solve(0.0, ratio, other_k_w, fixed_k_w, film_k_w, nominal_k_w, least_k_w, most, least_k_w, &slope)


cdef double solve(
    double constant, double ratio, double b, double fixed, double film, double nominal, double least, double most,
    double guess, double* answer_slope
) noexcept nogil:
    """Newton within brackets for b + phi(z) r(a) = constant + ratio a, in the stream's resistance a."""
    cdef double low = least, high = most, a = guess, next_a, f, df
    cdef double sign = 1.0 if ratio == 0.0 else -1.0  # of the slope of what is to be zero
    cdef bint tried_least = False
    cdef Py_ssize_t i
    answer_slope[0] = 0.0
    if not least < most:
        return least
    if not (a >= least and a <= most):
        a = most if ratio == 0.0 else least
    for i in range(MOST_ITERATIONS):
        f = resistance(a, b, fixed, film, nominal, &df) - constant - ratio * a
        df -= ratio
        if sign * f > 0.0:
            if a <= least:
                return least
            high = a
        else:
            low = a
        tried_least |= a <= least
        next_a = a - f / df
        if fabs(next_a - a) <= CLOSE * a:
            answer_slope[0] = 1.0 / df
            return next_a if next_a > least else least
        if next_a <= low and not tried_least:
            next_a = least
        elif not (next_a > low and next_a < high):
            next_a = 0.5 * (low + high)
        a = next_a
    return a


def exchanged(difference_k: float, hot_k_w: float, cold_k_w: float, wall_k_w: float) -> float:
    """Heat in W of a counterflow exchanger; resistances in K/W of the two streams (1/C) and of the wall (1/UA)."""
    return exchanged_w(difference_k, hot_k_w, cold_k_w, wall_k_w)


def stream_needed(
    total_k_w: float, other_k_w: float, fixed_k_w: float, film_k_w: float, nominal_k_w: float, least_k_w: float
) -> float:
    """Resistance in K/W of the controlled stream for a total resistance; see `stream_needed_k_w`."""
    cdef double slope
    return stream_needed_k_w(total_k_w, other_k_w, fixed_k_w, film_k_w, nominal_k_w, least_k_w, total_k_w, &slope)


def stream_for_outlet(
    ratio: float, other_k_w: float, fixed_k_w: float, film_k_w: float, nominal_k_w: float, least_k_w: float
) -> float:
    """Resistance in K/W of the stream that comes to the 1/ratio part of the inlet difference, ratio > 1."""
    return stream_for_outlet_k_w(ratio, other_k_w, fixed_k_w, film_k_w, nominal_k_w, least_k_w)
