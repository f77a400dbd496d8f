"""What all units share: where a flow counts as none, and small helpers."""

# Less than this in a step is standstill: nothing happens to the water.
cdef double LEAST_MASS_KG = 1e-9
# A flow that is to carry a heat away is worked out with at least this rise or drop, so that it never grows without end.
cdef double LEAST_RISE_K = 2.0
