"""Random streams: xoshiro256++ seeded by (seed, replication, key), exponential and normal numbers by ziggurat.

Each machine has streams of its own, one per purpose, so that a change of one machine leaves the draws of the others as
they are (common random numbers), and a replication is the same on any thread.
Ziggurat: Marsaglia and Tsang, 2000, 256 layers of equal area. 53 bits choose the place in a layer, 8 others the layer.
"""

from libc.math cimport exp, log, sqrt

import numpy as np

cdef double EXPONENTIAL_END = 7.69711747013104972
cdef double NORMAL_END = 3.6541528853610088
cdef Ziggurat _exponential
cdef Ziggurat _normal


cdef void build_layers(Ziggurat* layers, double end, double area, bint bell) noexcept nogil:
    cdef Py_ssize_t i
    layers.x[1] = end
    layers.y[1] = exp(-0.5 * end * end) if bell else exp(-end)
    layers.x[0] = area / layers.y[1]
    layers.y[0] = 0.0
    for i in range(1, 256):
        layers.y[i + 1] = layers.y[i] + area / layers.x[i]
        if i == 255:  # the top, up to rounding
            layers.y[256] = 1.0
            layers.x[256] = 0.0
        else:
            layers.x[i + 1] = sqrt(-2.0 * log(layers.y[i + 1])) if bell else -log(layers.y[i + 1])


# Area of a layer: the base rectangle and the tail beyond it; for the bell the tail is sqrt(pi / 2) erfc(end / sqrt 2).
build_layers(&_exponential, EXPONENTIAL_END, (EXPONENTIAL_END + 1.0) * exp(-EXPONENTIAL_END), False)
build_layers(&_normal, NORMAL_END, 0.00492867323397465524494, True)


cdef const Ziggurat* exponential_layers() noexcept nogil:
    return &_exponential


cdef const Ziggurat* normal_layers() noexcept nogil:
    return &_normal


cdef double exponential_edge(Stream* stream, Py_ssize_t layer, double x) noexcept nogil:
    """What `exponential` does when `x` is not within the part of the layer that is all below the density."""
    cdef Py_ssize_t i = layer
    while True:
        if i == 0:  # beyond the end the law is the same again
            return EXPONENTIAL_END - log(1.0 - uniform(stream))
        if _exponential.y[i] + uniform(stream) * (_exponential.y[i + 1] - _exponential.y[i]) < exp(-x):
            return x
        i = next_bits(stream) & 255
        x = uniform(stream) * _exponential.x[i]
        if x < _exponential.x[i + 1]:
            return x


cdef double normal_tail(Stream* stream) noexcept nogil:
    """Beyond the end: Marsaglia, 1964."""
    cdef double x, y
    while True:
        x = -log(1.0 - uniform(stream)) / NORMAL_END
        y = -log(1.0 - uniform(stream))
        if 2.0 * y > x * x:
            return NORMAL_END + x


cdef double normal(Stream* stream) noexcept nogil:
    """Normal with mean 0 and variance 1."""
    cdef uint64_t bits
    cdef Py_ssize_t i
    cdef double x, sign
    while True:
        bits = next_bits(stream)
        i = bits & 255
        sign = 1.0 if bits & 256 else -1.0
        x = (bits >> 11) * 1.1102230246251565e-16 * _normal.x[i]
        if x < _normal.x[i + 1]:
            return sign * x
        if i == 0:
            return sign * normal_tail(stream)
        if _normal.y[i] + uniform(stream) * (_normal.y[i + 1] - _normal.y[i]) < exp(-0.5 * x * x):
            return sign * x


def draws(str kind, Py_ssize_t n, uint64_t seed=0, uint64_t replication=0, uint64_t key=0):
    """`n` numbers of a stream: kind "uniform", "exponential" or "normal". For tests."""
    out = np.empty(n)
    cdef double[::1] values = out
    cdef Stream stream
    cdef Py_ssize_t i
    seed_stream(&stream, seed, replication, key)
    if kind == "uniform":
        for i in range(n):
            values[i] = uniform(&stream)
    elif kind == "exponential":
        for i in range(n):
            values[i] = exponential(&stream, &_exponential)
    elif kind == "normal":
        for i in range(n):
            values[i] = normal(&stream)
    else:
        raise ValueError(f"kind {kind!r} is none of uniform, exponential, normal")
    return out
