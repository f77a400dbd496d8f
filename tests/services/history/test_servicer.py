import grpc
import numpy as np
import pytest

from uem.services.history import servicer as servicer_module
from uem.services.ingestion.convert import samples as columns
from uem.twin_core.measurements import Gap, GapReason, Samples
from uem.v1 import common_pb2, history_pb2
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
        history_pb2.ListTagsRequest(page_size=2, page_token=first.next_page_token), timeout=5
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
    for wrong, word in (({"point_count": 1}, "point_count"), ({"start_time_ns": 2, "end_time_ns": 1}, "after end")):
        code, text = await refusal(
            site.history.GetOverview(history_pb2.GetOverviewRequest(tag_name=FLOW, **wrong), timeout=60)
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert word in text
