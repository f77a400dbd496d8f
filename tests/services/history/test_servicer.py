from dataclasses import replace

import grpc
import numpy as np
import pytest

from uem.services.history import servicer as servicer_module
from uem.services.ingestion.convert import samples as columns
from uem.twin_core.alarms import Alarm, AlarmState
from uem.twin_core.measurements import Gap, GapReason, Samples
from uem.v1 import common_pb2, history_pb2, history_pb2_grpc
from uem.v1.columns import READ_SAMPLES_RESPONSE

FLOW, POWER, SUPPLY = "branch/flow", "washer/power", "branch/supply"


async def read(site, *tags, start=0, end=0, limit=0):
    request = history_pb2.ReadSamplesRequest(tag_name=tags, start_time_ns=start, end_time_ns=end, limit=limit)
    responses = site.history.ReadSamples(request, timeout=60)
    parts = [READ_SAMPLES_RESPONSE.split(response) async for response in responses]
    return [columns(part.message.samples.tag_name, part.columns) for part in parts]


def fill(site, samples):
    site.store.append("p", 1, samples).result(60)


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_what_was_measured_is_read_back_over_the_wire(site, samples, same, t0_ns):
    fill(site, samples((FLOW, 3, 3.0), (POWER, 1, 9.0), (FLOW, 1, 1.0), (FLOW, 2, 2.0)))
    frames = await read(site, FLOW, POWER)
    same(Samples.concatenate(frames), samples((FLOW, 1, 1.0), (FLOW, 2, 2.0), (FLOW, 3, 3.0), (POWER, 1, 9.0)))
    (frame,) = await read(site, FLOW, start=t0_ns + 2 * 10**9, end=t0_ns + 3 * 10**9)
    same(frame, samples((FLOW, 2, 2.0)))
    (frame,) = await read(site, FLOW, POWER, limit=1)
    same(frame, samples((FLOW, 3, 3.0), (POWER, 1, 9.0)))


async def test_long_answers_come_in_full_frames(site, samples, same, monkeypatch):
    monkeypatch.setattr(servicer_module, "FRAME_ROWS", 100)
    rows = samples(*((tag, i, i / 100) for tag, n in ((FLOW, 250), (POWER, 30), (SUPPLY, 421)) for i in range(n)))
    fill(site, rows)
    for limit in (0, 1000):
        frames = await read(site, FLOW, POWER, SUPPLY, limit=limit)
        assert [len(frame) for frame in frames] == [100] * 7 + [1]
        same(Samples.concatenate(frames), rows)
        assert all(len(frame.names) <= 3 for frame in frames)


def watch(site, cursor=None):
    return site.history.WatchSamples(history_pb2.WatchSamplesRequest(after_cursor=cursor), timeout=60)


def values(response):
    return list(response.samples.value)


async def test_commits_are_followed_as_they_come_and_from_a_cursor_on(site, samples, batch):
    fill(site, samples((FLOW, 0, 0.0)))
    stream = watch(site)
    first = await stream.read()
    assert (values(first), first.cursor, first.missed) == ([], 1, False)
    await site.ingest(batch("q", 1, samples((FLOW, 1, 1.0), (POWER, 1, 9.0))))
    second = await stream.read()
    assert (values(second), list(second.samples.tag_name), second.cursor) == ([1.0, 9.0], [FLOW, POWER], 2)
    stream.cancel()
    await site.ingest(batch("q", 2, samples((FLOW, 2, 2.0))), batch("q", 3, samples((FLOW, 3, 3.0))))
    again = watch(site, second.cursor)
    await again.read()
    found = []
    while len(found) < 2:
        found += values(await again.read())
    assert found == [2.0, 3.0]
    again.cancel()


async def test_a_batch_of_a_backlog_is_followed_too_and_told(site, samples, batch):
    stream = watch(site)
    await stream.read()
    request = batch("q", 1, samples((FLOW, 1, 1.0)))
    request.behind = True
    await site.ingest(request)
    response = await stream.read()
    assert (values(response), response.behind) == ([1.0], True)
    stream.cancel()


@pytest.mark.parametrize("cursor", [7, 2**64 - 1])
async def test_a_cursor_that_is_not_there_is_told_to_have_missed_and_the_stream_goes_on(site, samples, batch, cursor):
    fill(site, samples((FLOW, 0, 0.0)))
    stream = watch(site, cursor)
    assert (await stream.read()).missed is False
    told = await stream.read()
    assert (told.missed, told.cursor, values(told)) == (True, 1, [])
    await site.ingest(batch("q", 1, samples((FLOW, 1, 1.0))))
    response = await stream.read()
    assert (values(response), response.cursor, response.missed) == ([1.0], 2, False)
    stream.cancel()


