"""Monitored items as the standard words them, one object per item and value (OPC 10000-4, 5.13 and 7.22)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary

OVERFLOW = 0x480
TICKS_1970 = 116_444_736_000_000_000


def ticks_of(time):
    """100 ns ticks since 1601."""
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - datetime(1601, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 10


def decoded(body):
    """(handle, value, quality, source ticks, server ticks) of each row, by the library."""
    found = []
    for item in struct_from_binary(ua.DataChangeNotification, Buffer(body)).MonitoredItems:
        v = item.Value
        value = None if v.Value is None else v.Value.Value
        status = v.StatusCode.value if v.StatusCode is not None else 0
        times = [None if t is None else ticks_of(t) for t in (v.SourceTimestamp, v.ServerTimestamp)]
        found.append((item.ClientHandle, value, status, *times))
    return found


@dataclass
class PlainItem:
    point: int
    handle: int
    size: int = 1
    discard_oldest: bool = True
    trigger: int = 1
    deadband: float = 0.0
    sampling: int = 0  # ticks
    mode: int = 2
    last: tuple | None = None
    held: tuple | None = None
    due: int = 0
    queue: list = field(default_factory=list)

    def passes(self, row):
        if self.last is None:
            return True
        value, quality, source, _ = row
        old_value, old_quality, old_source, _ = self.last
        if quality != old_quality:
            return True
        is_bad = bool(quality & 0x80000000)
        changed = not is_bad and abs(value - old_value) > self.deadband
        if self.trigger == 0:
            return False
        if self.trigger == 2 and (self.deadband == 0 or is_bad):
            return changed or source != old_source
        return changed

    def sampled(self, order, row):
        if not self.passes(row):
            return
        self.last = row
        value, quality, source, server = row
        entry = [order, value, quality, source, server]
        if len(self.queue) < self.size:
            self.queue.append(entry)
        elif self.size == 1:
            self.queue = [entry]
        elif self.discard_oldest:
            del self.queue[0]
            self.queue[0][2] |= OVERFLOW
            self.queue.append(entry)
        else:
            self.queue[-1][1:] = [value, quality | OVERFLOW, source, server]

    def settle(self, order, now):
        if self.held is not None and now >= self.due:
            row, self.held = self.held, None
            self.due += ((now - self.due) // self.sampling + 1) * self.sampling
            self.sampled(order, row)

    def offer(self, order, row):
        if self.mode == 0:
            return
        if not self.sampling:
            self.sampled(order, row)
            return
        self.settle(order, row[3])
        if row[3] >= self.due:
            self.due = row[3] + self.sampling
            self.sampled(order + 0.5, row)
        else:
            self.held = row
