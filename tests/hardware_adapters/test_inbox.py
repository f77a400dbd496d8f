import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.hardware_adapters.inbox import Inbox, compact
from uem.hardware_adapters.losses import Losses
from uem.hardware_adapters.spool import Spool
from uem.twin_core.alarms import Alarm, AlarmState
from uem.twin_core.measurements import Gap, GapReason, Samples


def batch(first, n=1, tag="a"):
    return Samples.from_rows([(tag, first + i, float(first + i), 0) for i in range(n)])


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path / "spool.db", most_bytes=20_000) as opened:
        yield opened


def stored(spool):
    return [row[:2] for _, samples, *_ in spool.read(0, 10_000) for row in samples.rows()]


async def test_samples_of_a_moment_are_stored_as_one_batch_in_order(spool, until):
    told = []
    inbox = Inbox(spool, lambda: told.append(1), most_delay_s=0.5)
    task = asyncio.create_task(inbox.run())
    for n in range(5):
        inbox.put("hall", batch(n, tag="ab"[n % 2]))
        await asyncio.sleep(0)
    await until(lambda: not inbox.pending_rows)
    task.cancel()
    assert spool.batch_count == len(told) == 1
    assert [time for _, time in stored(spool)] == list(range(5))
    assert inbox.pending_rows == 0


async def test_a_large_amount_is_cut_into_batches_without_waiting(spool, until):
    inbox = Inbox(spool, lambda: None, most_batch_rows=10, most_delay_s=60)
    task = asyncio.create_task(inbox.run())
    inbox.put("hall", batch(0, 25))
    inbox.put("hall", batch(25, 3))
    await until(lambda: not inbox.pending_rows)
    task.cancel()
    assert [len(samples) for _, samples, *_ in spool.read(0, 10)] == [10, 10, 8]
    assert [time for _, time in stored(spool)] == list(range(28))


async def test_a_full_spool_keeps_samples_in_memory_then_counts_what_is_dropped(spool, caplog):
    inbox = Inbox(spool, lambda: None, most_batch_rows=500, most_pending_rows=600)
    inbox.put("hall", batch(0, 500))
    assert await inbox.flush()
    inbox.put("hall", batch(500, 500))
    assert not await inbox.flush()
    assert not await inbox.flush()
    assert inbox.pending_rows == 500
    inbox.put("yard", batch(1000, 200))
    inbox.put("yard", batch(1200, 200))
    assert inbox.dropped == {"yard": 400}
    spool.acknowledge(1)
    assert await inbox.flush()
    inbox.put("yard", batch(1400, 1))
    assert inbox.pending_rows == 1
    assert [time for _, time in stored(spool)] == list(range(500, 1000))
    said = [record.message for record in caplog.records]
    assert sum("bound" in text and "wait in memory" in text for text in said) == 1
    assert sum("no room for samples" in text for text in said) == 1


async def test_closing_stores_what_is_there_and_says_what_could_not_be(spool):
    inbox = Inbox(spool, lambda: None, most_delay_s=60)
    task = asyncio.create_task(inbox.run())
    inbox.put("hall", batch(0, 500))
    await asyncio.sleep(0)
    inbox.close()
    await asyncio.wait_for(task, 60)
    assert (spool.row_count, inbox.pending_rows) == (500, 0)
    again = Inbox(spool, lambda: None, most_batch_rows=300, retry_s=60)
    task = asyncio.create_task(again.run())
    again.put("hall", batch(500, 500))
    again.close()
    await asyncio.wait_for(task, 60)
    assert (spool.row_count, again.pending_rows) == (800, 200)


async def test_the_loop_tries_a_full_spool_again(spool, until):
    inbox = Inbox(spool, lambda: None, most_batch_rows=500, most_delay_s=0.01, retry_s=0.05)
    task = asyncio.create_task(inbox.run())
    inbox.put("hall", batch(0, 1000))
    await until(lambda: inbox.pending_rows == 500)
    spool.acknowledge(1)
    await until(lambda: not inbox.pending_rows)
    task.cancel()
    assert spool.last_sequence == 2


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), min_size=1))
def test_a_compact_batch_says_the_same_with_only_the_names_in_use(rows):
    names = tuple("fedcbaxyz")
    tag = np.array([names.index(name) for name, _ in rows], np.uint32)
    time_ns = np.array([t for _, t in rows], np.int64)
    whole = Samples(names, tag, time_ns, time_ns * 0.5, np.zeros(len(rows), np.uint32))
    small = compact(whole)
    assert list(small.rows()) == list(whole.rows())
    assert set(small.names) == {name for name, _ in rows}


def told(spool):
    return [gap for _, _, gaps, *_ in spool.read(0, 10_000) for gap in gaps]


async def test_gaps_are_stored_with_the_samples_or_without_any(spool):
    inbox = Inbox(spool, lambda: None)
    down = Gap("a", 1, 5, GapReason.LINK_DOWN)
    inbox.put("hall", batch(5, 2), [down])
    assert await inbox.flush()
    inbox.put("hall", batch(0, 0), [down])
    assert await inbox.flush()
    assert [(len(samples), gaps) for _, samples, gaps, *_ in spool.read(0, 9)] == [(2, (down,)), (0, (down,))]


