"""One machine, many members: operating state -> power, heater, bath temperature and ledgers over a step.

W, J, s, K. Members do not see each other. The layouts below are the contract with machine.py:

table  (n_states + 1, N_TABLE): one row per operating state, the last row for state numbers that the table lacks
bath   (N_BATH,): parameters of the bath; content_j_k = 0 means the machine has none
block  (N_FIELDS + 2 * (n_states + 1), members): the fields, then seconds per state, then joules per state
"""

from libc.math cimport ceil, isfinite, isnan

from uem.twin_core.production.bath cimport Modes, advance as advance_bath, modes_of

cdef enum:
    NUMBER
    POWER
    PEAK
    BATH_HEAT
    EXCHANGE
    NEW_PIECES
    N_TABLE_

cdef enum:
    CONTENT
    HEATER
    LOSS
    ON_BELOW
    OFF_ABOVE
    LOAD
    LOAD_LOSS
    PIECES
    N_BATH_

cdef enum:
    TANK
    LOAD_TEMP
    HEATER_ON
    ROW
    MEAN_POWER
    ENTERED_HEATER
    ENTERED_PUMPS
    LOST
    CARRIED
    N_FIELDS_

N_TABLE = N_TABLE_
N_BATH = N_BATH_
N_FIELDS = N_FIELDS_

# Running free, the thermostat looks at the bath this often.
cdef double THERMOSTAT_S = 1.0


cdef Py_ssize_t row_of(const double[:, ::1] table, double number) noexcept nogil:
    """The row of a state number; the last one when no row has it (NaN is no number of any row)."""
    cdef Py_ssize_t row, unknown = table.shape[0] - 1
    for row in range(unknown):
        if table[row, NUMBER] == number:
            return row
    return unknown


cdef double heater_seen(double power_w, double without_heater_w, double heater_w) noexcept nogil:
    """1 when a measured power is nearer to heater and state than to the state alone."""
    return 1.0 if heater_w > 0.0 and power_w > without_heater_w + 0.5 * heater_w else 0.0


cdef double thermostat(double on, double temp_k, const double[::1] bath) noexcept nogil:
    if temp_k < bath[ON_BELOW]:
        return 1.0
    return 0.0 if temp_k > bath[OFF_ABOVE] else on


cdef void exchange_pieces(double[:, ::1] block, Py_ssize_t i, const double[::1] bath, double hall_k) noexcept nogil:
    """Cleaned pieces leave with the load's heat, as many as cold as the hall come in."""
    cdef double heat_j = bath[PIECES] * (block[LOAD_TEMP, i] - hall_k)
    block[LOAD_TEMP, i] -= heat_j / bath[LOAD]
    block[CARRIED, i] += heat_j


cdef double run_bath(
    const double[::1] row, const double[::1] bath, double[:, ::1] block, Py_ssize_t i,
    double dt_s, double hall_k, bint free
) noexcept nogil:
    """Bath and load over the step; returns the seconds that the heater was on."""
    cdef bint loaded = bath[LOAD] > 0.0
    cdef double load_j_k = bath[LOAD] if loaded else 1.0  # without a load a body that nothing reaches
    cdef Py_ssize_t n = <Py_ssize_t>ceil(dt_s / THERMOSTAT_S) if free and bath[HEATER] > 0.0 else 1
    cdef double h_s = dt_s / n, heated_s = 0.0, source_w, tank, load, tank_ks, load_ks
    cdef Modes modes = modes_of(bath[CONTENT], load_j_k, bath[LOSS], bath[LOAD_LOSS], row[EXCHANGE], h_s)
    cdef Py_ssize_t k
    tank = block[TANK, i] - hall_k
    load = block[LOAD_TEMP, i] - hall_k
    for k in range(n):
        if free:
            block[HEATER_ON, i] = thermostat(block[HEATER_ON, i], tank + hall_k, bath)
        source_w = row[BATH_HEAT] + block[HEATER_ON, i] * bath[HEATER]
        advance_bath(&modes, bath[CONTENT], load_j_k, source_w, &tank, &load, &tank_ks, &load_ks)
        heated_s += block[HEATER_ON, i] * h_s
        block[LOST, i] += bath[LOSS] * tank_ks + bath[LOAD_LOSS] * load_ks
    block[TANK, i] = tank + hall_k
    block[LOAD_TEMP, i] = load + hall_k
    block[ENTERED_HEATER, i] += bath[HEATER] * heated_s
    block[ENTERED_PUMPS, i] += row[BATH_HEAT] * dt_s
    return heated_s


cdef void step_member(
    const double[:, ::1] table, const double[::1] bath, double[:, ::1] block, Py_ssize_t i,
    double dt_s, double number, double hall_k, double power_w
) noexcept nogil:
    cdef Py_ssize_t unknown = table.shape[0] - 1, row = row_of(table, number)
    cdef bint free = isnan(power_w), entered = row != <Py_ssize_t>block[ROW, i]
    cdef double heated_s = 0.0, energy_j
    block[ROW, i] = row
    if bath[CONTENT] > 0.0:
        if isnan(block[LOAD_TEMP, i]):  # a load never followed is as warm as what it was last in touch with
            block[LOAD_TEMP, i] = block[TANK, i] if table[row, EXCHANGE] > 0.0 else hall_k
        if entered and table[row, NEW_PIECES] > 0.0 and bath[PIECES] > 0.0:
            exchange_pieces(block, i, bath, hall_k)
        if not free and row != unknown:  # an unknown state does not tell how much of the power is heater
            block[HEATER_ON, i] = heater_seen(power_w, table[row, PEAK], bath[HEATER])
        heated_s = run_bath(table[row], bath, block, i, dt_s, hall_k, free)
    if row == unknown and not free:
        energy_j = power_w * dt_s
    else:
        energy_j = table[row, POWER] * dt_s + bath[HEATER] * heated_s
    block[MEAN_POWER, i] = energy_j / dt_s
    block[N_FIELDS_ + row, i] += dt_s
    block[N_FIELDS_ + table.shape[0] + row, i] += energy_j


def first_bad_input(const double[::1] bath, const double[::1] hall_temp_k, const double[::1] power_w):
    """Index of the first member whose hall temperature is needed and not finite, or whose power is infinite; or -1."""
    cdef Py_ssize_t i
    for i in range(power_w.shape[0]):
        if not (isfinite(power_w[i]) or isnan(power_w[i])) or (bath[CONTENT] > 0.0 and not isfinite(hall_temp_k[i])):
            return i
    return -1


def step(
    const double[:, ::1] table, const double[::1] bath, double[:, ::1] block,
    double dt_s, const double[::1] state_number, const double[::1] hall_temp_k, const double[::1] power_w
):
    """Advance all members of `block` by `dt_s`; inputs have shape (members,) and were checked by the caller."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(block.shape[1]):
            step_member(table, bath, block, i, dt_s, state_number[i], hall_temp_k[i], power_w[i])
