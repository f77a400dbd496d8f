from uem.twin_core.production.streams cimport Stream, Ziggurat, exponential

cdef enum LawKind:
    DETERMINISTIC
    EXPONENTIAL
    ERLANG
    GAMMA
    LOGNORMAL
    WEIBULL
    UNIFORM
    TRIANGULAR
    EMPIRICAL
    HYPEREXPONENTIAL
    N_LAWS


# A law of times. What a, b and c mean is told in laws.pyx.
cdef struct Law:
    double a
    double b
    double c
    int kind
    int n  # stages, or values in the table
    int first  # of them


cdef double sample_other(const Law* law, const double* table, Stream* stream) noexcept nogil


cdef inline double sample(const Law* law, const double* table, Stream* stream, const Ziggurat* layers) noexcept nogil:
    """One time by the law. The two usual ones stand here, so that they are compiled into the loop."""
    if law.kind == DETERMINISTIC:
        return law.a
    if law.kind == EXPONENTIAL:
        return law.a * exponential(stream, layers)
    return sample_other(law, table, stream)
