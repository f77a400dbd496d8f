"""What every adapter keeps to, as checks that a test runs over any adapter; they raise AssertionError.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_the_new_adapter_keeps_the_contract(check, case):
    await check(case)
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from uem.hardware_adapters.base import Adapter, Alarms, Break
from uem.twin_core.measurements import BAD_WAITING_FOR_INITIAL_DATA, Samples, is_bad

Row = tuple[str, int, float, int]
CLOSE_WITHIN_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """An adapter and the plant behind it, which starts to send when `start` is awaited and then sends `rows`."""

    make: Callable[[], Adapter]
    start: Callable[[], Awaitable[None]]
    rows: list[Row]  # tag, source time in ns, SI value, quality
    missing: set[str]  # tags of the table that the plant does not have
    make_small: Callable[[], Adapter] | None = None  # with room for few rows; None: it has no queue
    timeout_s: float = 60.0


async def collected(adapter: Adapter, count: int, timeout_s: float) -> list[Row]:
    """The first `count` rows apart from those that only say "no value yet"; fewer when the plant ends."""
    rows: list[Row] = []
    async with asyncio.timeout(timeout_s):
        async for samples in adapter.batches():
            if isinstance(samples, Break | Alarms):
                continue
            rows += [row for row in samples.rows() if row[3] != BAD_WAITING_FOR_INITIAL_DATA]
            if len(rows) >= count:
                break
    return rows


async def every_row_arrives_once_and_in_order(case: Case) -> None:
    """Tag, time to the nanosecond, value in SI and the 32-bit quality, repeated values included."""
    expected = [row for row in case.rows if row[3] != BAD_WAITING_FOR_INITIAL_DATA]
    async with case.make() as adapter:
        await case.start()
        rows = await collected(adapter, len(expected), case.timeout_s)
        assert adapter.dropped == 0, f"{adapter.dropped} rows dropped"
    for tag in {row[0] for row in case.rows}:
        got = [_comparable(row) for row in rows if row[0] == tag]
        want = [_comparable(row) for row in expected if row[0] == tag]
        assert got == want, f"{tag}: {len(got)} rows instead of {len(want)}, or others: {got[:3]} and {want[:3]}"


async def batches_are_columns_in_order_of_source_time(case: Case) -> None:
    """A batch is never empty, has the agreed column types and is sorted by source time."""
    async with case.make() as adapter:
        await case.start()
        async with asyncio.timeout(case.timeout_s):
            async for samples in adapter.batches():
                assert isinstance(samples, Samples), "a break although nothing is lost"
                assert len(samples) > 0, "an empty batch"
                types = [samples.tag.dtype, samples.source_time_ns.dtype, samples.value.dtype, samples.quality.dtype]
                assert types == [np.uint32, np.int64, np.float64, np.uint32], f"columns of {types}"
                assert (np.diff(samples.source_time_ns) >= 0).all(), "source times go back inside a batch"
                if samples.source_time_ns[-1] >= case.rows[-1][1]:
                    return


async def bad_rows_are_carried_and_not_raised(case: Case) -> None:
    """A bad quality comes with NaN and its own code; good rows are numbers."""
    assert any(is_bad(row[3]) and row[3] != BAD_WAITING_FOR_INITIAL_DATA for row in case.rows), "no bad row to try"
    async with case.make() as adapter:
        await case.start()
        rows = await collected(
            adapter, sum(row[3] != BAD_WAITING_FOR_INITIAL_DATA for row in case.rows), case.timeout_s
        )
    assert {row[3] for row in rows} == {row[3] for row in case.rows} - {BAD_WAITING_FOR_INITIAL_DATA}
    assert all(math.isnan(row[2]) == is_bad(row[3]) for row in rows)


async def missing_tags_are_named_and_the_others_work(case: Case) -> None:
    """Each missing tag has its reason; the rest of the tag table arrives."""
    async with case.make() as adapter:
        assert set(adapter.missing) == case.missing, f"{adapter.missing} instead of {case.missing}"
        assert all(adapter.missing.values()), "a missing tag without a reason"
        await case.start()
        assert await collected(adapter, 1, case.timeout_s)


async def a_slow_reader_loses_nothing_unsaid(case: Case) -> None:
    """What does not fit into a small queue is counted as dropped; what comes is in order and not doubled."""
    expected = [row for row in case.rows if row[3] != BAD_WAITING_FOR_INITIAL_DATA]
    last_ns = max(row[1] for row in expected)
    rows: list[Row] = []
    breaks = 0
    async with (case.make_small or case.make)() as adapter:
        await case.start()
        async with asyncio.timeout(case.timeout_s):
            async for samples in adapter.batches():
                if isinstance(samples, Break | Alarms):
                    breaks += isinstance(samples, Break)
                    continue
                await asyncio.sleep(0.05)
                rows += samples.rows()
                if samples.source_time_ns[-1] >= last_ns:
                    break
        told = [row for row in rows if row[3] != BAD_WAITING_FOR_INITIAL_DATA]
        waiting = len(case.rows) - len(expected)
        lost = len(expected) - len(told)
        assert lost <= adapter.dropped <= lost + waiting, f"{lost} rows did not come, {adapter.dropped} are told"
        assert not lost or breaks, f"{lost} rows lost without a break that tells so"
        assert case.make_small is None or lost, "nothing was lost: this shows nothing"
    for tag in {row[0] for row in case.rows}:
        times = [row[1] for row in told if row[0] == tag]
        assert times == sorted(set(times)), f"{tag}: out of order or doubled"


async def a_cancelled_reader_leaves_in_time(case: Case) -> None:
    """Cancelled in the middle of its batches it is gone within seconds, and the plant can be opened again."""

    async def read(some: asyncio.Event) -> None:
        async with case.make() as adapter:
            await case.start()
            async for _ in adapter.batches():
                some.set()
                await asyncio.sleep(0.1)  # a reader with work to do, while the plant goes on

    some = asyncio.Event()
    reading = asyncio.create_task(read(some))
    async with asyncio.timeout(case.timeout_s):
        await some.wait()
    began = time.monotonic()
    reading.cancel()
    await asyncio.wait({reading}, timeout=CLOSE_WITHIN_S)
    assert reading.cancelled(), f"still there after {time.monotonic() - began:.1f} s"
    async with case.make():
        pass


async def leaving_does_not_hang(case: Case) -> None:
    """Also when nobody has taken what is queued; afterwards the plant can be opened again."""
    for _ in range(2):
        async with case.make():
            began = time.monotonic()
        assert time.monotonic() - began < CLOSE_WITHIN_S


CHECKS = (
    every_row_arrives_once_and_in_order,
    batches_are_columns_in_order_of_source_time,
    bad_rows_are_carried_and_not_raised,
    missing_tags_are_named_and_the_others_work,
    a_slow_reader_loses_nothing_unsaid,
    a_cancelled_reader_leaves_in_time,
    leaving_does_not_hang,
)


def _comparable(row: Row) -> tuple[int, float | str, int]:
    """A row without its tag in which NaN equals NaN."""
    return row[1], "nan" if math.isnan(row[2]) else row[2], row[3]