async def test_a_connection_follows_a_bounded_number_of_times(site):
    streams = [watch(site) for _ in range(servicer_module.MOST_FOLLOWED)]
    for stream in streams:
        await stream.read()
    assert await refusal(watch(site).read()) == (
        grpc.StatusCode.UNAVAILABLE,
        "8 streams of samples are open on this connection; end one of them first",
    )
    async with grpc.aio.insecure_channel(
        site.server.address, options=(("grpc.use_local_subchannel_pool", 1),)
    ) as channel:
        other = history_pb2_grpc.HistoryServiceStub(channel).WatchSamples(history_pb2.WatchSamplesRequest())
        await other.read()
        other.cancel()
    for stream in streams:
        stream.cancel()


async def test_one_who_follows_and_does_not_read_costs_nothing_and_gets_all_of_it(site, samples, batch):
    stream = watch(site)
    await stream.read()
    for begin in range(0, 2000, 100):
        await site.ingest(batch("q", begin // 100 + 1, samples(*((FLOW, begin + i, 1.0) for i in range(100)))))
    assert sum(map(len, site.bus._subscriptions)) <= 1
    found = []
    while len(found) < 2000:
        found += (await stream.read()).samples.source_time_ns
    assert found == sorted(found)
    stream.cancel()


async def test_a_tag_without_samples_is_no_error(site):
    assert await read(site, FLOW) == []


async def test_bad_requests_name_what_is_wrong(site):
    code, text = await refusal(read(site, FLOW, "boiler"))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "'boiler'" in text
    for wrong, word in (
        (read(site), "tag_name"),
        (read(site, *[FLOW] * 10_001), "10001"),
        (read(site, FLOW, start=5, end=4), "after end"),
        (read(site, FLOW, limit=1_000_001), "limit"),
    ):
        code, text = await refusal(wrong)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert word in text


async def test_tags_are_listed_by_page_with_units_limits_and_counts(site, samples, t0_ns):
    fill(site, samples((FLOW, 1, 1.0), (FLOW, 2, 1.0)))
    first = await site.history.ListTags(history_pb2.ListTagsRequest(page_size=2), timeout=60)
    assert [tag.name for tag in first.tags] == [FLOW, SUPPLY]
    rest = await site.history.ListTags(
        history_pb2.ListTagsRequest(page_size=2, page_token=first.next_page_token), timeout=60
    )
    assert ([tag.name for tag in rest.tags], rest.next_page_token) == ([POWER], "")
    flow, supply = first.tags
    assert (flow.sample_count, flow.first_time_ns, flow.last_time_ns) == (2, t0_ns + 10**9, t0_ns + 2 * 10**9)
    assert (supply.unit, supply.display_unit, supply.low_limit, supply.high_limit) == ("K", "Cel", 263.15, 423.15)
    assert (supply.sample_count, supply.first_time_ns) == (0, 0)
    whole = await site.history.ListTags(history_pb2.ListTagsRequest(), timeout=60)
    assert (len(whole.tags), whole.next_page_token) == (3, "")
    assert np.isinf(whole.tags[2].high_limit)


@pytest.mark.parametrize("size", [-1, 10_001])
async def test_a_page_size_out_of_range_is_refused(site, size):
    code, text = await refusal(site.history.ListTags(history_pb2.ListTagsRequest(page_size=size), timeout=60))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "page_size" in text


@pytest.mark.parametrize("token", ["zzz", "\0", "x" * 100_000])
async def test_a_page_token_that_was_not_given_out_is_refused(site, token):
    code, text = await refusal(site.history.ListTags(history_pb2.ListTagsRequest(page_token=token), timeout=60))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "page_token" in text
    assert len(text) < 1000


def gap(tag, start, end):
    return Gap(tag, start, end, GapReason.QUEUE_OVERFLOW)


async def test_gaps_are_listed_by_page_of_tags_and_in_a_range(site, samples):
    site.store.append("p", 1, samples(), [gap(FLOW, i, i + 5) for i in range(5)] + [gap(POWER, 2, 9)]).result(60)
    found, token = [], ""
    while True:
        request = history_pb2.ListGapsRequest(page_size=4, page_token=token)
        page = await site.history.ListGaps(request, timeout=60)
        found += page.gaps
        token = page.next_page_token
        if not token:
            break
    assert [its.start_time_ns for its in found] == [0, 1, 2, 2, 3, 4]
    reason = common_pb2.GAP_REASON_QUEUE_OVERFLOW
    (power,) = (await site.history.ListGaps(history_pb2.ListGapsRequest(tag_name=[POWER]), timeout=60)).gaps
    assert power == common_pb2.Gap(tag_name=POWER, start_time_ns=2, end_time_ns=9, reason=reason)
    request = history_pb2.ListGapsRequest(tag_name=[FLOW], start_time_ns=8, end_time_ns=9)
    assert [its.start_time_ns for its in (await site.history.ListGaps(request, timeout=60)).gaps] == [4]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_token": "zzz"}, "page_token"),
        ({"page_token": "1.2.3"}, "page_token"),
        ({"page_token": "-9999999999999999999.0"}, "page_token"),
        ({"page_token": "0.9999999999999999999"}, "page_token"),
        ({"page_token": "1" * 100_000 + ".1"}, "page_token"),
        ({"start_time_ns": 2, "end_time_ns": 1}, "after end"),
    ],
)
async def test_a_wrong_question_for_gaps_is_refused(site, wrong, word):
    code, text = await refusal(site.history.ListGaps(history_pb2.ListGapsRequest(**wrong), timeout=60))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert word in text
    assert len(text) < 1000


