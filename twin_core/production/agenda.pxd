# The agenda: when the next event of each row is due, and which row comes first; of equal times the lowest row.
# A tournament: each node keeps the winner of the two below it, so that a change costs log2(rows) games.

from libc.stdint cimport int32_t, int64_t

cdef extern from *:
    """
    #ifndef UEM_AGENDA
    #define UEM_AGENDA
    #include <stdint.h>
    #include <string.h>

    /* `due` is the time's pattern of bits: of times that are not negative the earlier one is the lesser number. */
    static inline int64_t uem_bits_of(double time) { int64_t bits; memcpy(&bits, &time, 8); return bits; }
    static inline double uem_time_of(int64_t bits) { double time; memcpy(&time, &bits, 8); return time; }

    /* Play the games of a row anew up to the root; `leaves` is a power of two. Who wins cannot be foreseen, so there is
       no branch: of few rows all games are played; of many, those of a row that was not first end where nothing changes. */
    static inline void uem_play(int64_t *node_due, int32_t *node_row, Py_ssize_t leaves, Py_ssize_t row, double time) {
        Py_ssize_t at = leaves + row;
        int64_t due = uem_bits_of(time), other_due, lost;
        int32_t who = (int32_t)row, other_row;
        const int all = leaves <= 64 || node_row[1] == row;
        node_due[at] = due; node_row[at] = who;
        while (at > 1) {
            other_due = node_due[at ^ 1]; other_row = node_row[at ^ 1];
            /* All bits or none. The left one of a pair, whose row is lower, wins when both are due at the same time. */
            lost = (other_due - (int64_t)(at & 1) - due) >> 63;
            due = other_due < due ? other_due : due;
            who += (other_row - who) & (int32_t)lost;
            at >>= 1;
            if (!all && node_row[at] == who && node_due[at] == due) return;
            node_due[at] = due; node_row[at] = who;
        }
    }
    #endif
    """
    double time_of "uem_time_of"(int64_t bits) noexcept nogil
    void play "uem_play"(
        int64_t* node_due, int32_t* node_row, Py_ssize_t leaves, Py_ssize_t row, double time
    ) noexcept nogil


cdef struct Agenda:
    int64_t* node_due  # (2 leaves,): patterns of bits; the root is node 1
    int32_t* node_row  # (2 leaves,)
    Py_ssize_t leaves  # rows, rounded up to a power of two


cdef inline void set_due(Agenda* agenda, Py_ssize_t row, double time) noexcept nogil:
    play(agenda.node_due, agenda.node_row, agenda.leaves, row, time)
