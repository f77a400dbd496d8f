"""Lines in series without an event list: part by part, machine by machine (max-plus recursion), exact.

Times in seconds. Part n begins on machine i when it has come from machine i - 1 and part n - 1 has left machine i; it
leaves when it is finished and there is a place, which is when part n - c has begun on machine i + 1 (capacity c > 0) or
when part n - 1 has left machine i + 1 (c = 0):

    S[i](n) = max(D[i-1](n), D[i](n-1)),  F[i](n) = S[i](n) + work and repairs
    D[i](n) = max(F[i](n), S[i+1](n-c))   or   max(F[i](n), D[i+1](n-1))

The random numbers are those of the event engine, in its order: the same seed gives the same parts, up to rounding.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint64_t

import numpy as np

from uem.twin_core.production.laws cimport Law, sample
from uem.twin_core.production.streams cimport Stream, Ziggurat, exponential_layers, seed_stream
from uem.twin_core.production.laws import LAW

# Streams of a machine, as in engine.pyx.
cdef enum:
    CYCLES
    FAILURES
    REPAIRS
    N_PURPOSES

# Columns of the times of a machine.
cdef enum:
    STARVED
    BUSY
    BLOCKED
    DOWN
    N_TIMES

# Cycles after which it listens for signals, between two replications.
cdef enum:
    LISTENS = 10_000_000

TIMES = ("starved", "busy", "blocked", "down")


cdef struct Station:
    double free  # when the part before left
    double failure  # operating time left until the next failure
    double spent[4]
    int64_t made
    int64_t failures
    int64_t at  # place of the next start in the ring
    int64_t ring  # first place of its ring in `starts`
    int64_t size  # of the ring: capacity of the buffer before it, at least 1
    int64_t places  # capacity of the buffer after it; -1: unlimited
    Law cycle
    Law to_fail
    Law to_repair
    bint fails


cdef inline double within(double begin, double end, double low, double high) noexcept nogil:
    """Length of the part of [begin, end] that is in [low, high]."""
    begin = begin if begin > low else low
    end = end if end < high else high
    return end - begin if end > begin else 0.0


cdef double repair_all(
    Station* station, double work, double begin, double low, double high, const double* table, Stream* streams,
    const Ziggurat* layers,
) noexcept nogil:
    """A cycle with at least one failure; returns its end."""
    cdef double at = begin, repair
    while station.failure < work:
        station.spent[BUSY] += within(at, at + station.failure, low, high)
        at += station.failure
        work -= station.failure
        repair = sample(&station.to_repair, table, &streams[REPAIRS], layers)
        if low <= at < high:
            station.failures += 1
        station.spent[DOWN] += within(at, at + repair, low, high)
        at += repair
        station.failure = sample(&station.to_fail, table, &streams[FAILURES], layers)
    station.spent[BUSY] += within(at, at + work, low, high)
    station.failure -= work
    return at + work


cdef void run_line(
    Station* station, Py_ssize_t n, double* starts, Stream* streams, const double* table, double low, double high
) noexcept nogil:
    """All parts that begin before `high`; counts and times are those of [low, high)."""
    cdef const Ziggurat* layers = exponential_layers()
    cdef Station* s
    cdef Station* after
    cdef double come, begin, end, leave, work
    cdef Py_ssize_t i
    while station[0].free < high:
        come = 0.0
        for i in range(n):
            s = &station[i]
            begin = s.free if s.free > come else come
            if s.free >= low and begin < high:
                s.spent[STARVED] += begin - s.free
            else:
                s.spent[STARVED] += within(s.free, begin, low, high)
            if s.size > 0:
                starts[s.ring + s.at] = begin
                s.at = s.at + 1 if s.at + 1 < s.size else 0
            work = sample(&s.cycle, table, &streams[i * N_PURPOSES + CYCLES], layers)
            if s.failure < work:
                end = repair_all(s, work, begin, low, high, table, &streams[i * N_PURPOSES], layers)
            else:
                end = begin + work
                s.failure -= work
                s.spent[BUSY] += work if begin >= low and end <= high else within(begin, end, low, high)
            s.made += low <= end < high
            leave = end
            if s.places >= 0 and i + 1 < n:
                after = &station[i + 1]
                if s.places == 0:
                    leave = after.free
                else:  # the oldest start in its ring is that of part n - c
                    leave = starts[after.ring + after.at]
                if leave > end:
                    s.spent[BLOCKED] += within(end, leave, low, high)
                else:
                    leave = end
            s.free = leave
            come = leave
    for i in range(n):  # after the last part: waiting for one that comes too late to count
        s = &station[i]
        s.spent[STARVED] += within(s.free, high, low, high)


def replicate(
    laws, const double[::1] table, const int64_t[::1] capacities, const uint64_t[::1] keys, uint64_t seed,
    Py_ssize_t first, double low, double high, double[:, :, ::1] times, int64_t[:, :, ::1] counts,
):
    """Fill `times` (replications, machines, TIMES) and `counts` (replications, machines, 2: made, failures).

    laws: (machines, 3) of dtype LAW: cycle, to failure, to repair; no failures where the second is kind -1.
    capacities: (machines,) of the buffer after each machine, -1: unlimited.
    """
    cdef Py_ssize_t n = keys.shape[0], r, i, k, total = 0
    cdef const unsigned char[:, :, ::1] raw = laws.view(np.uint8).reshape(n, 3, sizeof(Law))
    room = np.zeros((n, sizeof(Station)), np.uint8)
    cdef unsigned char[:, ::1] station_bytes = room
    cdef Station* station = <Station*>&station_bytes[0, 0]
    cdef const double* values = &table[0] if table.shape[0] else NULL
    for i in range(n):
        station[i].cycle = (<const Law*>&raw[i, 0, 0])[0]
        station[i].to_fail = (<const Law*>&raw[i, 1, 0])[0]
        station[i].to_repair = (<const Law*>&raw[i, 2, 0])[0]
        station[i].fails = station[i].to_fail.kind >= 0
        station[i].places = capacities[i]
        station[i].ring = total
        station[i].size = capacities[i - 1] if i > 0 and capacities[i - 1] > 0 else 0
        total += station[i].size
    starts = np.empty(max(total, 1))
    streams = np.empty((n * N_PURPOSES, sizeof(Stream)), np.uint8)
    cdef double[::1] start = starts
    cdef unsigned char[:, ::1] stream_bytes = streams
    cdef Stream* stream = <Stream*>&stream_bytes[0, 0]
    cdef const Ziggurat* layers = exponential_layers()
    cdef int64_t unheard = 0
    with nogil:
        for r in range(times.shape[0]):
            if unheard >= LISTENS:
                unheard = 0
                with gil:
                    PyErr_CheckSignals()
            for i in range(n):
                for k in range(N_PURPOSES):
                    seed_stream(&stream[i * N_PURPOSES + k], seed, <uint64_t>(first + r), keys[i] + <uint64_t>k)
                station[i].free = 0.0
                station[i].made = 0
                station[i].failures = 0
                station[i].at = 0
                station[i].failure = INFINITY
                if station[i].fails:
                    station[i].failure = sample(&station[i].to_fail, values, &stream[i * N_PURPOSES + FAILURES], layers)
                for k in range(N_TIMES):
                    station[i].spent[k] = 0.0
            for i in range(start.shape[0]):
                start[i] = -INFINITY
            run_line(station, n, &start[0], stream, values, low, high)
            for i in range(n):
                for k in range(N_TIMES):
                    times[r, i, k] = station[i].spent[k]
                counts[r, i, 0] = station[i].made
                counts[r, i, 1] = station[i].failures
                unheard += station[i].made
