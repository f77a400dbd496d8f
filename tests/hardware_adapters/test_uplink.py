"""The uplink between a spool and a real gRPC service that keeps what it gets."""

import asyncio
import shutil
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.hardware_adapters import uplink as uplink_module
from uem.hardware_adapters.spool import Spool
from uem.hardware_adapters.spooled import Batch
from uem.hardware_adapters.uplink import Uplink, request
from uem.twin_core.alarms import Alarm, AlarmState
from uem.twin_core.errors import StorageFull
from uem.twin_core.measurements import Gap, GapReason, Samples
from uem.v1 import common_pb2, ingestion_pb2
from uem.v1.columns import INGEST_REQUEST

pytestmark = pytest.mark.usefixtures("_short_waits")


@asynccontextmanager
async def sending(address, spool, **options):
    uplink = Uplink(address, spool, **options)
    task = asyncio.create_task(uplink.run())
    try:
        yield uplink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def batch(first, n=5):
    return Samples.from_rows([("a", first + i, float(first + i), 0) for i in range(n)])


async def test_batches_leave_the_spool_when_they_are_acknowledged(spool, until, service, serving):
    for n in range(40):
        spool.append(batch(5 * n))
    async with serving(service) as server, sending(server.address, spool) as uplink:
        await until(lambda: spool.batch_count == 0)
        spool.append(batch(200))
        uplink.notify()
        await uplink.drain(10)
        assert uplink.connected
    assert [row[1] for row in service.rows] == list(range(205))
    assert service.duplicates == 0


async def test_a_stream_that_breaks_before_the_acknowledgement_is_sent_again_and_stored_once(
    spool, until, service, serving
):
    service.break_after = 3
    for n in range(20):
        spool.append(batch(5 * n))
    async with serving(service) as server, sending(server.address, spool):
        await until(lambda: spool.batch_count == 0)
    assert [row[1] for row in service.rows] == list(range(100))


async def test_a_service_that_is_away_gets_everything_when_it_comes(
    spool, until, caplog, service, serving, reserved_port
):
    port = reserved_port()
    async with sending(f"127.0.0.1:{port}", spool) as uplink:
        for n in range(10):
            spool.append(batch(5 * n))
            uplink.notify()
            await asyncio.sleep(0.05)
        assert not uplink.connected
        async with serving(service, port):
            await until(lambda: spool.batch_count == 0)
        await until(lambda: not uplink.connected)
        spool.append(batch(50))
        uplink.notify()
        async with serving(service, port):
            await until(lambda: spool.batch_count == 0)
    assert [row[1] for row in service.rows] == list(range(55))
    assert any("batches wait in the spool" in record.message for record in caplog.records)


async def test_a_service_that_never_acknowledges_is_left_and_asked_again(spool, until, service, serving):
    service.is_mute = True
    spool.append(batch(0))
    async with serving(service) as server, sending(server.address, spool, acknowledge_timeout_s=0.3):
        await asyncio.sleep(0.5)
        assert spool.batch_count == 1
        service.is_mute = False
        await until(lambda: spool.batch_count == 0)
    assert len(service.rows) == 5


async def test_no_more_batches_are_in_flight_than_agreed(spool, until, service, serving):
    service.is_mute = True
    for n in range(40):
        spool.append(batch(n, 1))
    async with serving(service) as server, sending(server.address, spool) as uplink:
        await until(lambda: len(uplink._in_flight) == uplink_module.MOST_IN_FLIGHT)
        await asyncio.sleep(0.3)
        assert len(uplink._in_flight) == uplink_module.MOST_IN_FLIGHT


async def test_an_old_copy_of_the_spool_goes_on_under_a_new_identity(spool, until, service, serving):
    service.last[spool.producer] = 70
    old = spool.producer
    spool.append(batch(0))
    async with serving(service) as server, sending(server.address, spool):
        await until(lambda: spool.batch_count == 0)
    assert spool.producer != old
    assert len(service.rows) == 5


@pytest.mark.parametrize("starts", [1, 2])
async def test_what_comes_into_an_old_copy_of_the_spool_is_not_taken_for_what_the_service_has(
    tmp_path, until, service, serving, starts
):
    """Ten batches were delivered, a copy holds the first five; the service is away until it has ten of its own."""
    async with serving(service) as server:
        for name, first in (("spool.db", 0), ("spool.db", 5)):
            with Spool(tmp_path / name) as spool:
                for n in range(first, first + 5):
                    spool.append(batch(n, 1))
                async with sending(server.address, spool):
                    await until(lambda: spool.batch_count == 0)
            if not first:
                shutil.copy(tmp_path / name, tmp_path / "old.db")
        for part in np.array_split(np.arange(100, 110), starts):
            with Spool(tmp_path / "old.db") as old:
                for n in part.tolist():
                    old.append(batch(n, 1))
        with Spool(tmp_path / "old.db") as old:
            async with sending(server.address, old):
                await until(lambda: old.batch_count == 0)
    assert [row[1] for row in service.rows] == [*range(10), *range(100, 110)]


