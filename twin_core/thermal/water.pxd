# Scalar properties of liquid water; what they assume stands in water.pyx. With one argument: at 6 bar.
cpdef double density_kg_m3(double temp_k) noexcept nogil
cpdef double heat_capacity_j_kgk(double temp_k) noexcept nogil
cpdef double viscosity_pa_s(double temp_k) noexcept nogil
cpdef double conductivity_w_mk(double temp_k) noexcept nogil
cpdef double saturation_pressure_pa(double temp_k) noexcept nogil

cdef double density_at(double temp_k, double pressure_pa) noexcept nogil
cdef double heat_capacity_at(double temp_k, double pressure_pa) noexcept nogil
cdef double viscosity_at(double temp_k, double pressure_pa) noexcept nogil
cdef double conductivity_at(double temp_k, double pressure_pa) noexcept nogil
