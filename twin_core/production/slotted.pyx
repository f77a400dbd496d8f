"""Lines of Bernoulli machines in slots of one cycle: blocking before service.

In each slot machine i is able to work with probability p[i]. It makes a part if the buffer before it was not empty at
the beginning of the slot and the one after it was not full then or gives a part to machine i + 1 in the same slot. The
first is never starved, the last never blocked. Li and Meerkov, Production Systems Engineering, chapter 4.
A machine counts as starved in a slot if it is able to work and has nothing, as blocked if it is able and has no place.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint64_t

import numpy as np

from uem.twin_core.production.streams cimport Stream, seed_stream, uniform

# Slots of machines after which it listens for signals, between two replications.
cdef enum:
    LISTENS = 10_000_000


cdef void run_slots(
    const double* p, const int64_t* places, Py_ssize_t n, Stream* stream, int64_t slots, bint counted, int64_t* level,
    int64_t* made, int64_t* blocked, int64_t* starved, int64_t* area,
) noexcept nogil:
    """Advance by `slots`; with `counted` add to the counts (n,), and the levels at the end of each slot to `area`."""
    cdef int64_t k
    cdef Py_ssize_t i
    cdef bint able, has_part, has_place
    for k in range(slots):
        # From the last machine to the first, so that levels before a machine are still those of the slot's beginning.
        for i in range(n - 1, -1, -1):
            able = uniform(&stream[i]) < p[i]
            has_part = i == 0 or level[i - 1] > 0
            # level[i] has already lost the part that machine i + 1 took.
            has_place = i == n - 1 or level[i] < places[i]
            if counted and able:
                blocked[i] += not has_place
                starved[i] += not has_part
            if able and has_part and has_place:
                made[i] += counted
                if i > 0:
                    level[i - 1] -= 1
                if i < n - 1:
                    level[i] += 1
        if counted:
            for i in range(n - 1):
                area[i] += level[i]


def replicate(
    const double[::1] p, const int64_t[::1] places, int64_t warmup, int64_t slots, uint64_t seed, Py_ssize_t first,
    int64_t[:, :, ::1] counts,
):
    """Fill `counts` (replications, 4, machines): parts made, slots blocked, slots starved, sum of the levels.

    p: (machines,); places: (machines - 1,), all at least 1. Buffers are empty at the beginning.
    """
    cdef Py_ssize_t n = p.shape[0], r, i
    levels = np.zeros(n, np.int64)
    room = np.empty((n, sizeof(Stream)), np.uint8)
    limits = np.ones(n, np.int64)
    limits[: n - 1] = places
    cdef int64_t[::1] level = levels, limit = limits
    cdef unsigned char[:, ::1] stream_bytes = room
    cdef Stream* stream = <Stream*>&stream_bytes[0, 0]
    cdef int64_t unheard = 0
    with nogil:
        for r in range(counts.shape[0]):
            if unheard >= LISTENS:
                unheard = 0
                with gil:
                    PyErr_CheckSignals()
            for i in range(n):
                seed_stream(&stream[i], seed, <uint64_t>(first + r), <uint64_t>i)
                level[i] = 0
                counts[r, 0, i] = counts[r, 1, i] = counts[r, 2, i] = counts[r, 3, i] = 0
            run_slots(&p[0], &limit[0], n, stream, warmup, False, &level[0], &counts[r, 0, 0], &counts[r, 1, 0],
                      &counts[r, 2, 0], &counts[r, 3, 0])
            unheard += n * (warmup + slots)
            run_slots(&p[0], &limit[0], n, stream, slots, True, &level[0], &counts[r, 0, 0], &counts[r, 1, 0],
                      &counts[r, 2, 0], &counts[r, 3, 0])
