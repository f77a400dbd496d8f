# cython: cdivision=True, overflowcheck=False
"""Eight members at a time, in the lanes of the processor's vectors: pipes of the planning scheme and whole networks.

Compiled once per kind of processor (setup.py), chosen by lanes.py. SI units, temperatures in K. A block is eight
members side by side; all that a member is in one of them stands eight numbers apart in its row. The last block may have
lanes to spare, which do what its first member does.
"""

from libc.string cimport memcpy

from uem.twin_core.thermal.rings cimport (
    AHEAD, ENERGY_ZERO, HEAD, HEAT_CAPACITY, INLET, MASS, OUTLET, PLUG, SLOPE, STEEPNESS, TEMP, Ring, Rings
)

from uem.twin_core.errors import InvalidInput

include "uem/twin_core/thermal/plugs.pxi"

WIDTH = LANES


cdef inline lane get(const double* row, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """Numbers of `count` members from `first` on; what there are fewer of, repeats the first."""
    cdef lane found
    cdef Py_ssize_t k
    if count == LANES:
        return (<const lane*> (row + first))[0]
    found = spread(row[first])
    for k in range(count):
        (<double*> &found)[k] = row[first + k]
    return found


cdef inline void put_back(double* row, Py_ssize_t first, Py_ssize_t count, lane values) noexcept nogil:
    cdef Py_ssize_t k
    if count == LANES:
        (<lane*> (row + first))[0] = values
        return
    for k in range(count):
        row[first + k] = (<double*> &values)[k]


cdef class LaneRings:
    """Pipes of the planning scheme for members side by side: what `Rings` is for one after the other."""

    cdef readonly Rings rings
    cdef readonly Py_ssize_t count

    def __init__(self, Rings rings):
        self.rings = rings
        self.count = rings.count

    def advance(self, double[:, ::1] rows, const double[:, ::1] mass_kg, const double[:, ::1] temp_k, double dt_s,
                const double[::1] ambient_temp_k, double[:, ::1] out_heat_kgk, double[::1] loss_j):
        """Advance every pipe for itself.

        rows (blocks, width * 8) change in place; mass_kg that goes in (and comes out) and its temp_k are (pipes,
        members); the heat that comes out is filled in the same shape, the loss of all pipes as (members,).
        """
        cdef Py_ssize_t i, block, first, count, members = mass_kg.shape[1]
        cdef lane loss, ambient
        cdef Passed out
        cdef Cooling c
        cdef const Ring* ring
        with nogil:
            for block in range(rows.shape[0]):
                first = block * LANES
                count = members - first if members - first < LANES else LANES
                ambient = get(&ambient_temp_k[0], first, count)
                loss = spread(0.0)
                for i in range(self.count):
                    ring = &self.rings.pipe[i]
                    if i + 1 < self.count:
                        fetch(<const lane*> (&rows[block, self.rings.offset[i + 1] * LANES]), HEAD + 4 * PLUG)
                    c = cooling(ring, dt_s)
                    out = through(
                        ring, <lane*> (&rows[block, self.rings.offset[i] * LANES]), &c,
                        get(&mass_kg[i, 0], first, count), get(&temp_k[i, 0], first, count), ambient,
                    )
                    put_back(&out_heat_kgk[i, 0], first, count, out.kg_k)
                    loss = loss + out.lost
                put_back(&loss_j[0], first, count, HEAT_CAPACITY * loss)