async def test_what_there_was_no_room_for_is_a_gap_between_its_neighbours(spool):
    inbox = Inbox(spool, lambda: None, most_batch_rows=500, most_pending_rows=600)
    inbox.put("hall", batch(0, 500))
    assert await inbox.flush()
    inbox.put("hall", batch(500, 500))
    assert not await inbox.flush()  # the bound of the spool
    inbox.put("hall", batch(1000, 200))
    inbox.put("hall", batch(1200, 200))
    inbox.put("yard", batch(1300, 200, tag="b"))
    spool.acknowledge(1)
    assert await inbox.flush()
    spool.acknowledge(2)
    inbox.put("hall", batch(1400, 3))
    inbox.put("yard", batch(1600, 3, tag="b"))
    assert await inbox.flush()
    # Of `b` nothing was kept before.
    assert told(spool) == [Gap("a", 999, 1400, GapReason.SPOOL_FULL), Gap("b", 1299, 1600, GapReason.SPOOL_FULL)]
    assert inbox.dropped == {"hall": 400, "yard": 200}


async def test_a_gap_that_is_open_at_the_end_reaches_behind_what_was_dropped(spool):
    inbox = Inbox(spool, lambda: None, most_pending_rows=10)
    inbox.put("hall", batch(0, 10))
    inbox.put("hall", batch(10, 10))
    inbox.close()
    await inbox.run()
    assert told(spool) == [Gap("a", 9, 20, GapReason.SPOOL_FULL)]


async def test_gaps_survive_a_spool_that_refuses_them(spool):
    inbox = Inbox(spool, lambda: None)
    spool.append(batch(0, 500))
    gaps = [Gap("a" * 1000, n, n + 2, GapReason.LINK_DOWN) for n in range(10)]
    inbox.put("hall", batch(500, 0), gaps)
    assert not await inbox.flush()
    spool.acknowledge(1)
    assert await inbox.flush()
    assert told(spool) == gaps


async def test_too_many_waiting_gaps_become_one_per_tag_that_holds_them_all(spool):
    inbox = Inbox(spool, lambda: None, most_pending_gaps=10)
    for n in range(11):
        inbox.put("hall", batch(0, 0), [Gap("ab"[n % 2], n, n + 2, GapReason.LINK_DOWN)])
    assert await inbox.flush()
    assert told(spool) == [Gap("a", 0, 12, GapReason.LINK_DOWN), Gap("b", 1, 11, GapReason.LINK_DOWN)]


@given(st.lists(st.tuples(st.booleans(), st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), max_size=5))))
def test_every_dropped_sample_lies_in_a_gap_and_no_kept_one_does(steps):
    """Samples of three tags in order of time, some batches dropped; the ledger against the truth."""
    losses, gaps, kept, dropped, now = Losses(GapReason.SPOOL_FULL), [], [], [], 0
    for is_kept, moves in steps:
        rows = []
        for tag, step in moves:
            now += step
            rows.append((tag, now, 0.0, 0))
        samples = Samples.from_rows(rows)
        if is_kept:
            gaps += losses.kept(samples)
        else:
            losses.dropped(samples)
        (kept if is_kept else dropped).extend((tag, time) for tag, time, *_ in rows)
    gaps += losses.close()

    def covered(tag, time):
        return sum(gap.tag == tag and gap.start_ns < time < gap.end_ns for gap in gaps)

    assert all(covered(*row) == 1 for row in dropped)
    assert not any(covered(*row) for row in kept)
    for gap in gaps:
        ends = {(gap.tag, gap.start_ns), (gap.tag, gap.end_ns)} - set(kept)
        assert all((tag, time + 1) in dropped or (tag, time - 1) in dropped for tag, time in ends)


async def test_alarms_wait_for_a_spool_that_refuses_and_go_with_the_next_batch(spool, monkeypatch):
    alarm = Alarm(condition="c", source="s", name="n", state=AlarmState.NORMAL, severity=1, time_ns=1)
    inbox = Inbox(spool, lambda: None, most_pending_gaps=2)
    with monkeypatch.context() as full:
        full.setattr(spool, "most_bytes", 0)
        inbox.tell([alarm] * 2)
        assert not await inbox.flush()
    assert await inbox.flush()
    inbox.tell([alarm] * 3)  # one more than there is room for
    assert await inbox.flush()
    assert [len(each.alarms) for each in spool.read(0, 9)] == [2, 2]


async def test_many_alarms_go_in_several_batches_and_how_many_wait_is_known(spool):
    waiting = []
    spool.most_bytes = 10**6
    inbox = Inbox(spool, lambda: waiting.append(inbox.pending_alarms))
    alarm = Alarm(condition="c", source="s", name="n", state=AlarmState.NORMAL, severity=1, time_ns=1)
    inbox.tell([replace(alarm, time_ns=number) for number in range(250)])
    assert inbox.pending_alarms == 250
    assert await inbox.flush()
    assert waiting == [150, 50, 0]
    assert [each.time_ns for batch in spool.read(0, 9) for each in batch.alarms] == list(range(250))


async def test_one_large_batch_has_room_as_what_a_server_kept_through_an_outage(spool):
    spool.most_bytes = 10**9
    inbox = Inbox(spool, lambda: None, most_pending_rows=1000)
    inbox.put("plant", batch(0))
    inbox.put("plant", batch(1, 5000))
    inbox.put("plant", batch(5001))  # now it is full
    assert (inbox.pending_rows, inbox.dropped) == (5001, {"plant": 1})
    assert await inbox.flush()
    assert [row[1] for each in spool.read(0, 9) for row in each.samples.rows()] == list(range(5001))
