"""What twins have learned over days is kept in a store, and what does not fit is refused."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from uem.services.bus import LatestBus, SampleBus
from uem.services.history.sqlite import SqliteStore
from uem.services.metrics import Metrics
from uem.services.twin import knowledge
from uem.services.twin.knowledge import EVERY_NS, Keeper
from uem.services.twin.worker import Worker
from uem.twin_core.errors import StorageFull
from uem.twin_core.knowledge import Knowledge
from uem.twin_core.measurements import GOOD, NS_PER_S, Samples
from uem.twin_core.plant.factory import FactorySite, MachineTags
from uem.twin_core.plant.production import Factory, Failure, Machine, exponential, gamma
from uem.twin_core.twin import make_twin

DAY_NS = 86_400 * NS_PER_S
T0_NS = 1_704_067_200 * NS_PER_S
REFUSED = 'uem_twin_refused_knowledge_total{asset="shop"}'


def shop(cycle_s=60.0):
    failures = (Failure(to_fail=exponential(36_000.0), to_repair=exponential(300.0)),)
    saw = Machine(name="saw", cycle=gamma(cycle_s, 0.01), takes=(), gives=(), failures=failures)
    return FactorySite(
        factory=Factory(name="shop", machines=(saw,), buffers=()),
        heat=(),
        machine_tags={"saw": MachineTags(state_tag="saw/state", good_tag="saw/good")},
        level_tags={},
        calendar_epoch_ns=T0_NS,
    )


def minutes(first, last):
    """A saw that works and counts a part each minute."""
    rows = [("saw/state", 4.0), ("saw/good", None)]
    return Samples.from_rows(
        (tag, T0_NS + k * 60 * NS_PER_S, float(k) if value is None else value, GOOD)
        for k in range(first, last)
        for tag, value in rows
    )


async def until(condition):
    async with asyncio.timeout(30.0):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Process:
    """Twins and their keeper on a store, as a process has them."""

    def __init__(self, path, site=None, territory="valley"):
        self.metrics = Metrics()
        self.store = SqliteStore(path, self.metrics)
        self.bus = SampleBus()
        self.keeper = Keeper(self.store, territory, self.metrics)
        make = lambda: [make_twin(site or shop())]  # noqa: E731
        self.worker = Worker(
            make(), self.store, self.bus, LatestBus(), self.metrics, make=make, recorded_tags=(), keeper=self.keeper
        )
        self.sequence = self.store.last_sequence("p")

    async def __aenter__(self):
        self.running = asyncio.create_task(self.worker.run())
        return self

    async def __aexit__(self, *exc):
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        self.worker.close()
        self.store.close()

    @property
    def twin(self):
        return self.worker.twin("shop")

    async def tell(self, first, last):
        """And wait until the twin has come so far."""
        self.sequence += 1
        await asyncio.wrap_future(self.store.append("p", self.sequence, minutes(first, last)))
        self.bus.publish(minutes(first, last))
        await self.at(last)

    async def at(self, minute):
        time_ns = T0_NS + (minute - 3) * 60 * NS_PER_S
        await until(lambda: self.twin.snapshot is not None and self.twin.snapshot.plant_time_ns >= time_ns)

    async def keep(self, every_ns=1):
        await self.keeper.keep(["shop"], self.worker.knowledge, every_ns)

    def refused(self):
        return self.metrics.registry.get_sample_value("uem_twin_refused_knowledge_total", {"asset": "shop"}) or 0.0


def cycles(known):
    """Cycles that a belief is worth."""
    return known.arrays["machine/saw"][1]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


async def lived(path):
    """A process that ran for a time and was killed after it had kept what was learned; what that was."""
    async with Process(path) as process:
        await process.tell(0, 120)
        await process.keep()
        return process.twin.knowledge


async def test_a_restarted_process_knows_what_was_learned_and_counts_nothing_twice(path):
    before = await lived(path)
    assert cycles(before) > 100.0
    async with Process(path) as process:
        await process.at(120)
        assert process.refused() == 0.0
        await process.tell(120, 130)
        assert cycles(process.twin.knowledge) == pytest.approx(cycles(before) + 10.0, abs=3.0)


async def test_what_is_kept_goes_on_with_plant_time_and_one_more_time_at_the_end(path, monkeypatch):
    async with Process(path) as process:
        await process.keep(EVERY_NS)
        assert process.store.knowledge("shop") is None  # nothing has begun
        await process.tell(0, 20)
        await process.keep(EVERY_NS)
        first_ns = process.store.knowledge("shop").time_ns
        await process.tell(20, 30)
        await process.keep(EVERY_NS)
        assert process.store.knowledge("shop").time_ns == first_ns
        await process.tell(30, 50)
        monkeypatch.setattr(knowledge, "LOOK_EVERY_S", 0.01)
        running = asyncio.create_task(process.keeper.run(["shop"], process.worker.knowledge))
        await until(lambda: process.store.knowledge("shop").time_ns > first_ns)
        running.cancel()
        await process.tell(50, 60)
        await process.keep()
        assert process.store.knowledge("shop").time_ns == process.twin.knowledge.time_ns


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE knowledge SET data = substr(data, 1, length(data) / 2)", "wrong checksum"),
        ("UPDATE knowledge SET fits = 'another'", "another territory file or version"),
        ("", "another territory file or version"),
    ],
    ids=["torn", "other version", "other territory"],
)
async def test_what_does_not_fit_is_refused_counted_and_told_and_then_written_anew(path, caplog, change, told):
    await lived(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    async with Process(path, territory="valley" if change else "other") as process:
        await process.at(120)
        assert process.refused() == 1.0
        assert "asset shop learns anew what takes days" in caplog.text
        assert told in caplog.text
        await process.tell(120, 130)
        await process.keep()
        assert process.store.knowledge("shop").time_ns == process.twin.knowledge.time_ns
        assert cycles(process.twin.knowledge) > 100.0  # of the past that is read again


async def test_what_was_learned_of_other_machines_is_refused(path):
    await lived(path)
    async with Process(path, shop(cycle_s=90.0)) as process:
        await process.at(120)
        assert process.refused() == 1.0


async def test_what_is_of_a_time_that_the_history_does_not_reach_is_refused(path, caplog):
    await lived(path)
    async with Process(path) as process:
        kept = process.store.knowledge("shop")
        process.store.keep_knowledge(kept._replace(time_ns=kept.time_ns + DAY_NS)).result(60)
    async with Process(path) as process:
        await process.at(120)
        assert process.refused() == 1.0
        assert "was an older one put back?" in caplog.text


@pytest.mark.parametrize("wrong", [b"", b"no arrays at all", "arrays"])
async def test_bytes_that_are_not_what_was_written_are_refused(path, wrong):
    before = await lived(path)
    async with Process(path) as process:
        known = Knowledge(before.of, before.time_ns, {"machine/saw": np.full(15, np.nan)})
        data = knowledge._packed(known) if wrong == "arrays" else wrong
        kept = process.store.knowledge("shop")
        process.store.keep_knowledge(kept._replace(data=data)).result(60)
    async with Process(path) as process:
        await process.at(120)
        assert process.refused() == 1.0


async def test_a_disk_that_is_full_is_told_once_and_the_twins_go_on(path, caplog):
    async with Process(path) as process:
        await process.tell(0, 60)
        keep = process.store.keep_knowledge

        def full(kept):
            raise StorageFull("no space left")

        process.store.keep_knowledge = full
        await process.keep()
        await process.keep()
        assert caplog.text.count("what was learned of shop is not kept: no space left") == 1
        process.store.keep_knowledge = keep
        await process.keep()
        assert process.store.knowledge("shop") is not None


async def test_a_twin_that_is_estimated_again_with_late_samples_knows_what_the_old_one_had_learned(path):
    before = await lived(path)
    failures = before.arrays["machine/saw"][4] + 50.0  # as if it had failed long before what is read again
    async with Process(path) as process:
        before.arrays["machine/saw"][4] = failures
        kept = process.store.knowledge("shop")
        process.store.keep_knowledge(kept._replace(data=knowledge._packed(before))).result(60)
    async with Process(path) as process:
        await process.at(120)
        await process.tell(120, 180)
        old, late = process.twin, minutes(170, 171)
        late = replace(late, source_time_ns=late.source_time_ns + NS_PER_S)
        process.sequence += 1
        await asyncio.wrap_future(process.store.append("p", process.sequence, late))
        process.bus.publish(late)
        await until(lambda: process.twin is not old)
        await process.tell(180, 190)
        assert process.twin.knowledge.arrays["machine/saw"][4] == pytest.approx(failures)
