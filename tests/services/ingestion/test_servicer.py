import asyncio
import math
import sqlite3
from contextlib import closing

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from uem.services.ingestion import servicer as servicer_module
from uem.twin_core.alarms import AlarmState
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, Gap, GapReason
from uem.v1 import common_pb2, ingestion_pb2

FLOW, POWER = "branch/flow", "washer/power"


def good(samples, *seconds):
    return samples(*((FLOW, second, 1.0) for second in seconds))


def stored(site, *tags):
    return list(site.store.read(tags or [FLOW], 0, 2**63 - 1).rows())


async def test_batches_are_acknowledged_in_order_and_are_on_disk(site, samples, batch, tmp_path):
    responses = await site.ingest(*(batch("p", i, good(samples, 2 * i, 2 * i + 1)) for i in range(1, 21)))
    assert [(r.sequence, r.stored_count, r.duplicate) for r in responses] == [(i, 2, False) for i in range(1, 21)]
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection:  # another connection sees what is committed
        assert connection.execute("SELECT sequence FROM producer WHERE name = 'p'").fetchone() == (20,)
        assert connection.execute("SELECT sum(sample_count) FROM tail").fetchone() == (40,)


async def test_a_batch_sent_again_is_a_duplicate_and_published_once(site, samples, batch):
    reader = site.bus.subscribe()
    request = batch("p", 1, good(samples, 1))
    responses = await site.ingest(request, request)
    (again,) = await site.ingest(request)
    assert [r.duplicate for r in (*responses, again)] == [False, True, True]
    assert (len(stored(site)), len(reader)) == (1, 1)


async def test_what_is_committed_is_published_in_order(site, samples, batch, same):
    reader = site.bus.subscribe()
    await site.ingest(*(batch("p", i, good(samples, i)) for i in range(1, 51)))
    for i in range(1, 51):
        same(await anext(reader), good(samples, i))


async def test_wrong_rows_are_counted_by_reason_and_the_others_stored(site, samples, batch, caplog):
    rows = samples(
        (FLOW, 1, 1.0),
        (FLOW, 2, math.nan),
        (FLOW, 3, 1e6),
        ("boiler/power", 4, 1.0),
        (FLOW, -1.6e9, 1.0),
        (FLOW, 5, math.nan, BAD_SENSOR_FAILURE),
        (POWER, 6, 1e12),
    )
    (response,) = await site.ingest(batch("p", 1, rows))
    reasons = {
        ingestion_pb2.RejectionReason.Name(r.reason).removeprefix("REJECTION_REASON_"): (r.row_count, list(r.tag_name))
        for r in response.rejections
    }
    assert reasons == {
        "NOT_FINITE": (1, [FLOW]),
        "OUT_OF_RANGE": (1, [FLOW]),
        "UNKNOWN_TAG": (1, ["boiler/power"]),
        "BAD_TIME": (1, [FLOW]),
    }
    assert response.stored_count == 3
    assert [row[3] for row in stored(site)] == [0, BAD_SENSOR_FAILURE]
    refused = site.metrics._metrics["uem_ingestion_refused_samples_total"]
    assert refused.values == {(name.lower(),): 1 for name in reasons}
    assert site.metrics._metrics["uem_ingestion_bad_quality_samples_total"].get() == 1
    assert caplog.text.count("unknown_tag, as in boiler/power") == 1


async def test_a_refusal_is_logged_once_a_minute_and_not_counted_again_for_duplicates(site, samples, batch, caplog):
    rows = samples(("boiler/power", 4, 1.0))
    await site.ingest(*(batch("p", i, rows) for i in (1, 2, 2, 3)))
    assert caplog.text.count("unknown_tag") == 1
    assert site.metrics._metrics["uem_ingestion_refused_samples_total"].get("unknown_tag") == 3


