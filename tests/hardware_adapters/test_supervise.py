import asyncio
import itertools
import math
import random
import time

import pytest

from uem.hardware_adapters import supervise
from uem.hardware_adapters.base import Break
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.report import plant_status
from uem.hardware_adapters.supervise import Backoff, PlantLink
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, Gap, GapReason, Samples


class Scripted:
    """An adapter that plays a list: batches, and at the end an error or the end."""

    def __init__(self, batches, error=None, missing=None, refuses=None):
        self.missing = missing or {}
        self.dropped = 2
        self.connected = True
        self._batches, self._error, self._refuses = batches, error, refuses

    async def __aenter__(self):
        if self._refuses:
            raise self._refuses
        return self

    async def __aexit__(self, *exc):
        pass

    async def batches(self):
        for batch in self._batches:
            yield batch
        if self._error:
            raise self._error


def samples(*rows):
    return Samples.from_rows(rows)


async def played(*adapters):
    """Run a link over scripted adapters; the link and the rows it delivered."""
    rows, left = [], list(adapters)
    link = PlantLink("hall", lambda: left.pop(0), lambda plant, batch, _: rows.extend(batch.rows()))
    async with asyncio.timeout(60):
        await link.run()
    return link, rows


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(supervise, "FIRST_WAIT_S", 0.01)


def test_waits_double_up_to_the_longest_and_start_anew_after_success(monkeypatch):
    monkeypatch.undo()
    backoff = Backoff()
    assert [backoff.next_s() for _ in range(7)] == [0.5, 1, 2, 4, 8, 16, 16]
    backoff.reset()
    assert backoff.next_s() == 0.5


async def test_a_lost_plant_is_opened_again_and_what_it_repeats_is_left_out(caplog):
    first = samples(("a", 1, 1.0, 0), ("b", 1, math.nan, BAD_SENSOR_FAILURE))
    again = samples(("b", 1, math.nan, BAD_SENSOR_FAILURE), ("a", 1, 1.0, 0), ("a", 2, 1.0, 0))
    link, rows = await played(
        Scripted([first], AdapterError("cut")), Scripted([], refuses=AdapterError("still away")), Scripted([again])
    )
    assert [row[:2] for row in rows] == [("a", 1), ("b", 1), ("a", 2)]
    assert (link.received, link.repeated, link.bad_quality, link.reconnects, link.dropped) == (5, 2, 1, 2, 4)
    assert not link.connected
    assert 0 <= link.newest_age_s < 60
    assert any("cut" in record.message for record in caplog.records)


async def test_what_may_be_lost_while_no_adapter_was_open_is_a_gap_of_each_tag_that_went_on():
    gaps, left = (
        [],
        [
            Scripted([samples(("a", 1, 1.0, 0), ("b", 1, 1.0, 0))], AdapterError("cut")),
            Scripted(
                [samples(("b", 1, 1.0, 0), ("a", 5, 2.0, 0), ("a", 6, 3.0, 0)), Break(GapReason.SOURCE_RESTARTED)]
            ),
        ],
    )
    link = PlantLink("hall", lambda: left.pop(0), lambda plant, batch, found: gaps.extend(found))
    async with asyncio.timeout(60):
        await link.run()
    assert gaps == [Gap("a", 1, 5, GapReason.LINK_DOWN)]
    assert link.gaps == 1


async def test_equal_values_at_a_new_time_and_new_values_at_an_equal_time_are_kept():
    batch = samples(("a", 1, 1.0, 0))
    _, rows = await played(
        Scripted([batch, samples(("a", 2, 1.0, 0)), samples(("a", 2, 3.0, 0)), samples(("a", 2, 3.0, 64))])
    )
    assert rows == [("a", 1, 1.0, 0), ("a", 2, 1.0, 0), ("a", 2, 3.0, 0), ("a", 2, 3.0, 64)]


async def test_lag_is_from_the_newest_source_time_of_a_batch_and_decoding_adds_up_over_adapters():
    class Decoding(Scripted):
        decode_s = 0.25

    now_ns = time.time_ns()
    batches = [samples(("a", now_ns - 9 * 10**9, 1.0, 0), ("a", now_ns - 7 * 10**9, 1.0, 0)), samples(("b", 1, 1.0, 0))]
    link, _ = await played(Decoding(batches, AdapterError("cut")), Scripted([]), Decoding([]))
    counts = dict(zip(link.lag_s.bounds, link.lag_s.counts, strict=False))
    assert (counts[5.0], counts[10.0] + counts[60.0], link.lag_s.counts[-1]) == (0, 1, 1)
    link, _ = await played(Decoding([], AdapterError("cut")), Scripted([], AdapterError("cut")), Decoding([]))
    assert link.decode_s == 0.5


