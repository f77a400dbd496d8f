# Two bodies that exchange heat with each other and with the hall: the liquid of a bath, and the load it wets.
cdef struct Modes:
    # Rotation to the two independent modes and the advance of a mode over one step of h seconds:
    # mode' = decay * mode + gain * source, integral = gain * mode + twice * source.
    double cosine, sine
    double[2] decay, gain, twice

cdef Modes modes_of(
    double bath_j_k, double load_j_k, double bath_loss_w_k, double load_loss_w_k, double exchange_w_k, double h_s
) noexcept nogil
cdef void advance(
    const Modes* modes, double bath_j_k, double load_j_k, double source_w,
    double* bath_k, double* load_k, double* bath_integral_ks, double* load_integral_ks
) noexcept nogil
cdef double mean_of_decay(double z) noexcept nogil
cdef double mean_of_mean(double z) noexcept nogil
