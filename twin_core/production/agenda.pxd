# The agenda: when the next event of each row is due, and which row comes first; of equal times the lowest row.
# Two lists that are looked at together; a row stands in one of them.
# - A tournament: each node keeps the winner of the two below it, so that a change costs log2(rows) games; of a row that
#   was not due until now mostly a few, since where it loses nothing changes above.
# - A queue in the order of the times, for ends of cycles that all last the same: what is begun later ends later, so a
#   row is added at the end, and which rows are next is known long before their turn.

from libc.stdint cimport int8_t, int64_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef UEM_AGENDA
    #define UEM_AGENDA
    #include <stdint.h>
    #include <string.h>

    /* `due` is the time's pattern of bits: of times that are not negative the earlier one is the lesser number. */
    static inline int64_t uem_bits_of(double time) { int64_t bits; memcpy(&bits, &time, 8); return bits; }
    static inline double uem_time_of(int64_t bits) { double time; memcpy(&time, &bits, 8); return time; }
    #define UEM_NEVER 0x7ff0000000000000LL

    /* Keeps what only some plants need out of the way of the others. */
    #define uem_rarely(x) __builtin_expect(!!(x), 0)
    typedef struct { int64_t due; int64_t row; } UemDue;

    typedef struct { uint64_t due; uint32_t row; } UemWinner;

    /* Play the games from node `at`, won by the given row, up to node `end`; who won there. Who wins cannot be
       foreseen, so there is no branch: moment and row are one number of 128 bits, of which the lesser one goes on. */
    static inline UemWinner uem_games(
        uint64_t *node_due, uint32_t *node_row, size_t at, size_t end, uint64_t due, uint32_t row
    ) {
        unsigned __int128 winner = (unsigned __int128)(uint64_t)due << 64 | row, other;
        while (at > end) {
            other = (unsigned __int128)node_due[at ^ 1] << 64 | node_row[at ^ 1];
            winner = other < winner ? other : winner;
            at >>= 1;
            node_due[at] = (uint64_t)(winner >> 64); node_row[at] = (uint32_t)winner;
        }
        return (UemWinner){(uint64_t)(winner >> 64), (uint32_t)winner};
    }

    /* Play the games of a row anew up to the root; `leaves` is a power of two. */
    static inline void uem_play(
        uint64_t *node_due, uint32_t *node_row, Py_ssize_t leaves, Py_ssize_t row, int64_t due
    ) {
        const size_t at = (size_t)(leaves + row);
        node_due[at] = (uint64_t)due;
        uem_games(node_due, node_row, at, 1, (uint64_t)due, (uint32_t)row);
    }

    /* The same for a row that was not due until now. One that has lost within the first games is done: one branch that
       can be foreseen instead of the other half of the games. */
    static inline void uem_enter(
        uint64_t *node_due, uint32_t *node_row, Py_ssize_t leaves, Py_ssize_t row, int64_t due
    ) {
        const size_t at = (size_t)(leaves + row), early = at >> 5 ? at >> 5 : 1;
        UemWinner winner;
        node_due[at] = (uint64_t)due;
        winner = uem_games(node_due, node_row, at, early, (uint64_t)due, (uint32_t)row);
        if (winner.row == (uint32_t)row) uem_games(node_due, node_row, early, 1, winner.due, winner.row);
    }

    /* Take a row out of the midst of a queue of size `mask` + 1. */
    static void uem_remove(UemDue *queue, int64_t mask, int64_t *ends, Py_ssize_t row) {
        int64_t at = ends[0];
        while (queue[at & mask].row != row) at++;
        for (ends[1]--; at < ends[1]; at++) queue[at & mask] = queue[(at + 1) & mask];
    }
    #endif
    """
    bint rarely "uem_rarely"(bint) noexcept nogil
    void prefetch "__builtin_prefetch"(const void*) noexcept nogil
    int64_t NEVER "UEM_NEVER"
    ctypedef struct Due "UemDue":
        int64_t due
        int64_t row
    int64_t bits_of "uem_bits_of"(double time) noexcept nogil
    double time_of "uem_time_of"(int64_t bits) noexcept nogil
    void play "uem_play"(
        uint64_t* node_due, uint32_t* node_row, Py_ssize_t leaves, Py_ssize_t row, int64_t due
    ) noexcept nogil
    void enter_tree "uem_enter"(
        uint64_t* node_due, uint32_t* node_row, Py_ssize_t leaves, Py_ssize_t row, int64_t due
    ) noexcept nogil
    void remove_from_queue "uem_remove"(Due* queue, int64_t mask, int64_t* ends, Py_ssize_t row) noexcept nogil


cdef struct Agenda:
    uint64_t* node_due  # (2 leaves,); the root is node 1, those below node i are 2 i and 2 i + 1
    uint32_t* node_row  # (2 leaves,)
    Due* queue  # (leaves,), used round and round
    int64_t* ends  # of the queue: the first one and the place behind the last one, counted from the beginning
    Py_ssize_t leaves  # rows, rounded up to a power of two
    int64_t mask  # leaves - 1


cdef enum Listed:
    UNLISTED
    IN_TREE
    IN_QUEUE


cdef inline void set_due(Agenda* agenda, Py_ssize_t row, int8_t* listed, double time) noexcept nogil:
    """`listed` tells where the row stands; of rows that are never due nothing needs to be known."""
    if listed[0] == IN_QUEUE:
        remove_from_queue(agenda.queue, agenda.mask, agenda.ends, row)
    if listed[0] == IN_TREE:
        play(agenda.node_due, agenda.node_row, agenda.leaves, row, bits_of(time))
    elif bits_of(time) != NEVER:
        enter_tree(agenda.node_due, agenda.node_row, agenda.leaves, row, bits_of(time))
    listed[0] = IN_TREE if bits_of(time) != NEVER else UNLISTED


cdef inline void set_due_last(Agenda* agenda, Py_ssize_t row, int8_t* listed, double time) noexcept nogil:
    """For a row that is not in the queue, with a time that is not before those in the queue."""
    cdef Due* last = &agenda.queue[agenda.ends[1] & agenda.mask]
    if listed[0] == IN_TREE:
        play(agenda.node_due, agenda.node_row, agenda.leaves, row, NEVER)
    last.due = bits_of(time)
    last.row = row
    agenda.ends[1] += 1
    listed[0] = IN_QUEUE


cdef inline bint queue_is_next(const Agenda* agenda) noexcept nogil:
    return agenda.ends[0] < agenda.ends[1] and agenda.queue[agenda.ends[0] & agenda.mask].due <= <int64_t>agenda.node_due[1]
