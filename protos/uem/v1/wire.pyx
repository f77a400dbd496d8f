# cython: overflowcheck=False
# Shifts lose bits and pointers are subtracted, which checked arithmetic does not know; sizes are checked here.
"""Packed columns into and out of the bytes of a message, by memcpy.

A packed column of fixed width is a key, a length and the numbers as they lie in memory (protobuf encoding, "packed
repeated fields"). Here columns are taken out of a message, which leaves the bytes of a message without them, or put into
one; these other bytes are protobuf's own to read and to write. Whatever is not as protobuf itself writes it, is refused:
protobuf then has the word.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

import sys

import numpy as np

if sys.byteorder != "little":
    raise ImportError("uem.v1.wire: columns are copied as they lie, little-endian")

cdef enum:
    MOST_COLUMNS = 16
    LONGEST_KEY = 5  # bytes
    LONGEST_LENGTH = 5
    LONGEST_VARINT = 10

cdef enum:  # wire types
    VARINT = 0
    EIGHT_BYTES = 1
    SIZED = 2
    FOUR_BYTES = 5

cdef uint64_t MOST_BYTES = 2**31 - 1  # of a message

cdef struct Span:
    const uint8_t* begin
    const uint8_t* end

cdef struct Field:
    uint32_t number
    uint32_t wire_type
    Span whole  # with its key
    Span content  # of a sized field


cdef bint read_varint(Span* rest, int longest, uint64_t* found) noexcept nogil:
    """Read a number of at most `longest` bytes; False if it is longer, cut off, or wastes bytes."""
    cdef int i
    cdef uint8_t byte = 0
    found[0] = 0
    for i in range(longest):
        if rest.begin == rest.end:
            return False
        byte = rest.begin[0]
        rest.begin += 1
        found[0] |= <uint64_t>(byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return i == 0 or byte != 0
    return False


cdef uint8_t* write_varint(uint8_t* to, uint64_t number) noexcept nogil:
    while number > 0x7F:
        to[0] = <uint8_t>(number & 0x7F | 0x80)
        to += 1
        number >>= 7
    to[0] = <uint8_t>number
    return to + 1


cdef Py_ssize_t varint_size(uint64_t number) noexcept nogil:
    cdef Py_ssize_t size = 1
    while number > 0x7F:
        number >>= 7
        size += 1
    return size


cdef bint next_field(Span* rest, Field* field) noexcept nogil:
    """Take one field from the front of `rest`; False if it is a group, is cut off, or is written unusually."""
    cdef uint64_t number
    field.whole.begin = rest.begin
    if not read_varint(rest, LONGEST_KEY, &number) or number >> 32:
        return False
    field.number = <uint32_t>number >> 3
    field.wire_type = <uint32_t>number & 7
    if field.wire_type == VARINT:
        if not read_varint(rest, LONGEST_VARINT, &number):
            return False
        number = 0
    elif field.wire_type == SIZED:
        if not read_varint(rest, LONGEST_LENGTH, &number):
            return False
    elif field.wire_type == EIGHT_BYTES:
        number = 8
    elif field.wire_type == FOUR_BYTES:
        number = 4
    else:
        return False
    if number > <uint64_t>(rest.end - rest.begin):
        return False
    field.content.begin = rest.begin
    rest.begin += <Py_ssize_t>number
    field.content.end = rest.begin
    field.whole.end = rest.begin
    return True


cdef inline uint8_t* copy(uint8_t* to, const uint8_t* begin, const uint8_t* end) noexcept nogil:
    memcpy(to, begin, end - begin)
    return to + (end - begin)


cdef Span span_of(bytes data):
    cdef const uint8_t* begin = <const uint8_t*>PyBytes_AS_STRING(data)
    return Span(begin, begin + PyBytes_GET_SIZE(data))


cdef bint only_field(bytes data, uint32_t number, Field* found) noexcept:
    """Find the one field `number` of a message; begins at the end of `data` if it has none. False if unusual."""
    cdef Span rest = span_of(data)
    cdef Field field
    found.whole = found.content = Span(rest.end, rest.end)
    while rest.begin < rest.end:
        if not next_field(&rest, &field):
            return False
        if field.number == number:
            if field.wire_type != SIZED or found.whole.begin != found.whole.end:
                return False
            found[0] = field
    return True


cdef class Layout:
    """Where the columns of a message are: packed fields of the message in its field `part`.

    `numbers` are the fields, ascending; `kinds` the numpy dtypes of their columns.
    """

    cdef uint32_t part
    cdef int count
    cdef uint32_t[MOST_COLUMNS] numbers
    cdef Py_ssize_t[MOST_COLUMNS] widths
    cdef tuple kinds

    def __init__(self, uint32_t part, numbers, kinds):
        if not 1 <= len(numbers) == len(kinds) <= MOST_COLUMNS or sorted(set(numbers)) != list(numbers):
            raise ValueError(f"columns {list(numbers)} of {len(kinds)} kinds: 1 to {MOST_COLUMNS} fields, ascending")
        self.part = part
        self.count = len(numbers)
        self.kinds = tuple(np.dtype(kind) for kind in kinds)
        for i, number in enumerate(numbers):
            self.numbers[i] = number
            self.widths[i] = self.kinds[i].itemsize

    def take(self, bytes data not None):
        """(bytes of the message without its columns, list of columns); None if protobuf has to read this message."""
        cdef Field part
        cdef Span[MOST_COLUMNS] columns
        if not only_field(data, self.part, &part):
            return None
        for i in range(self.count):
            columns[i] = Span(NULL, NULL)
        rest = self.without(data, &part, columns)
        if rest is None:
            return None
        return rest, [self.array(i, columns[i]) for i in range(self.count)]

    cdef bytes without(self, bytes data, Field* part, Span* columns):
        """The bytes without the columns, whose contents are noted in `columns`; None if one of them is unusual."""
        cdef Span whole = span_of(data), rest = part.content
        cdef Span[MOST_COLUMNS + 1] kept  # what is around the columns
        cdef Field field
        cdef int i, found = 0
        cdef Py_ssize_t inner = 0, size
        cdef uint8_t* to
        if part.whole.begin == part.whole.end:
            return data
        kept[0] = Span(rest.begin, rest.begin)
        while rest.begin < rest.end:
            if not next_field(&rest, &field):
                return None
            i = self.column(field.number)
            if i < 0:
                kept[found].end = field.whole.end
                continue
            if field.wire_type != SIZED or columns[i].begin != NULL:
                return None
            if (field.content.end - field.content.begin) % self.widths[i]:
                return None
            columns[i] = field.content
            found += 1
            kept[found] = Span(field.whole.end, field.whole.end)
        for i in range(found + 1):
            inner += kept[i].end - kept[i].begin
        size = (part.whole.begin - whole.begin) + (whole.end - part.whole.end)
        size += varint_size(<uint64_t>self.part << 3 | SIZED) + varint_size(inner) + inner
        message = PyBytes_FromStringAndSize(NULL, size)
        to = copy(<uint8_t*>PyBytes_AS_STRING(message), whole.begin, part.whole.begin)
        to = write_varint(write_varint(to, <uint64_t>self.part << 3 | SIZED), inner)
        for i in range(found + 1):
            to = copy(to, kept[i].begin, kept[i].end)
        copy(to, part.whole.end, whole.end)
        return message

    cdef int column(self, uint32_t number) noexcept:
        """Which column a field is; -1 if it is none."""
        cdef int i
        for i in range(self.count):
            if self.numbers[i] == number:
                return i
        return -1

    cdef object array(self, int i, Span content):
        cdef uint8_t[::1] raw
        cdef Py_ssize_t size = content.end - content.begin
        column = np.empty(size // self.widths[i], self.kinds[i])
        if size:
            raw = column.view(np.uint8)
            memcpy(&raw[0], content.begin, size)
        return column

    def put(self, bytes message not None, columns):
        """The bytes of `message` with its columns in their places among the fields of `part`, which has to be there.

        Raises:
            ValueError: wrong number or kind of columns, no `part`, or a column that is in the message already.
            OverflowError: more than 2 GiB.
        """
        cdef const uint8_t[::1] raw
        cdef Span[MOST_COLUMNS] contents
        cdef Field part
        cdef int i
        if len(columns) != self.count:
            raise ValueError(f"{len(columns)} columns of {self.count}")
        if not only_field(message, self.part, &part) or part.whole.begin == part.whole.end:
            raise ValueError(f"a message without the field {self.part} that the columns belong to")
        alive = []  # what the spans point into
        for i in range(self.count):
            column = np.ascontiguousarray(columns[i])
            if column.dtype != self.kinds[i] or column.ndim != 1:
                text = f"{column.ndim}-dimensional {column.dtype}; a column of {self.kinds[i]} is needed"
                raise ValueError(f"field {self.numbers[i]}: {text}")
            alive.append(column)
            contents[i] = Span(NULL, NULL)
            if column.size:
                raw = column.view(np.uint8)
                contents[i] = Span(&raw[0], &raw[0] + raw.shape[0])
        return self.filled(message, &part, contents)

    cdef bytes filled(self, bytes message, Field* part, Span* columns):
        cdef Span whole = span_of(message), rest = part.content
        cdef Field field
        cdef int i, at = 0
        cdef uint64_t inner = rest.end - rest.begin, size
        cdef uint8_t* to
        for i in range(self.count):
            size = columns[i].end - columns[i].begin
            if size:
                inner += varint_size(<uint64_t>self.numbers[i] << 3 | SIZED) + varint_size(size) + size
        size = (part.whole.begin - whole.begin) + (whole.end - part.whole.end)
        size += varint_size(<uint64_t>self.part << 3 | SIZED) + varint_size(inner) + inner
        if size > MOST_BYTES:
            raise OverflowError(f"a message of {size} bytes; protobuf has at most {MOST_BYTES}")
        data = PyBytes_FromStringAndSize(NULL, size)
        to = copy(<uint8_t*>PyBytes_AS_STRING(data), whole.begin, part.whole.begin)
        to = write_varint(write_varint(to, <uint64_t>self.part << 3 | SIZED), inner)
        while rest.begin < rest.end:
            if not next_field(&rest, &field) or self.column(field.number) >= 0:
                raise ValueError("a message that has columns already, or fields that are written unusually")
            while at < self.count and self.numbers[at] < field.number:
                to = self.write(to, at, columns[at])
                at += 1
            to = copy(to, field.whole.begin, field.whole.end)
        for i in range(at, self.count):
            to = self.write(to, i, columns[i])
        copy(to, part.whole.end, whole.end)
        return data

    cdef uint8_t* write(self, uint8_t* to, int i, Span content) noexcept:
        cdef Py_ssize_t size = content.end - content.begin
        if size == 0:
            return to
        to = write_varint(write_varint(to, <uint64_t>self.numbers[i] << 3 | SIZED), size)
        return copy(to, content.begin, content.end)
