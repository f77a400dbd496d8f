"""Publish, Republish and Read responses (OPC 10000-6, 5.2) read as plainly as can be: what the kernel is held against.

Raises ValueError for everything that is cut short or malformed.
"""

import math
import struct
from types import SimpleNamespace

NO_TIME = -(2**63)
MISMATCH = 0x80740000
DEEPEST = 100
SCALARS = dict(enumerate("?bBhHiIqQfd", start=1))  # formats of `struct` by built-in type
SIZES = {0: 0, 13: 8, 14: 16, 19: 4} | {kind: struct.calcsize("<" + code) for kind, code in SCALARS.items()}


class Reader:
    """A position in bytes."""

    def __init__(self, data, end=None):
        self.data, self.at, self.end = data, 0, len(data) if end is None else end

    def take(self, size):
        if size < 0 or size > self.end - self.at:
            raise ValueError(f"{size} bytes at {self.at} of {self.end}")
        self.at += size
        return self.data[self.at - size : self.at]

    def read(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def length(self, least_size=1):
        n = self.read("i")
        if n < -1 or n * least_size > self.end - self.at:
            raise ValueError(f"{n} elements in {self.end - self.at} bytes")
        return n

    def string(self):
        self.take(max(self.length(), 0))

    def numbers(self):
        return [self.read("I") for _ in range(max(self.length(4), 0))]

    def diagnostics(self, depth=0):
        if depth > DEEPEST:
            raise ValueError("too deep")
        mask = self.read("B")
        for bit in range(4):
            if mask >> bit & 1:
                self.read("i")
        if mask & 0x10:
            self.string()
        if mask & 0x20:
            self.read("I")
        if mask & 0x40:
            self.diagnostics(depth + 1)

    def all_diagnostics(self):
        for _ in range(max(self.length(), 0)):
            self.diagnostics()

    def node_id(self):
        """Number of a node of namespace 0, else -1."""
        encoding = self.read("B")
        kind = encoding & 0x3F
        namespace, number = 0, -1
        if kind == 0:
            number = self.read("B")
        elif kind == 1:
            namespace, number = self.read("B"), self.read("H")
        elif kind == 2:
            namespace, number = self.read("H"), self.read("I")
        elif kind in (3, 5):
            self.read("H")
            self.string()
        elif kind == 4:
            self.take(18)
        else:
            raise ValueError(f"node id of kind {kind}")
        if encoding & 0x80:
            self.string()
        if encoding & 0x40:
            self.read("I")
        return number if namespace == 0 and encoding == kind else -1

    def extension_object(self):
        self.node_id()
        if self.read("B"):
            self.string()

    def skip_data_value(self, depth):
        mask = self.read("B")
        if mask & 0x01:
            self.variant(depth)
        for bit, size in ((0x02, 4), (0x04, 8), (0x10, 2), (0x08, 8), (0x20, 2)):
            if mask & bit:
                self.take(size)

    def value(self, kind, depth):
        if kind in SIZES:
            self.take(SIZES[kind])
        elif kind in (17, 18):
            self.node_id()
        elif kind == 20:
            self.read("H")
            self.string()
        elif kind == 21:
            mask = self.read("B")
            for _ in range((mask & 1) + (mask >> 1 & 1)):
                self.string()
        elif kind == 22:
            self.extension_object()
        elif kind == 23:
            self.skip_data_value(depth)
        elif kind == 24:
            self.variant(depth)
        elif kind == 25:
            self.diagnostics(depth)
        else:
            self.string()

    def variant(self, depth=0):
        """A number, or None."""
        if depth >= DEEPEST:
            raise ValueError("too deep")
        encoding = self.read("B")
        kind = encoding & 0x3F
        if encoding in SCALARS:
            return float(self.read(SCALARS[encoding]))
        if encoding & 0x80:
            n = max(self.length(SIZES.get(kind, 1) or 1), 0)
            if kind in SIZES:
                self.take(n * SIZES[kind])
            else:
                for _ in range(n):
                    self.value(kind, depth + 1)
        else:
            self.value(kind, depth + 1)
        if encoding & 0x40:
            self.numbers()
        return None

    def time_ns(self):
        ticks = self.read("q")
        ns = (ticks - 116_444_736_000_000_000) * 100
        return NO_TIME if ticks <= 0 or ticks == 2**63 - 1 or abs(ns) > 2**63 - 108 else ns

    def picoseconds(self, time):
        tens = min(self.read("H"), 9999)
        return time if time == NO_TIME else time + tens // 100


def data_value(r, found):
    row = len(found.value)
    mask = r.read("B")
    value, mismatch = math.nan, 0
    if mask & 0x01:
        begin = r.at
        number = r.variant()
        if number is not None:
            value = number
        elif r.data[begin] != 0:
            mismatch = MISMATCH
            found.others[row] = bytes(r.data[begin : r.at])
    status = r.read("I") if mask & 0x02 else 0
    source = r.time_ns() if mask & 0x04 else NO_TIME
    if mask & 0x10:
        source = r.picoseconds(source)
    server = r.time_ns() if mask & 0x08 else NO_TIME
    if mask & 0x20:
        server = r.picoseconds(server)
    found.value.append(value)
    found.quality.append(mismatch if mismatch and not status & 0x80000000 else status)
    found.source_time_ns.append(source)
    found.server_time_ns.append(server)


def header(r, kind):
    if r.node_id() != kind:
        raise ValueError("another type")
    r.take(12)
    result = r.read("I")
    r.diagnostics()
    for _ in range(max(r.length(4), 0)):
        r.string()
    r.extension_object()
    return result


def part(r, found):
    kind = r.node_id()
    if not r.read("B"):
        return
    size = r.length()
    inside = Reader(r.data, r.end if size < 0 else r.at + size)
    inside.at = r.at
    if kind == 811:
        for _ in range(max(inside.length(5), 0)):
            found.handle.append(inside.read("I"))
            data_value(inside, found)
        if size < 0:
            inside.all_diagnostics()
    elif kind == 820:
        found.status_changes.append(inside.read("I"))
        if size < 0:
            inside.diagnostics()
    elif size < 0:
        raise ValueError("end unknown")
    r.at = inside.at if size < 0 else inside.end


def message(r, found):
    found.sequence = r.read("I")
    r.take(8)
    found.parts, found.status_changes = max(r.length(3), 0), []
    for _ in range(found.parts):
        part(r, found)


def empty():
    return SimpleNamespace(handle=[], value=[], quality=[], source_time_ns=[], server_time_ns=[], others={})


def publish_response(data):
    """What a PublishResponse says; only the result if the service failed."""
    r, found = Reader(data), empty()
    found.result = header(r, 829)
    if found.result & 0x80000000:
        return found
    found.subscription = r.read("I")
    found.available = r.numbers()
    found.more = r.read("B") != 0
    message(r, found)
    found.acknowledged = r.numbers()
    r.all_diagnostics()
    return found


def republish_response(data):
    """What a RepublishResponse says; only the result if the service failed."""
    r, found = Reader(data), empty()
    found.result = header(r, 835)
    if not found.result & 0x80000000:
        message(r, found)
    return found


def read_response(data):
    """What a ReadResponse says; only the result if the service failed."""
    r, found = Reader(data), empty()
    found.result = header(r, 634)
    if not found.result & 0x80000000:
        for _ in range(max(r.length(), 0)):
            found.handle.append(0)
            data_value(r, found)
        r.all_diagnostics()
    return found
