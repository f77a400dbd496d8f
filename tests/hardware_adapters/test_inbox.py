import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.hardware_adapters.inbox import Inbox, compact
from uem.hardware_adapters.spool import Spool
from uem.twin_core.measurements import Samples


def batch(first, n=1, tag="a"):
    return Samples.from_rows([(tag, first + i, float(first + i), 0) for i in range(n)])


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path / "spool.db", most_bytes=20_000) as opened:
        yield opened


def stored(spool):
    return [row[:2] for _, samples in spool.read(0, 10_000) for row in samples.rows()]


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
    assert [len(samples) for _, samples in spool.read(0, 10)] == [10, 10, 8]
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
