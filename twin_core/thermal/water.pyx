"""Liquid water, 0-150 degC and 1-25 bar: density, heat capacity, viscosity, conductivity, saturation pressure.

Polynomials in temperature and pressure, both scaled to -1 .. 1, fitted to IAPWS-95 and the IAPWS formulations of
viscosity (2008) and conductivity (2011) by docs/models/fit_water.py, which prints the tables below. Viscosity is the
reciprocal of a polynomial. Errors and validity: docs/models/water.md.

The scalar functions are for kernels and check nothing: outside the range a temperature or pressure counts as the
nearest bound, below the saturation pressure the liquid is continued, NaN gives NaN. The functions on arrays refuse.
"""

from libc.math cimport exp

from uem.twin_core.errors import InvalidInput


cdef double LOW_TEMP_K = 273.15
cdef double HIGH_TEMP_K = 423.15
cdef double LOW_PRESSURE_PA = 1e5
cdef double HIGH_PRESSURE_PA = 25e5

TEMP_RANGE_K = (LOW_TEMP_K, HIGH_TEMP_K)
PRESSURE_RANGE_PA = (LOW_PRESSURE_PA, HIGH_PRESSURE_PA)
# Heat networks work at 3-10 bar. At 6 bar water stays liquid over the whole range (4.76 bar at 150 degC), and
# 4 bar more change no property by more than 6e-4.
cdef double DEFAULT_PRESSURE = 6e5
DEFAULT_PRESSURE_PA = DEFAULT_PRESSURE

# Row i holds the coefficients of x**i * (1, y, y**2), x the scaled temperature and y the scaled pressure.
cdef double[24] DENSITY = [
    9.753766349834e+02, 5.322395173469e-01, -1.130899098713e-03,
    -4.475980050533e+01, 6.251766655446e-02, -2.685915068692e-03,
    -1.465375397854e+01, 8.385132868064e-02, 7.459372797392e-03,
    2.565441076423e+00, -3.183167534777e-02, 2.442609079138e-02,
    -1.188707892765e+00, 2.886620501143e-02, -2.284863946774e-02,
    3.874148888224e-01, 3.377885794576e-02, -5.663270844357e-02,
    -5.688569648129e-01, -9.150827289512e-04, 1.596002165120e-02,
    3.180829234824e-01, -2.935048253516e-02, 3.543238989905e-02,
]
cdef double[24] HEAT_CAPACITY = [
    4.190544194690e+03, -2.606477795085e+00, 2.167431568753e-02,
    5.019199699229e+01, -1.155162401925e-01, 8.093492352826e-02,
    4.670422571146e+01, -1.175891886001e+00, -3.027339459329e-01,
    1.272083482269e+01, 1.159941990825e+00, -9.079141225232e-01,
    3.082834744837e+00, -6.844091148278e-01, 9.250279577765e-01,
    -6.506353784197e+00, -1.554055552033e+00, 2.138533277629e+00,
    1.857101568704e+01, -3.951027077702e-01, -6.451912710759e-01,
    -1.093251478317e+01, 1.544437683509e+00, -1.358923703250e+00,
]
cdef double[21] FLUIDITY = [
    2.647288300279e+03, -2.237062767667e+00, 1.065029524116e-02,
    2.593797445020e+03, -4.992653478861e+00, 1.561939963705e-01,
    3.684112265553e+02, -1.995117268423e+00, 8.812382595085e-02,
    -1.484065845129e+02, 4.487799951206e-01, -7.969246814860e-01,
    -5.565026288758e+00, 5.558817948039e-01, -7.360352128940e-01,
    1.010337251260e+01, -5.218120490733e-01, 7.455182274186e-01,
    4.286831767030e+00, -5.597201315981e-01, 7.410687374179e-01,
]
cdef double[18] CONDUCTIVITY = [
    6.641118038383e-01, 6.263677314733e-04, 2.061743165442e-05,
    5.455046625315e-02, 2.780742368554e-05, 9.438086170130e-05,
    -4.004043628030e-02, 2.600330776212e-04, -2.396250105399e-04,
    4.040276668152e-03, 2.964944866969e-04, -5.418735688305e-04,
    -4.921783098048e-03, -5.931828905049e-05, 2.647878118981e-04,
    3.891901920570e-03, -4.129908846798e-04, 5.080165888366e-04,
]
cdef double[8] LOG_SATURATION_PRESSURE = [
    1.056088913367e+01,
    3.137785118703e+00,
    -7.750408694779e-01,
    1.824051562850e-01,
    -3.920554456539e-02,
    8.288320706172e-03,
    -2.159560532418e-03,
    5.595256666413e-04,
]