async def test_an_overview_has_the_extremes_and_says_its_resolution(site, samples, t0_ns):
    fill(site, samples(*((FLOW, i, 9.0 if i == 777 else i % 2) for i in range(1000))))
    request = history_pb2.GetOverviewRequest(tag_name=FLOW, point_count=20)
    found = await site.history.GetOverview(request, timeout=60)
    assert len(found.samples.value) == 20
    assert (max(found.samples.value), found.sample_count) == (9.0, 1000)
    assert 99 * 10**9 < found.resolution_ns <= 100 * 10**9
    request = history_pb2.GetOverviewRequest(tag_name=FLOW, start_time_ns=t0_ns, end_time_ns=t0_ns + 10**10)
    found = await site.history.GetOverview(request, timeout=60)
    assert (len(found.samples.value), found.resolution_ns, found.sample_count) == (10, 0, 10)
    triangle = history_pb2.OVERVIEW_METHOD_LARGEST_TRIANGLE
    request = history_pb2.GetOverviewRequest(tag_name=FLOW, point_count=22, method=triangle)
    found = await site.history.GetOverview(request, timeout=60)
    assert (len(found.samples.value), found.resolution_ns) == (22, 49_950_000_000)
    assert 9.0 in found.samples.value
    assert len(found.line_start) == 0
    for wrong, word in (
        ({"point_count": 1}, "point_count"),
        ({"point_count": 2, "method": triangle}, "3 to 10000"),
        ({"method": 7}, "method"),
        ({"start_time_ns": 2, "end_time_ns": 1}, "after end"),
    ):
        code, text = await refusal(
            site.history.GetOverview(history_pb2.GetOverviewRequest(tag_name=FLOW, **wrong), timeout=60)
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert word in text


HOT = Alarm(
    plant="hall",
    condition="nsu=urn:x;i=1",
    source="pump",
    name="too hot",
    message="Pumpe heiß",
    state=AlarmState.UNACKNOWLEDGED,
    severity=700,
    time_ns=5,
    event="0102",
)


async def every_alarm(site, **asked):
    found, token = [], ""
    while True:
        request = history_pb2.ListAlarmsRequest(page_size=2, page_token=token, **asked)
        page = await site.history.ListAlarms(request, timeout=60)
        found += [(its.plant, its.condition[-1], bool(its.branch), its.state, its.time_ns) for its in page.alarms]
        token = page.next_page_token
        if not token:
            return found


async def test_alarms_stay_as_they_came_and_the_newest_of_each_is_listed(site, samples):
    unacknowledged, acknowledged = common_pb2.ALARM_STATE_UNACKNOWLEDGED, common_pb2.ALARM_STATE_ACKNOWLEDGED
    normal = common_pb2.ALARM_STATE_NORMAL
    seen = replace(HOT, state=AlarmState.ACKNOWLEDGED)
    other = replace(HOT, condition="nsu=urn:x;i=2", time_ns=7)
    branch = replace(HOT, branch="b")
    site.store.append("p", 1, samples(), (), [HOT, other, seen]).result(60)
    site.store.append("p", 1, samples(), (), [HOT]).result(60)  # a batch that comes twice
    site.store.append("p", 2, samples(), (), [seen, replace(seen, event="0103")]).result(60)  # told again
    site.store.append("p", 3, samples(), (), [HOT, branch]).result(60)  # not new, but the state it is in again
    site.store.append("p", 4, samples(), (), [replace(branch, state=AlarmState.NORMAL)]).result(60)
    assert await every_alarm(site) == [("hall", "2", False, unacknowledged, 7), ("hall", "1", False, unacknowledged, 5)]
    assert await every_alarm(site, history=True) == [
        ("hall", "1", False, unacknowledged, 5),
        ("hall", "2", False, unacknowledged, 7),
        ("hall", "1", False, acknowledged, 5),
        ("hall", "1", False, unacknowledged, 5),
        ("hall", "1", True, unacknowledged, 5),
        ("hall", "1", True, normal, 5),
    ]
    site.store.append("q", 1, samples(), (), [replace(other, time_ns=6)]).result(60)  # a backlog behind what is newer
    assert (await every_alarm(site))[0] == ("hall", "2", False, unacknowledged, 7)
    assert await every_alarm(site, plant="mill") == []
    code, text = await refusal(site.history.ListAlarms(history_pb2.ListAlarmsRequest(page_token="x"), timeout=60))
    assert (code, "page_token" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
