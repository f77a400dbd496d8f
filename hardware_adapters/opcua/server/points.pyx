"""Values of an OPC UA server as columns, and what monitored items make of them (OPC 10000-4, 5.13).

A `Point` is a numeric variable. One call of `Points.write` takes all values of a tick and offers each to the items that
monitor it: sampling interval, filter, queue. `Items.encode` writes a DataChangeNotification straight from the queues.

The queues of a subscription are one log in the order of arrival, in which the rows of an item are chained: an item that
rarely changes costs nothing, and what a client gets is in order of time across all points as well.

Times come in as ns since 1970 and lie here as OPC UA has them, 100 ns ticks since 1601, in whole microseconds: that is
what the library can tell in a Read, so that all services tell the same.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.math cimport fabs
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

import sys

import numpy as np

from uem.twin_core.errors import InvalidInput

if sys.byteorder != "little":
    raise ImportError("uem.hardware_adapters.opcua.server.points: the numbers of OPC UA are written as they lie")

BOOLEAN, INT32, UINT32, FLOAT, DOUBLE = 1, 6, 7, 10, 11

DISABLED, SAMPLING, REPORTING = 0, 1, 2  # MonitoringMode
STATUS, STATUS_VALUE, STATUS_VALUE_TIMESTAMP = 0, 1, 2  # DataChangeTrigger
SOURCE, SERVER, BOTH, NEITHER = 0, 1, 2, 3  # TimestampsToReturn

cdef int64_t TICKS_1601_TO_1970 = 116_444_736_000_000_000

cdef enum:
    BAD = 0x80000000
    OVERFLOW = 0x00000480  # of a data value, and at least one value beside this one was lost
    MODE_DISABLED = 0
    MODE_REPORTING = 2
    MOST_BYTES = 38  # handle, mask, type, value, status, two times
    NONE = -1

cdef struct Row:
    double value
    int64_t source
    int64_t server
    uint32_t quality
    int32_t item  # NONE: dropped
    int32_t next  # row of the same item

cdef struct Item:
    double deadband  # absolute; 0 for none
    Row last  # the last that went through the filter
    Row held  # the newest, until it is time to sample it
    int64_t sampling  # ticks
    int64_t due
    uint32_t handle
    uint32_t size  # of the queue
    uint32_t queued
    int32_t point  # NONE: free
    int32_t next  # item of the same point
    int32_t head
    int32_t tail
    uint8_t mode
    uint8_t trigger
    uint8_t times
    bint discard_oldest
    bint began
    bint holds


cdef inline int64_t ticks(int64_t t_ns) noexcept nogil:
    """100 ns ticks since 1601, in whole microseconds."""
    cdef int64_t us = t_ns // 1000 if t_ns >= 0 else -((999 - t_ns) // 1000)  # down in both directions
    return us * 10 + TICKS_1601_TO_1970


cdef inline bint differs(double a, double b) noexcept nogil:
    return a != b and not (a != a and b != b)


cdef inline bint passes(const Item* item, const Row* row) noexcept nogil:
    """Whether a row is reported (OPC 10000-4, 7.22.2). A deadband is held against the last value that was."""
    cdef double step
    if not item.began or row.quality != item.last.quality:
        return True
    if item.trigger == 0 or row.quality & BAD:
        return item.trigger == 2 and row.source != item.last.source
    if item.deadband > 0.0:
        step = fabs(row.value - item.last.value)
        return step > item.deadband or (step != step and differs(row.value, item.last.value))
    return differs(row.value, item.last.value) or (item.trigger == 2 and row.source != item.last.source)


cdef class Points:
    """The newest value of each point, and who monitors them."""

    cdef readonly Py_ssize_t count
    cdef object arrays
    cdef double[::1] value
    cdef uint32_t[::1] quality
    cdef int64_t[::1] source
    cdef int64_t[::1] server
    cdef uint8_t[::1] kind
    cdef list listeners

    def __init__(self, kinds, int64_t time_ns, uint32_t quality, int64_t now_ns):
        """Points of the built-in types `kinds` (points,), BOOLEAN, INT32, UINT32, FLOAT or DOUBLE; all 0 of `quality`."""
        kinds = np.array(kinds, np.uint8).reshape(-1)
        if not np.isin(kinds, (BOOLEAN, INT32, UINT32, FLOAT, DOUBLE)).all():
            raise InvalidInput(f"points of the types {sorted(set(kinds.tolist()))}: only 1, 6, 7, 10 and 11 are known")
        self.count = len(kinds)
        self.value, self.quality = np.zeros(self.count), np.full(self.count, quality, np.uint32)
        self.source = np.full(self.count, ticks(time_ns), np.int64)
        self.server = np.full(self.count, ticks(now_ns), np.int64)
        self.kind = kinds
        self.listeners = []

    def read(self, Py_ssize_t point):
        """(value, quality, source time, server time) of a point; times in us since 1970."""
        if not 0 <= point < self.count:
            raise IndexError(point)
        return (
            self.value[point],
            self.quality[point],
            (self.source[point] - TICKS_1601_TO_1970) // 10,
            (self.server[point] - TICKS_1601_TO_1970) // 10,
        )

    def write(
        self,
        const int64_t[::1] point not None,
        const double[::1] value not None,
        const uint32_t[::1] quality not None,
        const int64_t[::1] source_time_ns not None,
        int64_t now_ns,
    ):
        """Write rows, in their order, and offer them to the items; `now_ns` becomes the server time.

        All columns have shape (rows,), or `source_time_ns` (1,) for all of them.
        """
        cdef Py_ssize_t i, at, n = point.shape[0]
        cdef bint each = source_time_ns.shape[0] != 1
        cdef int64_t now = ticks(now_ns)
        cdef Items items
        cdef list listeners = self.listeners
        if not (value.shape[0] == quality.shape[0] == n and (not each or source_time_ns.shape[0] == n)):
            raise InvalidInput(
                f"columns of {n}, {value.shape[0]}, {quality.shape[0]} and {source_time_ns.shape[0]} rows"
            )
        for i in range(n):
            if not 0 <= point[i] < self.count:
                raise InvalidInput(f"point {point[i]}: there are {self.count}")
        for i in range(n):
            at = point[i]
            self.value[at] = value[i]
            self.quality[at] = quality[i]
            self.source[at] = ticks(source_time_ns[i if each else 0])
            self.server[at] = now
            for items in listeners:
                items.offer(at)

    def subscribe(self, Items items not None):
        """Offer what is written to `items` from now on."""
        self.listeners.append(items)

    def unsubscribe(self, Items items not None):
        """Offer nothing more to `items`."""
        self.listeners = [other for other in self.listeners if other is not items]


cdef class Items:
    """The monitored items of one subscription, and the rows that they have queued."""

    cdef Points points
    cdef Item* items
    cdef Row* rows
    cdef int32_t* first  # item of each point
    cdef Py_ssize_t items_room, rows_room
    cdef int32_t items_end, rows_end
    cdef Py_ssize_t alive, ready  # queued rows, and those of items that report
    cdef list vacant
    cdef Py_ssize_t holding

    def __cinit__(self, Points points not None):
        cdef Py_ssize_t i
        self.points = points
        self.vacant = []
        self.first = <int32_t*>malloc(max(points.count, 1) * sizeof(int32_t))
        if self.first == NULL:
            raise MemoryError
        for i in range(points.count):
            self.first[i] = NONE

    def __dealloc__(self):
        free(self.items)
        free(self.rows)
        free(self.first)

    cdef Item* item(self, int32_t which) except NULL:
        if not (0 <= which < self.items_end and self.items[which].point != NONE):
            raise IndexError(which)
        return &self.items[which]

    def add(
        self,
        Py_ssize_t point,
        uint32_t handle,
        *,
        int mode=REPORTING,
        uint32_t size=1,
        bint discard_oldest=True,
        int trigger=STATUS_VALUE,
        double deadband=0.0,
        double sampling_ms=0.0,
        int times=BOTH,
        int64_t now_ns=0,
    ):
        """A new item and its number. Its first row is the newest value of the point.

        `deadband` is absolute; `sampling_ms` 0 takes every row that is written, else the first instant is `now_ns`.
        """
        cdef int32_t which
        cdef Item* item
        if not 0 <= point < self.points.count:
            raise IndexError(point)
        if self.vacant:
            which = self.vacant.pop()
        else:
            which = self.items_end
            if which == self.items_room:
                self.grow_items()
            self.items_end += 1
        item = &self.items[which]
        item.point, item.next, self.first[point] = point, self.first[point], which
        item.queued, item.head, item.tail = 0, NONE, NONE
        item.began = item.holds = False
        item.mode = MODE_DISABLED
        self.change(which, handle, size, discard_oldest, trigger, deadband, sampling_ms, times)
        self.set_mode(which, mode, now_ns)
        return which

    def change(
        self,
        int32_t which,
        uint32_t handle,
        uint32_t size,
        bint discard_oldest,
        int trigger,
        double deadband,
        double sampling_ms,
        int times,
    ):
        """Give an item other parameters; a queue that became too long loses rows as if it had overflowed."""
        cdef Item* item = self.item(which)
        item.handle, item.size, item.discard_oldest = handle, max(size, 1), discard_oldest
        item.trigger, item.deadband, item.times = trigger, deadband, times
        item.sampling = <int64_t>(sampling_ms * 1e4)
        item.due = 0
        while item.queued > item.size:
            self.drop(item)

    def set_mode(self, int32_t which, int mode, int64_t now_ns=0):
        """A disabled item has no queue; one that is enabled begins with the newest value of the point."""
        cdef Item* item = self.item(which)
        cdef bint began = item.mode == MODE_DISABLED and mode != MODE_DISABLED
        if item.mode == MODE_REPORTING:
            self.ready -= item.queued
        item.mode = mode
        if item.mode == MODE_REPORTING:
            self.ready += item.queued
        if mode == MODE_DISABLED:
            self.clear(item)
        elif began:
            self.begin(item, now_ns)

    def repeat(self, int32_t which, int64_t now_ns=0):
        """Queue the newest value of an item's point whether it changed or not."""
        cdef Item* item = self.item(which)
        if item.mode != MODE_DISABLED:
            self.begin(item, now_ns)

    def remove(self, int32_t which):
        """Delete an item and what it has queued."""
        cdef Item* item = self.item(which)
        cdef int32_t* link = &self.first[item.point]
        self.set_mode(which, MODE_DISABLED)
        while link[0] != which:
            link = &self.items[link[0]].next
        link[0] = item.next
        item.point = NONE
        self.vacant.append(which)

    cdef int begin(self, Item* item, int64_t now_ns) except -1:
        item.began, item.due = False, 0
        self.take(item)
        item.due = max(item.due, ticks(now_ns) + item.sampling)
        return 0

    cdef int grow_items(self) except -1:
        cdef Py_ssize_t room = max(2 * self.items_room, 64)
        items = <Item*>realloc(self.items, room * sizeof(Item))
        if items == NULL:
            raise MemoryError
        self.items, self.items_room = items, room
        return 0

    cdef inline int offer(self, Py_ssize_t point) except -1:
        cdef int32_t which = self.first[point]
        while which != NONE:
            if self.items[which].mode != MODE_DISABLED:
                self.take(&self.items[which])
            which = self.items[which].next
        return 0

    cdef int take(self, Item* item) except -1:
        """Sample the newest value of its point, now or when it is due."""
        cdef Row row
        cdef Points points = self.points
        cdef Py_ssize_t point = item.point
        row.value, row.quality = points.value[point], points.quality[point]
        row.source, row.server = points.source[point], points.server[point]
        if item.sampling == 0:
            return self.sampled(item, &row)
        if item.holds:
            self.settle(item, row.server)
        if row.server >= item.due:
            item.due = row.server + item.sampling
            return self.sampled(item, &row)
        if not item.holds:
            self.holding += 1
        item.holds, item.held = True, row
        return 0

    cdef int settle(self, Item* item, int64_t now) except -1:
        """Take the held row if its time to be sampled has come."""
        if now < item.due:
            return 0
        item.holds = False
        self.holding -= 1
        item.due += ((now - item.due) // item.sampling + 1) * item.sampling if item.sampling else 0
        return self.sampled(item, &item.held)

    cdef int sampled(self, Item* item, const Row* row) except -1:
        if not passes(item, row):
            return 0
        item.began, item.last = True, row[0]
        if item.queued >= item.size:
            if item.discard_oldest or item.size == 1:
                self.drop(item)
            else:
                self.replace_newest(item, row)
                return 0
        return self.append(item, row)

    cdef void replace_newest(self, Item* item, const Row* row) noexcept:
        cdef Row* newest = &self.rows[item.tail]
        newest.value, newest.source, newest.server = row.value, row.source, row.server
        newest.quality = row.quality | OVERFLOW

    cdef int append(self, Item* item, const Row* row) except -1:
        cdef int32_t which = <int32_t>(item - self.items)
        cdef Row* new
        if self.rows_end == self.rows_room:
            self.make_room()
        new = &self.rows[self.rows_end]
        new[0] = row[0]
        new.item, new.next = which, NONE
        if item.queued:
            self.rows[item.tail].next = self.rows_end
        else:
            item.head = self.rows_end
        item.tail = self.rows_end
        item.queued += 1
        self.rows_end += 1
        self.alive += 1
        self.ready += item.mode == MODE_REPORTING
        return 0

    cdef void drop(self, Item* item) noexcept:
        """Drop the oldest row; the one behind it tells of it, but not in a queue of one, which is only the newest."""
        cdef Row* oldest = &self.rows[item.head]
        item.head = oldest.next
        oldest.item = NONE
        item.queued -= 1
        self.alive -= 1
        self.ready -= item.mode == MODE_REPORTING
        if item.size > 1 and item.queued:
            self.rows[item.head].quality |= OVERFLOW

    cdef void clear(self, Item* item) noexcept:
        if item.holds:
            self.holding -= 1
        item.holds = False
        while item.queued:
            self.rows[item.head].item = NONE
            item.head = self.rows[item.head].next
            item.queued -= 1
            self.alive -= 1

    cdef int make_room(self) except -1:
        """Close up over the dropped rows; when they are few, have twice the room."""
        cdef Py_ssize_t room
        if 2 * self.alive >= self.rows_room:
            room = max(2 * self.rows_room, 256)
            if room > 0x7FFFFFFF:
                raise MemoryError
            rows = <Row*>realloc(self.rows, room * sizeof(Row))
            if rows == NULL:
                raise MemoryError
            self.rows, self.rows_room = rows, room
        self.close_up(0)
        return 0

    cdef void close_up(self, int32_t begin) noexcept:
        """Move the rows from `begin` on to the front, all there are, and chain them anew."""
        cdef int32_t at, to = 0
        cdef Item* item
        for at in range(begin, self.rows_end):
            if self.rows[at].item == NONE:
                continue
            item = &self.items[self.rows[at].item]
            if item.head == at:
                item.head = to
            else:  # the tail is the row of this item that was moved last
                self.rows[item.tail].next = to
            item.tail = to
            self.rows[to] = self.rows[at]
            self.rows[to].next = NONE
            to += 1
        self.rows_end = to

    @property
    def queued(self):
        """Rows that wait to be published."""
        return self.ready

    def settle_until(self, int64_t now_ns):
        """Sample what is due by now; to be called before each publishing."""
        cdef int64_t now = ticks(now_ns)
        cdef int32_t which
        if self.holding == 0:
            return
        for which in range(self.items_end):
            if self.items[which].point != NONE and self.items[which].holds:
                self.settle(&self.items[which], now)

    def encode(self, Py_ssize_t most):
        """Take up to `most` rows of the items that report; the body of a DataChangeNotification (OPC 10000-4, 7.25.2)."""
        cdef Py_ssize_t n = min(self.ready, most)
        cdef uint8_t* buffer = <uint8_t*>malloc(8 + n * MOST_BYTES)
        cdef uint8_t* at
        cdef int32_t left = <int32_t>n, none = NONE
        cdef int32_t row
        cdef Item* item
        if buffer == NULL:
            raise MemoryError
        memcpy(buffer, &left, 4)
        at = buffer + 4
        row = 0
        while left:
            if self.rows[row].item != NONE:
                item = &self.items[self.rows[row].item]
                if item.mode == MODE_REPORTING:
                    at = self.encode_row(at, item, &self.rows[row])
                    item.head = self.rows[row].next
                    item.queued -= 1
                    self.rows[row].item = NONE
                    left -= 1
            row += 1
        memcpy(at, &none, 4)  # no diagnostics
        self.alive -= n
        self.ready -= n
        self.close_up(0 if self.alive else self.rows_end)
        try:
            return PyBytes_FromStringAndSize(<const char*>buffer, at + 4 - buffer)
        finally:
            free(buffer)

    cdef inline uint8_t* encode_row(self, uint8_t* at, const Item* item, const Row* row) noexcept nogil:
        memcpy(at, &item.handle, 4)
        return encode_data_value(at + 4, self.points.kind[item.point], row, item.times)


def history_data(
    int kind,
    const double[::1] value not None,
    const uint32_t[::1] quality not None,
    const int64_t[::1] source not None,
    const int64_t[::1] server not None,
    int times,
):
    """The body of a HistoryData (OPC 10000-11, 6.6.2) from columns (rows,) of one point; times in ticks."""
    cdef int32_t n = <int32_t>value.shape[0]
    cdef uint8_t* buffer
    cdef uint8_t* at
    cdef Row row
    cdef int32_t i
    if not quality.shape[0] == source.shape[0] == server.shape[0] == n:
        raise InvalidInput(f"columns of {n}, {quality.shape[0]}, {source.shape[0]} and {server.shape[0]} rows")
    buffer = <uint8_t*>malloc(4 + n * MOST_BYTES)
    if buffer == NULL:
        raise MemoryError
    memcpy(buffer, &n, 4)
    at = buffer + 4
    for i in range(n):
        row.value, row.quality, row.source, row.server = value[i], quality[i], source[i], server[i]
        at = encode_data_value(at, <uint8_t>kind, &row, <uint8_t>times)
    try:
        return PyBytes_FromStringAndSize(<const char*>buffer, at - buffer)
    finally:
        free(buffer)


cdef uint8_t* encode_data_value(uint8_t* at, uint8_t kind, const Row* row, uint8_t times) noexcept nogil:
    """A DataValue (OPC 10000-6, 5.2.2.17); a bad one has no value."""
    cdef bint with_value = not row.quality & BAD
    cdef bint with_source = times == 0 or times == 2
    cdef bint with_server = times == 1 or times == 2
    at[0] = with_value | (row.quality != 0) << 1 | with_source << 2 | with_server << 3
    at += 1
    if with_value:
        at[0] = kind
        at = encode_value(at + 1, kind, row.value)
    if row.quality:
        memcpy(at, &row.quality, 4)
        at += 4
    if with_source:
        memcpy(at, &row.source, 8)
        at += 8
    if with_server:
        memcpy(at, &row.server, 8)
        at += 8
    return at


cdef inline uint8_t* encode_value(uint8_t* at, uint8_t kind, double value) noexcept nogil:
    """The value as its type has it; a whole number is held within the type's range."""
    cdef float single
    cdef int32_t whole
    cdef uint32_t natural
    if kind == 11:
        memcpy(at, &value, 8)
        return at + 8
    if kind == 10:
        single = <float>value
        memcpy(at, &single, 4)
    elif kind == 6:
        whole = <int32_t>max(-2147483648.0, min(value, 2147483647.0)) if value == value else 0
        memcpy(at, &whole, 4)
    elif kind == 7:
        natural = <uint32_t>max(0.0, min(value, 4294967295.0)) if value == value else 0
        memcpy(at, &natural, 4)
    else:
        at[0] = value != 0.0
        return at + 1
    return at + 4
