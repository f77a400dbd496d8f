"""Publish, Republish and Read responses of OPC UA -> columns, straight from the bytes (OPC 10000-6, 5.2).

Every load is checked against the end of the bytes. A cursor that would go beyond gives zeros from then on and stays
failed: whoever loops or nests has to ask once. Lengths are checked before anything is made of that size.

Numbers and null go into the columns; the bytes of any other value are kept aside, with their end found by walking them.
Times: 100 ns ticks since 1601 become ns since 1970.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.math cimport NAN
from libc.stdint cimport INT64_MAX, INT64_MIN, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

import sys

import numpy as np

from uem.twin_core.errors import AdapterError

if sys.byteorder != "little":
    raise ImportError("uem.hardware_adapters.opcua.binary: the numbers of OPC UA are read as they lie, little-endian")

NO_TIME = INT64_MIN
BAD_TYPE_MISMATCH = 0x80740000

cdef int64_t TICKS_1601_TO_1970 = 116_444_736_000_000_000
cdef int64_t MOST_TICKS = 92_233_720_368_547_757  # from 1970, so that ns and the picoseconds after them fit

cdef enum:
    MISMATCH = 0x80740000
    BAD = 0x80000000
    OVERFLOW = 0x00000480
    OVERFLOW_MASK = 0x00000C80
    MOST_NUMBERS = 100_000  # sequence numbers or results in a message, of which a server has hundreds
    DEEPEST = 100  # nestings: as many as a decoder has to follow (OPC 10000-6, 5.1.2)

cdef enum:  # numeric identifiers of binary encodings in namespace 0
    PUBLISH_RESPONSE = 829
    REPUBLISH_RESPONSE = 835
    READ_RESPONSE = 634
    DATA_CHANGE = 811
    STATUS_CHANGE = 820
    OTHER = -1

cdef enum:  # built-in types (OPC 10000-6, 5.1.2)
    BOOLEAN = 1
    SBYTE = 2
    BYTE = 3
    INT16 = 4
    UINT16 = 5
    INT32 = 6
    UINT32 = 7
    INT64 = 8
    UINT64 = 9
    FLOAT = 10
    DOUBLE = 11
    STRING = 12
    DATE_TIME = 13
    GUID = 14
    BYTE_STRING = 15
    XML_ELEMENT = 16
    NODE_ID = 17
    EXPANDED_NODE_ID = 18
    STATUS_CODE = 19
    QUALIFIED_NAME = 20
    LOCALIZED_TEXT = 21
    EXTENSION_OBJECT = 22
    DATA_VALUE = 23
    VARIANT = 24
    DIAGNOSTIC_INFO = 25

cdef struct Cursor:
    const uint8_t* at
    const uint8_t* end
    const uint8_t* failed  # where, or NULL

cdef struct Rows:  # where the columns lie
    uint32_t* handle
    double* value
    uint32_t* quality
    int64_t* source
    int64_t* server

# Bytes of a value by built-in type, -1 where they differ from value to value.
cdef int8_t[26] SIZE = [0, 1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, -1, 8, 16, -1, -1, -1, -1, 4, -1, -1, -1, -1, -1, -1]
# By number type: whether it has a sign, and which reading of the bits is its value.
cdef uint8_t[12] SIGNED = [0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0]
cdef uint8_t[12] READING = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]


# --- loads ---

cdef inline void fail(Cursor* c) noexcept nogil:
    if c.failed == NULL:
        c.failed = c.at
    c.at = c.end


cdef inline void load(Cursor* c, void* to, Py_ssize_t size) noexcept nogil:
    if c.end - c.at < size:
        fail(c)
    else:
        memcpy(to, c.at, size)
        c.at += size


cdef inline uint8_t u8(Cursor* c) noexcept nogil:
    cdef uint8_t x = 0
    load(c, &x, 1)
    return x


cdef inline uint16_t u16(Cursor* c) noexcept nogil:
    cdef uint16_t x = 0
    load(c, &x, 2)
    return x


cdef inline uint32_t u32(Cursor* c) noexcept nogil:
    cdef uint32_t x = 0
    load(c, &x, 4)
    return x


cdef inline int32_t i32(Cursor* c) noexcept nogil:
    cdef int32_t x = 0
    load(c, &x, 4)
    return x


cdef inline int64_t i64(Cursor* c) noexcept nogil:
    cdef int64_t x = 0
    load(c, &x, 8)
    return x


@cython.overflowcheck(False)  # shifts lose bits
cdef inline double number(Cursor* c, uint8_t kind) noexcept nogil:
    """A scalar of a type that is a number, BOOLEAN to DOUBLE.

    Which type comes next is chance to a processor, so that every branch by type would be foreseen wrongly: the bits are
    read in all ways, and one of them is taken.
    """
    cdef double[3] readings
    cdef uint64_t bits = 0
    cdef uint32_t single = 0
    cdef float single_value = 0.0
    cdef int64_t whole
    cdef int unused = 64 - 8 * SIZE[kind]
    if c.end - c.at >= 8:
        memcpy(&bits, c.at, 8)
        c.at += SIZE[kind]
    else:
        load(c, &bits, SIZE[kind])
    bits = bits << unused
    whole = <int64_t>bits >> unused if SIGNED[kind] else <int64_t>(bits >> unused)
    bits = bits >> unused
    whole = bits != 0 if kind == BOOLEAN else whole
    single = <uint32_t>bits if kind == FLOAT else 0  # other bits may be a denormal, which takes long
    memcpy(&single_value, &single, 4)
    readings[0] = <double>whole if kind != UINT64 else <double>bits
    readings[1] = single_value
    memcpy(&readings[2], &bits, 8)
    return readings[READING[kind]]


cdef inline int64_t time_ns(Cursor* c) noexcept nogil:
    cdef int64_t ticks = i64(c)
    if ticks <= 0 or ticks == INT64_MAX:  # "no time" and "later than every time"
        return INT64_MIN
    ticks -= TICKS_1601_TO_1970
    return ticks * 100 if -MOST_TICKS <= ticks <= MOST_TICKS else INT64_MIN


cdef inline int64_t picoseconds(Cursor* c, int64_t t_ns) noexcept nogil:
    """The time with the whole ns of its picoseconds, which are counted in tens; more than 9999 of them are 9999."""
    cdef int64_t tens = u16(c)
    return t_ns if t_ns == INT64_MIN else t_ns + min(tens, 9999) // 100


# --- what is walked over ---

cdef inline void skip(Cursor* c, Py_ssize_t size) noexcept nogil:
    if c.end - c.at < size:
        fail(c)
    else:
        c.at += size


cdef inline Py_ssize_t length(Cursor* c, Py_ssize_t least_size) noexcept nogil:
    """Length of an array or a string whose elements take at least `least_size` bytes; -1 if it is null."""
    cdef Py_ssize_t n = i32(c)
    if n < -1 or n * least_size > c.end - c.at:
        fail(c)
        return 0
    return n


cdef inline Py_ssize_t count(Cursor* c, Py_ssize_t least_size) noexcept nogil:
    return max(length(c, least_size), 0)


cdef inline void skip_string(Cursor* c) noexcept nogil:
    skip(c, count(c, 1))


cdef int64_t node_id(Cursor* c) noexcept nogil:
    """Numeric identifier of a node of namespace 0, OTHER for any other."""
    cdef uint8_t encoding = u8(c)
    cdef uint8_t kind = encoding & 0x3F
    cdef int64_t identifier = OTHER
    cdef uint16_t namespace = 0
    if kind == 0:
        identifier = u8(c)
    elif kind == 1:
        namespace = u8(c)
        identifier = u16(c)
    elif kind == 2:
        namespace = u16(c)
        identifier = u32(c)
    elif kind == 3 or kind == 5:
        skip(c, 2)
        skip_string(c)
    elif kind == 4:
        skip(c, 18)
    else:
        fail(c)
    if encoding & 0x80:  # namespace as text
        skip_string(c)
    if encoding & 0x40:  # another server
        skip(c, 4)
    return identifier if namespace == 0 and encoding == kind and c.failed == NULL else OTHER


cdef void skip_diagnostics(Cursor* c, int depth) noexcept nogil:
    cdef uint8_t mask = u8(c)
    cdef int bit
    for bit in range(4):
        if mask >> bit & 1:
            skip(c, 4)
    if mask & 0x10:
        skip_string(c)
    if mask & 0x20:
        skip(c, 4)
    if mask & 0x40:
        if depth == DEEPEST:
            fail(c)
        else:
            skip_diagnostics(c, depth + 1)


cdef void skip_extension_object(Cursor* c) noexcept nogil:
    node_id(c)
    if u8(c) != 0:
        skip_string(c)


cdef void skip_data_value(Cursor* c, int depth) noexcept nogil:
    cdef uint8_t mask = u8(c)
    if mask & 0x01:
        skip_variant(c, u8(c), depth)
    if mask & 0x02:
        skip(c, 4)
    if mask & 0x04:
        skip(c, 8)
    if mask & 0x10:
        skip(c, 2)
    if mask & 0x08:
        skip(c, 8)
    if mask & 0x20:
        skip(c, 2)


cdef inline Py_ssize_t size_of(uint8_t kind) noexcept nogil:
    return SIZE[kind] if kind <= DIAGNOSTIC_INFO else -1


cdef void skip_value(Cursor* c, uint8_t kind, int depth) noexcept nogil:
    cdef uint8_t mask
    if size_of(kind) >= 0:
        skip(c, size_of(kind))
    elif kind == NODE_ID or kind == EXPANDED_NODE_ID:
        node_id(c)
    elif kind == QUALIFIED_NAME:
        skip(c, 2)
        skip_string(c)
    elif kind == LOCALIZED_TEXT:
        mask = u8(c)
        if mask & 0x01:
            skip_string(c)
        if mask & 0x02:
            skip_string(c)
    elif kind == EXTENSION_OBJECT:
        skip_extension_object(c)
    elif kind == DATA_VALUE:
        skip_data_value(c, depth)
    elif kind == VARIANT:
        skip_variant(c, u8(c), depth)
    elif kind == DIAGNOSTIC_INFO:
        skip_diagnostics(c, depth)
    else:  # text, bytes, XML, and the numbers above 25, which are bytes
        skip_string(c)


cdef void skip_variant(Cursor* c, uint8_t encoding, int depth) noexcept nogil:
    """Walk over a variant whose first byte is read."""
    cdef uint8_t kind = encoding & 0x3F
    cdef Py_ssize_t size = size_of(kind)
    cdef Py_ssize_t i, n
    if depth == DEEPEST:
        fail(c)
        return
    if encoding & 0x80:
        n = count(c, max(size, 1))
        if size >= 0:
            skip(c, n * size)
        else:
            for i in range(n):
                if c.failed != NULL:
                    break
                skip_value(c, kind, depth + 1)
    else:
        skip_value(c, kind, depth + 1)
    if encoding & 0x40:  # dimensions
        skip(c, 4 * count(c, 4))


# --- columns ---

cdef class Columns:
    """Room for rows of values that grows and is used again: what is read from it lasts until the next message."""

    cdef Py_ssize_t rows, room
    cdef Rows to
    cdef object arrays
    cdef dict kept
    cdef uint32_t highest, with_overflow  # handle, and whether a row tells that values before it were lost
    cdef int64_t latest  # source time
    cdef bint in_order  # by source time, which no row lacks

    def __init__(self):
        self.clear()
        self.grow(0)

    @property
    def handle(self):
        return self.arrays[0][: self.rows]

    @property
    def value(self):
        return self.arrays[1][: self.rows]

    @property
    def quality(self):
        return self.arrays[2][: self.rows]

    @property
    def source_time_ns(self):
        return self.arrays[3][: self.rows]

    @property
    def server_time_ns(self):
        return self.arrays[4][: self.rows]

    @property
    def others(self):
        return self.kept

    @property
    def has_overflow(self):
        return self.with_overflow != 0

    def scaled(self, const double[::1] scale not None, const double[::1] offset not None):
        cdef Py_ssize_t row, n = self.rows
        cdef uint32_t[::1] tag, quality
        cdef int64_t[::1] time
        cdef double[::1] value
        cdef Rows of = self.to
        if scale.shape[0] != offset.shape[0]:
            raise ValueError(f"{scale.shape[0]} scales and {offset.shape[0]} offsets")
        if not self.in_order or n == 0 or self.highest >= scale.shape[0]:
            return None
        arrays = tuple([np.empty(n, kind) for kind in (np.uint32, np.int64, np.float64, np.uint32)])
        tag, time, value, quality = arrays
        for row in range(n):
            tag[row] = of.handle[row]
            time[row] = of.source[row]
            value[row] = scale[of.handle[row]] * of.value[row] + offset[of.handle[row]]
            quality[row] = of.quality[row]
        return arrays

    cdef void clear(self):
        self.rows = 0
        self.kept = {}
        self.highest = self.with_overflow = 0
        self.latest = INT64_MIN
        self.in_order = True

    cdef int grow(self, Py_ssize_t more) except -1:
        """Make room for `more` rows."""
        cdef uint32_t[::1] handle, quality
        cdef double[::1] value
        cdef int64_t[::1] source, server
        if self.arrays is not None and self.rows + more <= self.room:
            return 0
        cdef Py_ssize_t room = max(self.rows + more, 2 * self.room, 1)
        arrays = [np.empty(room, kind) for kind in (np.uint32, np.float64, np.uint32, np.int64, np.int64)]
        if self.rows:
            for new, old in zip(arrays, self.arrays, strict=True):
                new[: self.rows] = old[: self.rows]
        handle, value, quality, source, server = arrays
        self.to = Rows(&handle[0], &value[0], &quality[0], &source[0], &server[0])
        self.arrays, self.room = arrays, room
        return 0


cdef int data_values(Cursor* c, Columns columns, Py_ssize_t n, bint with_handle) except -1:
    """Append `n` data values, each after its handle."""
    cdef Rows to
    cdef Py_ssize_t row
    cdef uint8_t mask, encoding
    cdef uint32_t status, mismatch
    cdef int64_t source, server, latest = columns.latest
    cdef bint in_order = columns.in_order
    cdef uint32_t highest = columns.highest, with_overflow = columns.with_overflow
    cdef const uint8_t* begin
    columns.grow(n)
    to = columns.to
    for row in range(columns.rows, columns.rows + n):
        to.handle[row] = u32(c) if with_handle else 0
        mask = u8(c)
        to.value[row] = NAN
        mismatch = 0
        if mask & 0x01:
            begin = c.at
            encoding = u8(c)
            if BOOLEAN <= encoding <= DOUBLE:
                to.value[row] = number(c, encoding)
            elif encoding != 0:  # null is no mismatch: the status says why
                mismatch = MISMATCH
                skip_variant(c, encoding, 0)
                if c.failed == NULL:
                    columns.kept[row] = PyBytes_FromStringAndSize(<const char*>begin, c.at - begin)
        status = u32(c) if mask & 0x02 else 0
        source = time_ns(c) if mask & 0x04 else INT64_MIN
        if mask & 0x10:
            source = picoseconds(c, source)
        server = time_ns(c) if mask & 0x08 else INT64_MIN
        if mask & 0x20:
            server = picoseconds(c, server)
        to.quality[row] = mismatch if mismatch and not status & BAD else status
        to.source[row] = source
        to.server[row] = server
        highest = max(highest, to.handle[row])
        with_overflow |= (to.quality[row] & OVERFLOW_MASK) == OVERFLOW
        in_order &= latest <= source and source != INT64_MIN
        latest = source
        if c.failed != NULL:
            return 0
    columns.rows += n
    columns.highest, columns.with_overflow = highest, with_overflow
    columns.latest, columns.in_order = latest, in_order
    return 0


# --- messages ---

cdef Cursor beginning(const uint8_t[::1] body, str what) except *:
    cdef Cursor c
    if body.shape[0] == 0:
        raise AdapterError(f"the server sent a malformed {what}: it is empty")
    c.at = &body[0]
    c.end = c.at + body.shape[0]
    c.failed = NULL
    return c


cdef int check(Cursor* c, const uint8_t[::1] body, str what) except -1:
    if c.failed != NULL:
        at = c.failed - &body[0]
        raise AdapterError(f"the server sent a malformed {what}: it is wrong or ends at byte {at} of {body.shape[0]}")
    return 0


cdef uint32_t header(Cursor* c, int64_t expected, str what) except? 0xFFFFFFFF:
    """Walk over the header of a response; the result of the service."""
    cdef int64_t kind = node_id(c)
    cdef uint32_t result
    cdef Py_ssize_t i
    if kind != expected and c.failed == NULL:
        raise AdapterError(f"the server sent a malformed {what}: it has type {kind}")
    skip(c, 12)  # time of the response and request handle
    result = u32(c)
    skip_diagnostics(c, 0)
    for i in range(count(c, 4)):
        skip_string(c)
    skip_extension_object(c)
    return result


cdef list numbers(Cursor* c):
    cdef Py_ssize_t i, n = count(c, 4)
    if n > MOST_NUMBERS:
        fail(c)
    return [u32(c) for i in range(n if c.failed == NULL else 0)]


cdef void skip_all_diagnostics(Cursor* c) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count(c, 1)):
        skip_diagnostics(c, 0)


cdef int notification_data(Cursor* c, Columns columns, list status_changes) except -1:
    """One part of a notification message."""
    cdef int64_t kind = node_id(c)
    cdef Cursor inside
    if u8(c) == 0:
        return 0
    cdef Py_ssize_t size = length(c, 1)
    inside = c[0]
    if size >= 0:
        inside.end = c.at + size
    if kind == DATA_CHANGE:
        data_values(&inside, columns, count(&inside, 5), True)
        if size < 0:
            skip_all_diagnostics(&inside)
    elif kind == STATUS_CHANGE:
        status_changes.append(u32(&inside))
        if size < 0:
            skip_diagnostics(&inside, 0)
    elif size < 0:
        fail(&inside)
    c.failed = inside.failed
    c.at = inside.at if size < 0 or inside.failed != NULL else inside.end
    return 0


cdef tuple notification_message(Cursor* c, Columns columns):
    """Sequence number, number of parts, status changes of the subscription; the values go into `columns`."""
    cdef uint32_t sequence = u32(c)
    cdef Py_ssize_t i, parts
    cdef list status_changes = []
    skip(c, 8)  # when it was published
    parts = count(c, 3)
    for i in range(parts):
        if c.failed == NULL:
            notification_data(c, columns, status_changes)
    return sequence, parts, status_changes


def publish_response(const uint8_t[::1] body not None, Columns columns not None):
    """Read a PublishResponse into `columns`.

    Returns:
        Result of the service, subscription, sequence numbers that can be sent again, whether more is waiting, result of
        each acknowledgement; sequence number, number of parts, status changes of the subscription. If the service
        failed, only the first counts.

    Raises:
        AdapterError: it is not one, or it is cut short or malformed.
    """
    cdef Cursor c = beginning(body, "publish response")
    cdef uint32_t result, subscription
    cdef bint more
    columns.clear()
    result = header(&c, PUBLISH_RESPONSE, "publish response")
    check(&c, body, "publish response")
    if result & BAD:
        return result, 0, [], False, [], 0, 0, []
    subscription = u32(&c)
    available = numbers(&c)
    more = u8(&c) != 0
    message = notification_message(&c, columns)
    acknowledged = numbers(&c)
    skip_all_diagnostics(&c)
    check(&c, body, "publish response")
    return (result, subscription, available, more, acknowledged, *message)


def republish_response(const uint8_t[::1] body not None, Columns columns not None):
    """Read a RepublishResponse into `columns`.

    Returns:
        Result of the service, sequence number, number of parts, status changes of the subscription. If the service
        failed, only the first counts.

    Raises:
        AdapterError: it is not one, or it is cut short or malformed.
    """
    cdef Cursor c = beginning(body, "republish response")
    cdef uint32_t result
    columns.clear()
    result = header(&c, REPUBLISH_RESPONSE, "republish response")
    check(&c, body, "republish response")
    if result & BAD:
        return result, 0, 0, []
    message = notification_message(&c, columns)
    check(&c, body, "republish response")
    return (result, *message)


def read_response(const uint8_t[::1] body not None, Columns columns not None, Py_ssize_t most_rows):
    """Read a ReadResponse of at most `most_rows` into `columns`; the result of the service.

    A row may take one byte there and takes 32 here, so that the sender must not choose how many there are.

    Raises:
        AdapterError: it is not one, or it is cut short or malformed.
    """
    cdef Cursor c = beginning(body, "read response")
    cdef uint32_t result
    cdef Py_ssize_t rows
    columns.clear()
    result = header(&c, READ_RESPONSE, "read response")
    check(&c, body, "read response")
    if not result & BAD:
        rows = count(&c, 1)
        if rows > most_rows:
            raise AdapterError(f"the server sent a malformed read response: {rows} values where {most_rows} were asked")
        data_values(&c, columns, rows, False)
        skip_all_diagnostics(&c)
        check(&c, body, "read response")
    return result