async def test_problems_add_up_over_adapters_and_those_that_did_not_happen_are_counted_as_none():
    class Complaining(Scripted):
        problems = {"garbled": 2, "silent": 0}  # noqa: RUF012

    link, _ = await played(Complaining([], AdapterError("cut")), Scripted([], AdapterError("cut")), Complaining([]))
    assert link.problems == {"garbled": 4, "silent": 0}


async def test_a_batch_that_is_only_repeated_is_not_delivered():
    batch = samples(("a", 1, 1.0, 0))
    link, rows = await played(Scripted([batch, batch, batch]))
    assert len(rows) == 1
    assert link.repeated == 2


async def test_a_fault_inside_an_adapter_is_logged_and_tried_again(caplog):
    link, rows = await played(Scripted([], error=KeyError("bug")), Scripted([samples(("a", 1, 1.0, 0))]))
    assert len(rows) == 1
    assert link.reconnects == 1
    assert any(record.exc_info for record in caplog.records)


async def test_tags_that_are_missing_later_are_told_while_the_adapter_stays_open(caplog):
    class Changing(Scripted):
        async def batches(self):
            yield samples(("a", 1, 1.0, 0))
            self.missing = {"b": "not there any more"}
            yield samples(("a", 2, 1.0, 0))

    link, _ = await played(Changing([]))
    assert link.missing == {"b": "not there any more"}
    assert sum("is missing" in record.message for record in caplog.records) == 1


async def test_missing_tags_are_said_once_and_shown_as_they_are_now(caplog):
    link, _ = await played(
        Scripted([], AdapterError("cut"), missing={"a": "not there", "b": "not there"}),
        Scripted([], missing={"b": "not there"}),
    )
    assert link.missing == {"b": "not there"}
    assert sum("is missing" in record.message for record in caplog.records) == 2


async def test_cut_after_cut_also_while_it_recovers_the_plant_comes_back(
    open_hall, proxy, bindings, shared_pki, until, monkeypatch
):
    """Random cuts of the line, fixed seed: it always comes back, nothing is doubled and nothing goes backwards."""
    monkeypatch.setattr(supervise, "LONGEST_WAIT_S", 0.1)
    chance, rows = random.Random(7), []
    async with open_hall() as hall, proxy(hall.server.endpoint) as line:

        def make():
            return OpcUaAdapter(
                line["endpoint"],
                bindings,
                shared_pki.gateway,
                publish_interval_ms=20.0,
                silence_s=1.0,
                connect_timeout_s=10.0,
            )

        async def count():
            for n in itertools.count(1):
                await hall.server.write(n * 1_000_000_000, [0.0, 0.0, float(n)], [0, 0, 0])
                await asyncio.sleep(0.01)

        link = PlantLink("hall", make, lambda plant, batch, _: rows.extend(batch.rows()))
        tasks = [asyncio.create_task(link.run()), asyncio.create_task(count())]
        for cut in itertools.count(1):
            await asyncio.sleep(chance.choice([0.02, 0.1, 0.3]))
            line["cut"]()
            if cut >= 12 and link.reconnects >= 4:
                break
        line["swallow"] = True
        await asyncio.sleep(1.2)
        line["swallow"] = False
        before = len(rows)
        await until(lambda: link.connected and len(rows) > before + 30)
        await end(tasks)
    counted = [row[2] for row in rows if row[0] == "hall/state" and row[3] == 0]
    assert counted == sorted(set(counted))


async def test_a_report_tells_how_often_a_plant_usually_speaks():
    link, _ = await played(Scripted([samples(("a", i, 1.0, 0)) for i in range(5)]))
    assert 0.0 < plant_status(link, 0).usual_interval_s < 30.0


def test_before_the_first_sample_there_is_no_age_and_no_usual_interval():
    link = PlantLink("hall", lambda: None, lambda plant, batch, gaps: None)
    assert math.isnan(link.newest_age_s)
    assert not plant_status(link, 0).HasField("usual_interval_s")
    assert link.dropped == 0
