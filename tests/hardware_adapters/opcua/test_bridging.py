"""What lies between the samples before an outage and those after, with a history that is played."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from asyncua import ua

from uem.hardware_adapters.base import Break, SampleQueue
from uem.hardware_adapters.opcua.bridging import Bridge
from uem.hardware_adapters.opcua.services import Page, alike
from uem.hardware_adapters.tags import TagTable
from uem.twin_core.measurements import GapReason

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH_NS = round(EPOCH.timestamp()) * 10**9


class Played:
    """A history of one value a second of each tag, in pages of five, that fails where it is told to."""

    def __init__(self):
        self.start_time = EPOCH
        self.channel = SimpleNamespace(is_open=True)
        self.fails_at_s = None
        self.reaches_back_to_s = 0

    async def with_history(self, nodes):
        return set(nodes)

    async def history(self, nodes, starts_ns, ends_ns):
        first_s = (min(starts_ns.values()) - EPOCH_NS) // 10**9
        last_s = (max(ends_ns.values()) - EPOCH_NS) // 10**9
        for second in range(first_s, last_s, 5):
            if self.fails_at_s is not None and second >= self.fails_at_s:
                raise ConnectionError("cut")
            until = min(second + 5, last_s)
            kept = [s for s in range(second, until + 1) if s >= self.reaches_back_to_s]
            values = {tag: [_value(s) for s in kept] for tag in nodes}
            yield Page(values, frozenset(nodes if until == last_s else ()))


def _value(second):
    when = EPOCH + timedelta(seconds=second)
    return ua.DataValue(ua.Variant(float(second), ua.VariantType.Double), SourceTimestamp=when)


@pytest.fixture
def bridge(make_binding):
    played = Played()
    tags = TagTable([make_binding("a", "A", "a"), make_binding("b", "B", "b")])
    queue = SampleQueue(10_000)
    return SimpleNamespace(it=Bridge(tags, queue, played, "plant"), played=played, tags=tags, queue=queue)


def _rows(tags, *rows):
    tag, second = zip(*rows, strict=True)
    times = np.array(second, np.int64) * 10**9 + EPOCH_NS
    return tags.samples(np.array(tag, np.uint32), times, np.array(second, float), np.zeros(len(rows), np.uint32))


async def _out(queue):
    """What came of tag a, seconds and breaks in order."""
    queue.end()
    found = []
    async for batch in queue.batches():
        if isinstance(batch, Break):
            found += [batch.reason] * ("a" in batch.tags)
        else:
            found += [(t - EPOCH_NS) // 10**9 for t in batch.source_time_ns[batch.tag == 0].tolist()]
    return found


async def test_a_clock_that_was_set_back_in_an_outage_is_a_break_and_no_history_is_read(bridge):
    bridge.it.begin({0: "n0", 1: "n1"})
    await bridge.it.put(_rows(bridge.tags, (0, 30), (1, 30)), is_lossy=False)
    bridge.it.begin({0: "n0", 1: "n1"})
    await bridge.it.put(_rows(bridge.tags, (0, 12), (1, 30)), is_lossy=False)
    await bridge.it.put(_rows(bridge.tags, (0, 13)), is_lossy=False)
    assert await _out(bridge.queue) == [30, GapReason.LINK_DOWN, 12, 13]


async def test_an_outage_is_filled_page_by_page_each_value_once(bridge):
    bridge.it.begin({0: "n0", 1: "n1"})
    await bridge.it.put(_rows(bridge.tags, (0, 3), (1, 3)), is_lossy=False)
    bridge.it.begin({0: "n0", 1: "n1"})
    await bridge.it.put(_rows(bridge.tags, (0, 17), (1, 17)), is_lossy=False)
    assert await _out(bridge.queue) == list(range(3, 18))


async def test_a_line_that_breaks_while_the_past_is_read_keeps_what_came_and_goes_on_from_there(bridge):
    bridge.it.begin({0: "n0"})
    await bridge.it.put(_rows(bridge.tags, (0, 0)), is_lossy=False)
    bridge.it.begin({0: "n0"})
    bridge.played.fails_at_s = 10
    with pytest.raises(ConnectionError):
        await bridge.it.put(_rows(bridge.tags, (0, 30)), is_lossy=False)
    bridge.played.fails_at_s = None
    bridge.it.begin({0: "n0"})
    await bridge.it.put_held()
    await bridge.it.put(_rows(bridge.tags, (0, 35)), is_lossy=False)
    assert await _out(bridge.queue) == list(range(36))


async def test_a_restart_of_the_server_stays_a_break_when_the_line_breaks_again_before_the_past_is_read(bridge):
    bridge.it.begin({0: "n0"})
    await bridge.it.put(_rows(bridge.tags, (0, 0)), is_lossy=False)
    bridge.played.start_time = EPOCH + timedelta(seconds=12)
    bridge.it.begin({0: "n0"})
    bridge.played.fails_at_s = 5
    with pytest.raises(ConnectionError):
        await bridge.it.put(_rows(bridge.tags, (0, 20)), is_lossy=False)
    bridge.played.fails_at_s = None
    bridge.it.begin({0: "n0"})
    await bridge.it.put_held()
    assert await _out(bridge.queue) == [*range(12), GapReason.SOURCE_RESTARTED, *range(12, 21)]


async def test_a_server_that_refuses_its_history_leaves_a_break(bridge, monkeypatch):
    async def refuse(nodes):
        raise ua.uaerrors.BadServiceUnsupported

    bridge.it.begin({0: "n0"})
    await bridge.it.put(_rows(bridge.tags, (0, 0)), is_lossy=False)
    bridge.it.begin({0: "n0"})
    monkeypatch.setattr(bridge.played, "with_history", refuse)
    await bridge.it.put(_rows(bridge.tags, (0, 20)), is_lossy=False)
    assert await _out(bridge.queue) == [0, GapReason.LINK_DOWN, 20]
    await asyncio.sleep(0)


async def test_a_history_that_does_not_reach_back_so_far_leaves_a_break_where_it_begins(bridge):
    bridge.it.begin({0: "n0"})
    await bridge.it.put(_rows(bridge.tags, (0, 0)), is_lossy=False)
    bridge.it.begin({0: "n0"})
    bridge.played.reaches_back_to_s = 8
    await bridge.it.put(_rows(bridge.tags, (0, 20)), is_lossy=False)
    assert await _out(bridge.queue) == [0, GapReason.LINK_DOWN, *range(8, 21)]


async def test_a_history_that_has_nothing_any_more_leaves_a_break(bridge):
    bridge.it.begin({0: "n0"})
    await bridge.it.put(_rows(bridge.tags, (0, 0)), is_lossy=False)
    bridge.it.begin({0: "n0"})
    bridge.played.reaches_back_to_s = 1000
    await bridge.it.put(_rows(bridge.tags, (0, 20)), is_lossy=False)
    assert await _out(bridge.queue) == [0, GapReason.LINK_DOWN, 20]


async def test_a_history_that_begins_after_a_restart_has_one_break(bridge):
    bridge.it.begin({0: "n0"})
    await bridge.it.put(_rows(bridge.tags, (0, 0)), is_lossy=False)
    bridge.played.start_time, bridge.played.reaches_back_to_s = EPOCH + timedelta(seconds=7), 8
    bridge.it.begin({0: "n0"})
    await bridge.it.put(_rows(bridge.tags, (0, 20)), is_lossy=False)
    assert await _out(bridge.queue) == [0, GapReason.SOURCE_RESTARTED, *range(8, 21)]


def test_a_set_point_of_last_month_does_not_make_all_tags_be_read_since_then():
    day_ns, now_ns = 86_400 * 10**9, 60 * 86_400 * 10**9
    starts = {7: now_ns - 30 * day_ns, **{tag: now_ns - 60 * 10**9 - tag for tag in range(100, 350)}}
    groups = list(alike(starts, dict.fromkeys(starts, now_ns), 100))
    assert groups[0] == [7]
    assert [len(group) for group in groups[1:]] == [100, 100, 50]
    assert sorted(tag for group in groups for tag in group) == sorted(starts)


def test_tags_whose_pasts_are_of_any_length_are_read_in_few_groups_each_at_most_about_twice_what_it_needs():
    now_ns = 10**18
    starts = {tag: now_ns - 10**9 * 2**tag for tag in range(25)}
    groups = list(alike(starts, dict.fromkeys(starts, now_ns), 100))
    assert len(groups) <= 13
    for group in groups:
        longest = now_ns - min(starts[tag] for tag in group)
        assert all(longest <= 2 * (now_ns - starts[tag]) + 10**10 for tag in group)
