"""Laws of cycle times, times to failure, repairs and arrivals. The parameters of each, in seconds where not said else:

deterministic     a: the time
exponential       a: mean
erlang            a: mean of one stage; n: stages
gamma             a: scale, b: shape (number)
lognormal         a, b: mean and standard deviation of the logarithm of the time
weibull           a: scale, b: 1 / shape (number)
uniform           a: lowest, b: width
triangular        a: lowest, b: highest, c: most frequent
empirical         n values of the table from `first`, each as likely
hyperexponential  a or b: means of two exponentials, the first with probability c
"""

from libc.math cimport exp, log, pow, sqrt
from libc.stdint cimport uint64_t

import numpy as np

from uem.twin_core.production.streams cimport exponential_layers, normal, seed_stream, uniform

KINDS = (
    "deterministic", "exponential", "erlang", "gamma", "lognormal", "weibull", "uniform", "triangular", "empirical",
    "hyperexponential",
)


cdef double gamma_number(double shape, Stream* stream) noexcept nogil:
    """Gamma with scale 1: Marsaglia and Tsang, 2000; below shape 1 by a power of a uniform number."""
    cdef double d, c, x, v, u
    if shape < 1.0:
        u = 1.0 - uniform(stream)
        return gamma_number(shape + 1.0, stream) * pow(u, 1.0 / shape)
    d = shape - 1.0 / 3.0
    c = 1.0 / sqrt(9.0 * d)
    while True:
        x = normal(stream)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        u = 1.0 - uniform(stream)
        if log(u) < 0.5 * x * x + d - d * v + d * log(v):
            return d * v


cdef double triangular_number(const Law* law, double u) noexcept nogil:
    """By the inverse of the distribution."""
    cdef double width = law.b - law.a, rise = law.c - law.a
    if u * width < rise:
        return law.a + sqrt(u * width * rise)
    return law.b - sqrt((1.0 - u) * width * (law.b - law.c))


cdef double sample_other(const Law* law, const double* table, Stream* stream) noexcept nogil:
    cdef double total
    cdef Py_ssize_t i
    cdef const Ziggurat* layers = exponential_layers()
    if law.kind == ERLANG:
        total = 0.0
        for i in range(law.n):
            total += exponential(stream, layers)
        return law.a * total
    if law.kind == GAMMA:
        return law.a * gamma_number(law.b, stream)
    if law.kind == LOGNORMAL:
        return exp(law.a + law.b * normal(stream))
    if law.kind == WEIBULL:
        return law.a * pow(exponential(stream, layers), law.b)
    if law.kind == UNIFORM:
        return law.a + law.b * uniform(stream)
    if law.kind == TRIANGULAR:
        return triangular_number(law, uniform(stream))
    if law.kind == EMPIRICAL:
        return table[law.first + <Py_ssize_t>(uniform(stream) * law.n)]
    if law.kind == HYPEREXPONENTIAL:
        return (law.a if uniform(stream) < law.c else law.b) * exponential(stream, layers)
    return sample(law, table, stream, layers)


LAW = np.dtype([("a", "f8"), ("b", "f8"), ("c", "f8"), ("kind", "i4"), ("n", "i4"), ("first", "i4")], align=True)
assert LAW.itemsize == sizeof(Law)


def draws(law, const double[::1] table, Py_ssize_t n, uint64_t seed=0):
    """`n` times by `law`, an array of dtype LAW and shape (1,). For tests."""
    cdef const unsigned char[::1] raw = law.view(np.uint8)
    cdef const Law* this = <const Law*>&raw[0]
    cdef const double* values = &table[0] if table.shape[0] else NULL
    cdef Stream stream
    cdef Py_ssize_t i
    out = np.empty(n)
    cdef double[::1] times = out
    seed_stream(&stream, seed, 0, 0)
    with nogil:
        for i in range(n):
            times[i] = sample(this, values, &stream, exponential_layers())
    return out