# The same at the default pressure, where only powers of x remain.
cdef double[8] DENSITY_DEFAULT
cdef double[8] HEAT_CAPACITY_DEFAULT
cdef double[7] FLUIDITY_DEFAULT
cdef double[6] CONDUCTIVITY_DEFAULT


cdef inline double scaled(double value, double low, double high) noexcept nogil:
    cdef double x = (2.0 * value - (high + low)) / (high - low)
    return -1.0 if x < -1.0 else 1.0 if x > 1.0 else x  # written so that NaN stays NaN


cdef inline double scaled_temp(double temp_k) noexcept nogil:
    return scaled(temp_k, LOW_TEMP_K, HIGH_TEMP_K)


cdef inline double scaled_pressure(double pressure_pa) noexcept nogil:
    return scaled(pressure_pa, LOW_PRESSURE_PA, HIGH_PRESSURE_PA)


cdef inline double polynomial(const double* table, int n, double x) noexcept nogil:
    cdef double total = table[n - 1]
    cdef int i
    for i in range(n - 2, -1, -1):
        total = total * x + table[i]
    return total


cdef inline double surface(const double* table, int n, double x, double y) noexcept nogil:
    cdef double total = polynomial(&table[3 * (n - 1)], 3, y)
    cdef int i
    for i in range(n - 2, -1, -1):
        total = total * x + polynomial(&table[3 * i], 3, y)
    return total


cdef void at_default_pressure(const double* table, int n, double* out) noexcept nogil:
    cdef int i
    for i in range(n):
        out[i] = polynomial(&table[3 * i], 3, scaled_pressure(DEFAULT_PRESSURE))


at_default_pressure(DENSITY, 8, DENSITY_DEFAULT)
at_default_pressure(HEAT_CAPACITY, 8, HEAT_CAPACITY_DEFAULT)
at_default_pressure(FLUIDITY, 7, FLUIDITY_DEFAULT)
at_default_pressure(CONDUCTIVITY, 6, CONDUCTIVITY_DEFAULT)


cpdef double density_kg_m3(double temp_k) noexcept nogil:
    """Density at the default pressure, kg/m3."""
    return polynomial(DENSITY_DEFAULT, 8, scaled_temp(temp_k))


cpdef double heat_capacity_j_kgk(double temp_k) noexcept nogil:
    """Specific heat capacity at the default pressure, J/(kg K)."""
    return polynomial(HEAT_CAPACITY_DEFAULT, 8, scaled_temp(temp_k))


cpdef double viscosity_pa_s(double temp_k) noexcept nogil:
    """Dynamic viscosity at the default pressure, Pa s."""
    return 1.0 / polynomial(FLUIDITY_DEFAULT, 7, scaled_temp(temp_k))


cpdef double conductivity_w_mk(double temp_k) noexcept nogil:
    """Thermal conductivity at the default pressure, W/(m K)."""
    return polynomial(CONDUCTIVITY_DEFAULT, 6, scaled_temp(temp_k))


cpdef double saturation_pressure_pa(double temp_k) noexcept nogil:
    """Pressure below which water boils, Pa."""
    return exp(polynomial(LOG_SATURATION_PRESSURE, 8, scaled_temp(temp_k)))


