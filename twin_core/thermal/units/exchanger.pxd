# Counterflow exchangers by their resistances in K/W; equations: exchanger.pyx.
cdef double exchanged_w(double difference_k, double hot_k_w, double cold_k_w, double wall_k_w) noexcept nogil
cdef double film_part(double flow_part) noexcept nogil
cdef double total_k_w(
    double a, double b, double fixed_k_w, double film_k_w, double nominal_k_w, double* slope
) noexcept nogil
cdef double stream_needed_k_w(
    double total_k_w, double other_k_w, double fixed_k_w, double film_k_w, double nominal_k_w, double least_k_w,
    double guess_k_w, double* slope
) noexcept nogil
cdef double stream_for_outlet_k_w(
    double ratio, double other_k_w, double fixed_k_w, double film_k_w, double nominal_k_w, double least_k_w
) noexcept nogil
