# What water is in pipes, and in which units of it they count; for pipes.pyx and pipe_step.pyx, in each for itself.

from libc.math cimport fabs

from uem.twin_core.thermal.water cimport conductivity_w_mk, density_kg_m3, heat_capacity_j_kgk, viscosity_pa_s

# One heat capacity for all water, that of 60 degC: within 0.8 % of the true one from 0 to 100 degC. Energy is linear in
# temperature, so mixing and ledgers are exact.
cdef double HEAT_CAPACITY = heat_capacity_j_kgk(333.15)
cdef double ENERGY_ZERO = 273.15
# A flow that moves less than this part of a cell in a step counts as standstill.
cdef double LEAST_MOVE = 1e-12
cdef double PI = 3.141592653589793

cdef struct Film:
    double density
    double volume  # of a kg
    double fluidity  # 1 / viscosity
    double conductivity
    double prandtl
    double resistance  # of the sublayer in Gnielinski's formula


# Film properties at whole kelvins, 273 to 423: rounding moves the film coefficient by less than 1 %.
cdef enum:
    FIRST_FILM_K = 273
    FILMS = 151
cdef Film[FILMS + 1] FILM

cdef void fill_film_table():
    cdef Py_ssize_t i
    for i in range(FILMS + 1):
        FILM[i].density = density_kg_m3(FIRST_FILM_K + i)
        FILM[i].volume = 1.0 / FILM[i].density
        FILM[i].fluidity = 1.0 / viscosity_pa_s(FIRST_FILM_K + i)
        FILM[i].conductivity = conductivity_w_mk(FIRST_FILM_K + i)
        FILM[i].prandtl = HEAT_CAPACITY / (FILM[i].fluidity * FILM[i].conductivity)
        FILM[i].resistance = 12.7 * (FILM[i].prandtl ** (2.0 / 3.0) - 1.0)

fill_film_table()


cdef inline double clip(double value, double low, double high) noexcept nogil:
    return low if value < low else high if value > high else value


cdef inline Py_ssize_t film_of(double temp) noexcept nogil:
    """Place in the table of films of the nearest whole kelvin."""
    return <Py_ssize_t> clip(temp - (FIRST_FILM_K - 0.5), 0.0, FILMS - 1)


cdef inline double volume_of(double temp) noexcept nogil:
    """Specific volume of water, straight between whole kelvins: within 8e-6."""
    cdef double place = clip(temp - FIRST_FILM_K, 0.0, FILMS - 1)
    cdef Py_ssize_t i = <Py_ssize_t> place
    return FILM[i].volume + (place - i) * (FILM[i + 1].volume - FILM[i].volume)


cdef double volume_in_cells(const Pipe* pipe, const double* record, double mass_kg) noexcept nogil:
    """Volume of `mass_kg`, in cells, as long as its temperature is not known: that of what last came in."""
    return fabs(mass_kg) * volume_of(record[2 if mass_kg >= 0.0 else 3]) * pipe.per_cell_volume
