"""What all units share: where a flow counts as none, and small helpers."""

from uem.twin_core.thermal.pipes cimport HEAT_CAPACITY

# Water is liquid between these, in K.
cdef double COLDEST = 273.15
cdef double HOTTEST = 423.15
# Less than this in a step is standstill: nothing happens to the water.
cdef double LEAST_MASS_KG = 1e-9
# A load's flow is worked out with at least this drop, so that it never grows without end.
cdef double LEAST_DROP_K = 2.0
# Over this last rise a producer's pump is throttled down; it stops where none is left.
cdef double LAST_RISE_K = 2.0


cdef double carrying_flow_kg_s(double heat_w, double rise_k, double smallest_rise_k) noexcept nogil:
    """The flow of a pumped producer that carries its heat away at its set point, `rise_k` above what comes.

    Its pump is made for `smallest_rise_k`: with less of a rise the flow grows no more.
    """
    return heat_w / (HEAT_CAPACITY * larger(rise_k, smallest_rise_k)) * clip(rise_k / LAST_RISE_K, 0.0, 1.0)
