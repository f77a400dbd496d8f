"""Queues, filters and sampling of monitored items, and the bytes of their notifications."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary

from uem.hardware_adapters.opcua.server import points as kernel
from uem.hardware_adapters.opcua.server.points import Items, Points, history_data
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, OVERFLOW

_spec = importlib.util.spec_from_file_location("plain_items", Path(__file__).parent / "plain_items.py")
plain = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plain)

EPOCH_NS = 1_700_000_000_000_000_000


def ticks(t_ns):
    return t_ns // 1000 * 10 + plain.TICKS_1970


def made(kinds=(kernel.DOUBLE,)):
    points = Points(kinds, EPOCH_NS, 0, EPOCH_NS)
    items = Items(points)
    points.subscribe(items)
    return points, items


def write(points, rows, now_ns=EPOCH_NS):
    """Rows of (point, value, quality, source time)."""
    point, value, quality, source = zip(*rows, strict=True)
    points.write(np.array(point), np.array(value, float), np.array(quality, np.uint32), np.array(source), now_ns)


def values(items, most=1000):
    return [(row[1], row[2]) for row in plain.decoded(items.encode(most))]


@pytest.mark.parametrize("seed", range(30))
def test_items_do_what_a_plain_program_does(seed):
    rng = np.random.default_rng(seed)
    count = 5
    points, items = made([kernel.DOUBLE] * count)
    model, now, order = {}, EPOCH_NS, 0
    for handle in range(12):
        chosen = {
            "size": int(rng.choice([1, 2, 3, 10])),
            "discard_oldest": bool(rng.random() < 0.7),
            "trigger": int(rng.integers(3)),
            "deadband": float(rng.choice([0.0, 0.0, 1.5])),
        }
        sampling_ms = float(rng.choice([0.0, 0.0, 0.7]))
        point = int(rng.integers(count))
        which = items.add(point, handle, sampling_ms=sampling_ms, **chosen)
        model[which] = plain.PlainItem(point, handle, sampling=round(sampling_ms * 1e4), **chosen)
        model[which].offer(order, (0.0, 0, ticks(EPOCH_NS), ticks(EPOCH_NS)))
        order += 1
    for _ in range(60):
        n = int(rng.integers(1, 8))
        now += int(rng.integers(1, 400)) * 1000
        rows = [
            (int(p), float(v), int(q), now - int(d) * 1000)
            for p, v, q, d in zip(
                rng.integers(count, size=n),
                rng.integers(4, size=n),
                rng.choice([0, 0, 0, 0x40000000, BAD_SENSOR_FAILURE], size=n),
                rng.integers(3, size=n),
                strict=True,
            )
        ]
        write(points, rows, now)
        for point, value, quality, source in rows:
            for item in model.values():
                if item.point == point:
                    item.offer(order, (value, quality, ticks(source), ticks(now)))
            order += 1
        action = rng.random()
        which = int(rng.choice(list(model)))
        if action < 0.1 and model[which].mode != 0:
            mode = int(rng.integers(1, 3))
            items.set_mode(which, mode)
            model[which].mode = mode
        if action > 0.6:
            now += 1000
            items.settle_until(now)
            for item in model.values():
                item.settle(order, ticks(now))
                order += 1
            most = int(rng.choice([3, 1000]))
            waiting = sum(len(item.queue) for item in model.values() if item.mode == 2)
            assert items.queued == waiting
            got = plain.decoded(items.encode(most))
            assert len(got) == min(most, waiting)
            for item in model.values():
                mine = [row[1:] for row in got if row[0] == item.handle]
                taken, item.queue = item.queue[: len(mine)], item.queue[len(mine) :]
                expected = [(None if q & 0x80000000 else v, q, s, t) for _, v, q, s, t in taken]
                assert mine == expected, item


def test_rows_of_all_points_come_in_the_order_of_their_arrival():
    points, items = made([kernel.DOUBLE] * 2)
    for point in (0, 1):
        items.add(point, point, size=100)
    items.encode(10)
    for second in range(1, 4):
        write(points, [(1, second, 0, EPOCH_NS), (0, second, 0, EPOCH_NS)])
    assert [row[:2] for row in plain.decoded(items.encode(4))] == [(1, 1.0), (0, 1.0), (1, 2.0), (0, 2.0)]
    write(points, [(0, 9, 0, EPOCH_NS)])
    assert [row[:2] for row in plain.decoded(items.encode(10))] == [(1, 3.0), (0, 3.0), (0, 9.0)]
    assert items.queued == 0


@pytest.mark.parametrize(("size", "kept"), [(1, [4]), (2, [3, 4]), (3, [2, 3, 4]), (5, [0, 1, 2, 3, 4])])
def test_the_value_behind_a_drop_is_marked_but_never_in_a_queue_of_one(size, kept):
    points, items = made()
    items.add(0, 7, size=size)
    for value in (1, 2, 3, 4):
        write(points, [(0, value, 0, EPOCH_NS)])
    first = OVERFLOW if 1 < size < 5 else 0
    assert values(items) == [(value, 0 if i else first) for i, value in enumerate(kept)]


def test_a_queue_that_keeps_the_oldest_marks_its_newest():
    points, items = made()
    items.add(0, 7, size=3, discard_oldest=False)
    for value in (1, 2, 3, 4):
        write(points, [(0, value, 0, EPOCH_NS)])
    assert values(items) == [(0, 0), (1, 0), (4, OVERFLOW)]


def test_a_slow_drift_passes_a_deadband_at_last():
    points, items = made()
    items.add(0, 7, size=100, deadband=1.0)
    for step in range(1, 26):
        write(points, [(0, step * 0.1, 0, EPOCH_NS)])
    assert [round(value, 1) for value, _ in values(items)] == [0.0, 1.1, 2.2]


def test_nan_is_reported_once_and_so_is_its_end():
    points, items = made()
    items.add(0, 7, size=100)
    for value in (1.0, math.nan, math.nan, 1.0):
        write(points, [(0, value, 0, EPOCH_NS)])
    assert [str(value) for value, _ in values(items)] == ["0.0", "1.0", "nan", "1.0"]


def test_a_sampled_item_gets_the_value_at_each_of_its_instants():
    points, items = made()
    items.add(0, 7, size=100, sampling_ms=10.0)
    for ms in range(1, 36):
        write(points, [(0, ms, 0, EPOCH_NS)], EPOCH_NS + ms * 1_000_000)
    assert [value for value, _ in values(items)] == [0.0, 9.0, 19.0, 29.0]
    items.settle_until(EPOCH_NS + 39 * 1_000_000)
    assert items.queued == 0
    items.settle_until(EPOCH_NS + 40 * 1_000_000)
    assert [value for value, _ in values(items)] == [35.0]


def test_a_disabled_item_loses_its_queue_and_begins_anew():
    points, items = made()
    which = items.add(0, 7, size=100)
    write(points, [(0, 1.0, 0, EPOCH_NS)])
    items.set_mode(which, kernel.DISABLED)
    write(points, [(0, 2.0, 0, EPOCH_NS)])
    assert items.queued == 0
    items.set_mode(which, kernel.REPORTING)
    assert values(items) == [(2.0, 0)]


def test_an_item_that_only_samples_keeps_its_queue_until_it_reports():
    points, items = made()
    which = items.add(0, 7, size=2, mode=kernel.SAMPLING)
    for value in (1.0, 2.0, 3.0):
        write(points, [(0, value, 0, EPOCH_NS)])
    assert (items.queued, values(items)) == (0, [])
    items.set_mode(which, kernel.REPORTING)
    assert values(items) == [(2.0, OVERFLOW), (3.0, 0)]


def test_removed_items_hear_nothing_and_their_place_is_used_again():
    points, items = made()
    first, second = items.add(0, 1), items.add(0, 2)
    items.remove(first)
    with pytest.raises(IndexError):
        items.remove(first)
    write(points, [(0, 5.0, 0, EPOCH_NS)])
    assert [row[:2] for row in plain.decoded(items.encode(10))] == [(2, 5.0)]
    assert items.add(0, 3) == first
    items.remove(second)
    write(points, [(0, 6.0, 0, EPOCH_NS)])
    assert [row[:2] for row in plain.decoded(items.encode(10))] == [(3, 6.0)]


def test_a_shorter_queue_drops_as_if_it_had_overflowed():
    points, items = made()
    which = items.add(0, 7, size=10)
    for value in (1.0, 2.0, 3.0):
        write(points, [(0, value, 0, EPOCH_NS)])
    items.change(which, 8, 2, True, kernel.STATUS_VALUE, 0.0, 0.0, kernel.BOTH)
    assert [row[:3] for row in plain.decoded(items.encode(10))] == [(8, 2.0, OVERFLOW), (8, 3.0, 0)]


@pytest.mark.parametrize(
    ("kind", "written", "type_", "told"),
    [
        (kernel.DOUBLE, 0.1, ua.VariantType.Double, 0.1),
        (kernel.FLOAT, 0.1, ua.VariantType.Float, float(np.float32(0.1))),
        (kernel.INT32, -3.7, ua.VariantType.Int32, -3),
        (kernel.INT32, 1e12, ua.VariantType.Int32, 2**31 - 1),
        (kernel.UINT32, -1.0, ua.VariantType.UInt32, 0),
        (kernel.UINT32, 1e12, ua.VariantType.UInt32, 2**32 - 1),
        (kernel.UINT32, math.nan, ua.VariantType.UInt32, 0),
        (kernel.BOOLEAN, 2.0, ua.VariantType.Boolean, True),
    ],
)
def test_every_type_is_told_as_the_library_reads_it(kind, written, type_, told):
    points, items = made([kind])
    items.add(0, 7)
    write(points, [(0, written, 0x40000000, EPOCH_NS)])
    (item,) = struct_from_binary(ua.DataChangeNotification, Buffer(items.encode(10))).MonitoredItems
    assert item.Value.Value == ua.Variant(told, type_)
    assert item.Value.StatusCode.value == 0x40000000


@pytest.mark.parametrize(
    ("times", "told"),
    [(kernel.SOURCE, (1, 0)), (kernel.SERVER, (0, 1)), (kernel.BOTH, (1, 1)), (kernel.NEITHER, (0, 0))],
)
def test_only_the_times_that_are_asked_for_are_told(times, told):
    points, items = made()
    items.add(0, 7, times=times)
    write(points, [(0, 1.0, 0, EPOCH_NS + 1_999)], EPOCH_NS + 5_000)
    ((*_, source, server),) = plain.decoded(items.encode(10))
    assert source == (ticks(EPOCH_NS + 1_000) if told[0] else None)  # whole microseconds
    assert server == (ticks(EPOCH_NS + 5_000) if told[1] else None)


def test_times_before_1970_are_rounded_down_too():
    points, items = made()
    items.add(0, 7)
    write(points, [(0, 1.0, 0, -1)])
    assert plain.decoded(items.encode(10))[0][3] == plain.TICKS_1970 - 10
    assert points.read(0)[2] == -1


def test_history_is_told_as_the_library_reads_it():
    value, quality = np.array([1.5, 2.5]), np.array([0, BAD_SENSOR_FAILURE], np.uint32)
    source, server = np.array([ticks(EPOCH_NS)] * 2), np.array([ticks(EPOCH_NS)] * 2)
    body = history_data(kernel.DOUBLE, value, quality, source, server, kernel.BOTH)
    first, second = struct_from_binary(ua.HistoryData, Buffer(body)).DataValues
    assert (first.Value.Value, second.Value.Value) == (1.5, None)
    assert second.StatusCode.value == BAD_SENSOR_FAILURE
    assert plain.ticks_of(first.SourceTimestamp) == ticks(EPOCH_NS)


def test_what_does_not_fit_is_refused():
    points, items = made()
    with pytest.raises(InvalidInput, match="there are 1"):
        write(points, [(1, 1.0, 0, EPOCH_NS)])
    with pytest.raises(InvalidInput, match="columns of 1, 2"):
        points.write(np.zeros(1, int), np.zeros(2), np.zeros(1, np.uint32), np.zeros(1, int), 0)
    with pytest.raises(InvalidInput, match="types"):
        Points([12], 0, 0, 0)
    for call in (lambda: points.read(1), lambda: items.add(1, 0), lambda: items.set_mode(0, 2)):
        with pytest.raises(IndexError):
            call()
