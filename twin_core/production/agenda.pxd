# The agenda: when the next event of each row is due. Up to FLAT rows one scan finds the earliest; above that the rows
# stand in groups whose earliest is kept, so that a change costs one scan of a group and a look one scan of the groups.

cdef extern from *:
    """
    #ifndef UEM_AGENDA
    #define UEM_AGENDA
    /* Index of the least of n times, n a positive multiple of 4; of equal times the lowest index. */
    #if defined(__GNUC__)
    typedef double UemPair __attribute__((vector_size(16), aligned(8)));
    typedef long long UemIndexPair __attribute__((vector_size(16), aligned(8)));

    static inline Py_ssize_t uem_earliest(const double *times, Py_ssize_t n) {
        UemPair even = *(const UemPair *)times, odd = *(const UemPair *)(times + 2);
        UemIndexPair even_at = {0, 1}, odd_at = {2, 3}, at = {4, 5}, later;
        UemPair next;
        double least; Py_ssize_t found; Py_ssize_t i;
        const UemIndexPair two = {2, 2};
        for (i = 4; i < n; i += 4) {
            next = *(const UemPair *)(times + i);
            later = next < even;
            even = (UemPair)(((UemIndexPair)next & later) | ((UemIndexPair)even & ~later));
            even_at = (at & later) | (even_at & ~later);
            at += two;
            next = *(const UemPair *)(times + i + 2);
            later = next < odd;
            odd = (UemPair)(((UemIndexPair)next & later) | ((UemIndexPair)odd & ~later));
            odd_at = (at & later) | (odd_at & ~later);
            at += two;
        }
        least = even[0]; found = even_at[0];
        if (even[1] < least || (even[1] == least && even_at[1] < found)) { least = even[1]; found = even_at[1]; }
        if (odd[0] < least || (odd[0] == least && odd_at[0] < found)) { least = odd[0]; found = odd_at[0]; }
        if (odd[1] < least || (odd[1] == least && odd_at[1] < found)) { least = odd[1]; found = odd_at[1]; }
        return found;
    }
    #else
    static inline Py_ssize_t uem_earliest(const double *times, Py_ssize_t n) {
        Py_ssize_t i, found = 0;
        for (i = 1; i < n; i++) if (times[i] < times[found]) found = i;
        return found;
    }
    #endif
    #endif
    """
    Py_ssize_t earliest_of "uem_earliest"(const double* times, Py_ssize_t n) noexcept nogil

cdef enum:
    FLAT = 64


cdef struct Agenda:
    double* due  # (rows,), padded with inf to whole groups, or to a multiple of 4 where it is flat
    double* group_due  # (groups,), padded likewise
    long long* group_row  # row of the earliest of each group
    Py_ssize_t rows
    Py_ssize_t groups  # 0: flat
    int shift  # log2 of the size of a group


cdef inline Py_ssize_t earliest(const Agenda* agenda) noexcept nogil:
    """The row that is due first; of those due at the same time the lowest one."""
    if agenda.groups == 0:
        return earliest_of(agenda.due, agenda.rows)
    return agenda.group_row[earliest_of(agenda.group_due, agenda.groups)]


cdef inline void look_through(Agenda* agenda, Py_ssize_t group) noexcept nogil:
    """Find the earliest of a group again."""
    cdef Py_ssize_t first = group << agenda.shift
    cdef Py_ssize_t row = first + earliest_of(agenda.due + first, 1 << agenda.shift)
    agenda.group_row[group] = row
    agenda.group_due[group] = agenda.due[row]


cdef inline void set_due(Agenda* agenda, Py_ssize_t row, double time) noexcept nogil:
    cdef Py_ssize_t group
    agenda.due[row] = time
    if agenda.groups == 0:
        return
    group = row >> agenda.shift
    if time < agenda.group_due[group] or (time == agenda.group_due[group] and row < agenda.group_row[group]):
        agenda.group_due[group] = time
        agenda.group_row[group] = row
    elif agenda.group_row[group] == row:
        look_through(agenda, group)