@pytest.mark.parametrize("is_acknowledged", [True, False])
async def test_what_was_sent_before_a_kill_is_not_sent_again(tmp_path, until, service, serving, is_acknowledged):
    async with serving(service) as server:
        with Spool(tmp_path / "spool.db") as spool:
            if not is_acknowledged:
                spool.acknowledge = lambda sequence: None
            spool.append(batch(0))
            async with sending(server.address, spool):
                await until(lambda: len(service.rows) == 5)
        with Spool(tmp_path / "spool.db") as spool:
            async with sending(server.address, spool):
                spool.append(batch(5))
                await until(lambda: spool.batch_count == 0)
            assert spool.producer in service.last
    assert [row[1] for row in service.rows] == list(range(10))
    assert service.duplicates == 0


async def test_what_was_stored_while_the_acknowledgement_was_lost_is_not_sent_again(spool, until, service, serving):
    spool.sent_sequence = service.last[spool.producer] = spool.append(batch(0))
    async with serving(service) as server, sending(server.address, spool):
        await until(lambda: spool.batch_count == 0)
    assert service.rows == []
    assert service.duplicates == 0


async def test_a_disk_too_full_to_forget_does_not_stop_the_delivery(
    spool, until, caplog, monkeypatch, service, serving
):
    for n in range(20):
        spool.append(batch(n, 1))

    def refuse(sequence):
        raise StorageFull("no space left")

    monkeypatch.setattr(spool, "acknowledge", refuse)
    async with serving(service) as server, sending(server.address, spool):
        await until(lambda: len(service.rows) == 20)
    assert any("still in the spool" in record.message for record in caplog.records)
    assert len(service.rows) == 20


async def test_a_service_that_refuses_even_an_empty_batch_is_tried_again_and_costs_no_more(
    spool, until, service, serving, caplog
):
    service.refuses = lambda batch: batch.sequence == 2
    for n in range(3):
        spool.append(batch(5 * n))
    async with serving(service) as server, sending(server.address, spool) as uplink:
        await until(lambda: "not like this" in caplog.text and "batches wait in the spool" in caplog.text)
        assert (uplink.refused_batches, spool.refused_row_count, spool.batch_count) == (1, 5, 2)
        service.refuses = lambda batch: False
        await until(lambda: spool.batch_count == 0)
    assert [row[1] for row in service.rows] == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert service.last[spool.producer] == 3


async def test_rejections_are_counted_by_reason_and_said_once_per_tag(spool, until, caplog, service, serving):
    reason = ingestion_pb2.RejectionReason.REJECTION_REASON_NOT_FINITE
    service.rejections = [
        ingestion_pb2.Rejection(reason=reason, row_count=2, tag_name=["a"]),
        ingestion_pb2.Rejection(reason=99, row_count=1, tag_name=["b"]),
    ]
    spool.append(batch(0))
    spool.append(batch(5))
    async with serving(service) as server, sending(server.address, spool) as uplink:
        await until(lambda: spool.batch_count == 0)
        assert +uplink.rejected == {"not_finite": 4, "reason_99": 2}
    assert sum("refuses samples of tag" in record.message for record in caplog.records) == 2


@given(
    st.lists(st.tuples(st.text(min_size=1), st.integers(-(2**63), 2**63 - 1), st.floats(), st.integers(0, 2**32 - 1)))
)
def test_a_batch_goes_over_the_wire_bit_for_bit(rows):
    samples = Samples.from_rows(rows)
    sent = ingestion_pb2.IngestRequest.FromString(INGEST_REQUEST.encode(request("me", Batch(7, samples, ()))))
    assert (sent.producer, sent.sequence) == ("me", 7)
    s = sent.samples
    again = [
        (s.tag_name[t], time, v, q) for t, time, v, q in zip(s.tag, s.source_time_ns, s.value, s.quality, strict=True)
    ]
    assert str(again) == str(rows)


async def test_gaps_go_over_the_wire_with_their_batch(spool, until, service, serving):
    down, restarted = Gap("a", 1, 5, GapReason.LINK_DOWN), Gap("b", -7, 9, GapReason.SOURCE_RESTARTED)
    spool.append(batch(0), [down])
    spool.append(Samples.from_rows(()), [restarted])
    async with serving(service) as server, sending(server.address, spool):
        await until(lambda: spool.batch_count == 0)
    assert [(gap.tag_name, gap.start_time_ns, gap.end_time_ns, gap.reason) for gap in service.gaps] == [
        ("a", 1, 5, common_pb2.GAP_REASON_LINK_DOWN),
        ("b", -7, 9, common_pb2.GAP_REASON_SOURCE_RESTARTED),
    ]


@pytest.mark.parametrize("message", ["x" * (17 << 20), "half of a pair: \ud800"], ids=["too large", "no text"])
async def test_what_can_never_be_sent_is_set_aside_and_holds_nothing_up(spool, until, service, serving, message):
    alarm = Alarm(condition="c", source="s", name="n", message=message, state=AlarmState.NORMAL, severity=1, time_ns=1)
    for n in range(12):
        spool.append(batch(5 * n), (), 0, [alarm] if n == 7 else ())
    async with serving(service) as server, sending(server.address, spool) as uplink:
        await until(lambda: spool.batch_count == 0)
        assert uplink.refused_batches == 2  # the rows first, then all that is left
    assert [row[1] for row in service.rows] == [*range(35), *range(40, 60)]
    assert spool.refused_row_count == 5
