# Friction of many pipes at once; what it assumes stands in friction.pyx.

cdef enum:
    COLEBROOK = 0
    SWAMEE_JAIN = 1
    NIKURADSE = 2

# Of one pipe: relative roughness / 3.7, friction factor at Re 4000 and its slope there, d factor / d (Re / 2000).
cdef struct Wall:
    double rough
    double factor_4000
    double slope_4000

cdef void make_wall(int law, double relative_roughness, Wall* wall) noexcept nogil
cdef double friction_factor(int law, const Wall* wall, double reynolds, double* slope) noexcept nogil
# Per pipe: Reynolds number per flow, pressure drop per factor and flow squared, the same for local losses.
cdef void pressure_drops(
    int law, Py_ssize_t count, const Wall* wall, const double* reynolds_per_flow, const double* friction,
    const double* local, const double* flow_kg_s, double* drop_pa, double* slope
) noexcept nogil