async def test_a_batch_of_wrong_form_ends_the_stream_behind_the_acknowledgements_before_it(site, samples, batch):
    wrong = batch("p", 3, good(samples, 3))
    wrong.samples.value.append(1.0)
    call = site.ingestion.Ingest(iter([batch("p", i, good(samples, i)) for i in (1, 2)] + [wrong]), timeout=60)
    responses = aiter(call)
    assert [(await anext(responses)).sequence for _ in range(2)] == [1, 2]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(responses)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    _, violations = rpc_status.from_call(caught.value).details
    assert error_details_pb2.BadRequest.FromString(violations.value).field_violations[0].field == "samples.value"
    assert site.store.last_sequence("p") == 2


@pytest.mark.parametrize(("producer", "sequence"), [("", 1), ("p" * 201, 1), ("p", 0), ("p", 2**63)])
async def test_a_producer_without_name_or_a_sequence_below_one_is_refused(site, samples, batch, producer, sequence):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.ingest(batch(producer, sequence, good(samples, 1)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert stored(site) == []


async def test_a_leap_in_the_sequence_is_refused_with_what_is_expected(site, samples, batch):
    await site.ingest(batch("p", 1, good(samples, 1)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.ingest(batch("p", 3, good(samples, 3)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "send 2 first" in caught.value.details()


async def test_get_producer_tells_the_last_sequence_on_disk(site, samples, batch):
    request = ingestion_pb2.GetProducerRequest(producer="p")
    assert (await site.ingestion.GetProducer(request, timeout=60)).last_sequence == 0
    await site.ingest(batch("p", 7, good(samples, 1)))
    assert (await site.ingestion.GetProducer(request, timeout=60)).last_sequence == 7
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.ingestion.GetProducer(ingestion_pb2.GetProducerRequest(), timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_full_disk_ends_the_stream_without_acknowledgement_and_passes(site, samples, batch):
    (pages,) = site.store._writer.execute("PRAGMA page_count").fetchone()
    site.store._writer.execute(f"PRAGMA max_page_count={pages + 1}")
    requests = [batch("p", i, good(samples, *range(i * 500, i * 500 + 500))) for i in range(1, 6)]
    call = site.ingestion.Ingest(timeout=60)
    acknowledged = 0

    async def send_and_read():
        nonlocal acknowledged
        for request in requests:  # one by one: gRPC hides why a stream ends while something is being written to it
            await call.write(request)
            acknowledged = (await call.read()).sequence

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send_and_read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(stored(site)) == 500 * site.store.last_sequence("p")
    assert acknowledged <= site.store.last_sequence("p") < 5
    assert "no space left" in site.store.problem()
    site.store._writer.execute("PRAGMA max_page_count=1000000")
    again = await site.ingest(*requests)
    assert again[-1].sequence == 5
    assert len(stored(site)) == 2500


async def test_a_client_that_breaks_off_before_the_acknowledgement_still_gets_its_batch_published(
    site, samples, batch, monkeypatch
):
    reader = site.bus.subscribe()
    held = asyncio.Event()
    append = site.store.append

    def slow_append(*batch):
        held.set()
        return append(*batch)

    monkeypatch.setattr(site.store, "append", slow_append)
    site.store._tuning = type(site.store._tuning)(linger_s=0.3)
    call = site.ingestion.Ingest(timeout=60)
    await call.write(batch("p", 0 + 1, good(samples, 1)))
    await held.wait()
    call.cancel()
    async with asyncio.timeout(60):
        assert len(await anext(reader)) == 1
    assert site.store.last_sequence("p") == 1


async def test_a_sender_is_held_back_when_nothing_is_acknowledged(site, samples, batch, monkeypatch):
    submitted = []
    blocked = asyncio.Event()
    submit = site.store.append

    def stuck(*batch):
        submitted.append(batch[1])
        future = submit(*batch)
        if not blocked.is_set():
            return type(future)()  # never done
        return future

    monkeypatch.setattr(site.store, "append", stuck)
    call = site.ingestion.Ingest(iter([batch("p", i, good(samples, i)) for i in range(1, 200)]), timeout=1)
    with pytest.raises(grpc.aio.AioRpcError):
        await anext(aiter(call))
    assert len(submitted) <= servicer_module.MOST_IN_FLIGHT + 2


async def test_the_drain_ends_an_ingest_stream_with_unavailable_and_resending_is_harmless(site, samples, batch):
    call = site.ingestion.Ingest(timeout=60)
    await call.write(batch("p", 1, good(samples, 1)))
    assert (await call.read()).sequence == 1
    draining = asyncio.create_task(site.server.drain(3.0))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await draining
    assert site.store.last_sequence("p") == 1


async def test_many_streams_share_the_store(site, samples, batch):
    answers = await asyncio.gather(
        *(site.ingest(*(batch(f"p{k}", i, samples((POWER, k * 1000 + i, i))) for i in range(1, 31))) for k in range(8))
    )
    assert [answer[-1].sequence for answer in answers] == [30] * 8
    assert len(stored(site, POWER)) == 240


async def test_gaps_are_stored_with_their_batch_and_wrong_ones_are_counted(site, samples, batch, t0_ns):
    request = batch("p", 1, good(samples, 1))
    down, unspecified = common_pb2.GAP_REASON_LINK_DOWN, common_pb2.GAP_REASON_UNSPECIFIED
    ahead = t0_ns * 2
    for tag, start, end, reason in (
        (FLOW, 0, t0_ns, down),
        ("boiler/power", 0, t0_ns, down),
        (FLOW, t0_ns, t0_ns, down),
        (FLOW, 0, ahead, down),
        (FLOW, 0, 5, down),
        (FLOW, 0, t0_ns, unspecified),
        (FLOW, 0, t0_ns, 99),
    ):
        request.gaps.add(tag_name=tag, start_time_ns=start, end_time_ns=end, reason=reason)
    responses = await site.ingest(request, request)
    assert [(r.stored_count, r.refused_gap_count, r.duplicate) for r in responses] == [(1, 6, False), (0, 6, True)]
    assert [gap for _, gap in site.store.gaps([], 0, 2**63 - 1, 10)] == [Gap(FLOW, 0, t0_ns, GapReason.LINK_DOWN)]
    counted = site.metrics._metrics
    assert counted["uem_ingestion_gaps_total"].get() == 1
    assert counted["uem_ingestion_refused_gaps_total"].get() == 6


async def test_a_batch_of_too_many_gaps_is_refused(site, samples, batch):
    request = batch("p", 1, good(samples, 1))
    request.gaps.extend([common_pb2.Gap()] * 65_537)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.ingest(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "65536" in caught.value.details()


async def test_alarms_are_stored_with_their_batch_and_wrong_ones_are_counted(site, samples, batch, t0_ns):
    request = batch("p", 1, good(samples, 1))
    right = {"plant": "hall", "condition": "c", "state": common_pb2.ALARM_STATE_RETURNED, "severity": 1}
    for wrong in (
        {},
        {"condition": ""},
        {"state": 99},
        {"severity": 1001},
        {"time_ns": 5},
        {"time_ns": t0_ns * 2},
        {"name": "n" * 1001},
    ):
        request.alarms.add(**(right | {"time_ns": t0_ns} | wrong))
    responses = await site.ingest(request, request)
    assert [(r.stored_count, r.refused_alarm_count, r.duplicate) for r in responses] == [(1, 6, False), (0, 6, True)]
    ((_, alarm),) = site.store.alarms("", True, 10)
    assert (alarm.plant, alarm.condition, alarm.state, alarm.time_ns) == ("hall", "c", AlarmState.RETURNED, t0_ns)
    assert site.metrics._metrics["uem_ingestion_alarms_total"].get() == 1
    assert site.metrics._metrics["uem_ingestion_refused_alarms_total"].get() == 6


async def test_a_batch_of_too_many_alarms_is_refused(site, samples, batch):
    request = batch("p", 1, good(samples, 1))
    request.alarms.extend([common_pb2.Alarm()] * 65_537)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.ingest(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "65536" in caught.value.details()
