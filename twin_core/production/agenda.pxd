# The agenda: when the next event of each row is due, and which row comes first; of equal times the lowest row.
# A tournament: each node keeps the winner of the two below it, so that a change costs log2(rows) games.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef UEM_AGENDA
    #define UEM_AGENDA
    #include <stdint.h>

    typedef struct { double due; int64_t row; } UemEntry;

    /* Play the games of a row anew up to the root; `leaves` is a power of two. */
    static inline void uem_play(UemEntry *node, Py_ssize_t leaves, Py_ssize_t row, double due) {
        Py_ssize_t at = leaves + row;
        const int all = node[1].row == row;  /* the winner of all: every game is played anew */
        UemEntry best, other;
        int lost;
        best.due = due; best.row = row;
        node[at] = best;
        while (at > 1) {
            other = node[at ^ 1];
            lost = (other.due < best.due) | ((other.due == best.due) & (int)(at & 1));
            best.due = lost ? other.due : best.due;
            best.row = lost ? other.row : best.row;
            at >>= 1;
            if (!all && node[at].row == best.row && node[at].due == best.due) return;
            node[at] = best;
        }
    }
    #endif
    """
    ctypedef struct Entry "UemEntry":
        double due
        int64_t row

    void play "uem_play"(Entry* node, Py_ssize_t leaves, Py_ssize_t row, double due) noexcept nogil


cdef struct Agenda:
    Entry* node  # (2 leaves,), the root is node 1
    Py_ssize_t leaves  # rows, rounded up to a power of two


cdef inline void set_due(Agenda* agenda, Py_ssize_t row, double due) noexcept nogil:
    play(agenda.node, agenda.leaves, row, due)
