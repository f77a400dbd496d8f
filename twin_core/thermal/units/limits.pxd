# What all units share.
cdef double COLDEST
cdef double HOTTEST
cdef double LEAST_MASS_KG
cdef double LEAST_DROP_K
cdef double LAST_RISE_K

cdef inline double clip(double value, double low, double high) noexcept nogil:
    return low if value < low else high if value > high else value

cdef inline double smaller(double a, double b) noexcept nogil:
    return a if a < b else b

cdef inline double larger(double a, double b) noexcept nogil:
    return a if a > b else b

cdef double carrying_flow_kg_s(double heat_w, double rise_k, double smallest_rise_k) noexcept nogil