cdef double density_at(double temp_k, double pressure_pa) noexcept nogil:
    return surface(DENSITY, 8, scaled_temp(temp_k), scaled_pressure(pressure_pa))


cdef double heat_capacity_at(double temp_k, double pressure_pa) noexcept nogil:
    return surface(HEAT_CAPACITY, 8, scaled_temp(temp_k), scaled_pressure(pressure_pa))


cdef double viscosity_at(double temp_k, double pressure_pa) noexcept nogil:
    return 1.0 / surface(FLUIDITY, 7, scaled_temp(temp_k), scaled_pressure(pressure_pa))


cdef double conductivity_at(double temp_k, double pressure_pa) noexcept nogil:
    return surface(CONDUCTIVITY, 6, scaled_temp(temp_k), scaled_pressure(pressure_pa))


ctypedef double (*property_at)(double temp_k, double pressure_pa) noexcept nogil


cdef Py_ssize_t first_not_liquid(const double[::1] temp_k, const double[::1] pressure_pa) noexcept nogil:
    """Index of the first point where the fits do not hold, -1 if there is none."""
    cdef Py_ssize_t i
    for i in range(temp_k.shape[0]):
        if not (
            LOW_TEMP_K <= temp_k[i] <= HIGH_TEMP_K
            and LOW_PRESSURE_PA <= pressure_pa[i] <= HIGH_PRESSURE_PA
            and pressure_pa[i] >= saturation_pressure_pa(temp_k[i])
        ):
            return i
    return -1


cdef fill(property_at function, const double[::1] temp_k, const double[::1] pressure_pa, double[::1] out):
    cdef Py_ssize_t i, n = out.shape[0]
    if not temp_k.shape[0] == pressure_pa.shape[0] == n:
        raise InvalidInput(
            f"water: arrays of {temp_k.shape[0]} temperatures, {pressure_pa.shape[0]} pressures and {n} results"
        )
    i = first_not_liquid(temp_k, pressure_pa)
    if i >= 0:
        raise InvalidInput(f"water: {why_not_liquid(temp_k[i], pressure_pa[i])} (index {i})")
    with nogil:
        for i in range(n):
            out[i] = function(temp_k[i], pressure_pa[i])


cdef str why_not_liquid(double temp_k, double pressure_pa):
    """In words, why the fits do not hold at this temperature and pressure."""
    if not LOW_TEMP_K <= temp_k <= HIGH_TEMP_K:
        return f"temperature {temp_k} K is outside {LOW_TEMP_K} .. {HIGH_TEMP_K} K"
    if not LOW_PRESSURE_PA <= pressure_pa <= HIGH_PRESSURE_PA:
        return f"pressure {pressure_pa} Pa is outside {LOW_PRESSURE_PA:.0f} .. {HIGH_PRESSURE_PA:.0f} Pa"
    return f"boils at {temp_k} K and {pressure_pa} Pa; it needs at least {saturation_pressure_pa(temp_k):.0f} Pa"


def densities(const double[::1] temp_k, const double[::1] pressure_pa, double[::1] out):
    """Fill `out` with densities in kg/m3; all arrays have shape (n,). InvalidInput where water is not liquid."""
    fill(density_at, temp_k, pressure_pa, out)


def heat_capacities(const double[::1] temp_k, const double[::1] pressure_pa, double[::1] out):
    """Fill `out` with heat capacities in J/(kg K); shapes and refusals as `densities`."""
    fill(heat_capacity_at, temp_k, pressure_pa, out)


def viscosities(const double[::1] temp_k, const double[::1] pressure_pa, double[::1] out):
    """Fill `out` with dynamic viscosities in Pa s; shapes and refusals as `densities`."""
    fill(viscosity_at, temp_k, pressure_pa, out)


def conductivities(const double[::1] temp_k, const double[::1] pressure_pa, double[::1] out):
    """Fill `out` with thermal conductivities in W/(m K); shapes and refusals as `densities`."""
    fill(conductivity_at, temp_k, pressure_pa, out)
