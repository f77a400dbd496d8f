"""The past that a twin reads again when it is followed each second: in longer steps, by fewer samples of its meters."""

import asyncio
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from shipped import shipped

from uem.services.history.sqlite import SqliteStore
from uem.services.metrics import Metrics
from uem.services.twin.past import read_past
from uem.twin_core.follow.machine import MachineFollower
from uem.twin_core.measurements import GOOD, NS_PER_S, Samples
from uem.twin_core.twin import AssetTwin, make_twin, make_twins

PONGAU = shipped("pongau")


@pytest.fixture
def store(tmp_path):
    made = SqliteStore(tmp_path / "history.db", Metrics())
    rows = [(tag, s * NS_PER_S, float(s), GOOD) for s in range(300) for tag in ("heat", "state")]
    done = made.append("p", 1, Samples.from_rows(rows))
    assert isinstance(done, Future)
    done.result(60)
    yield made
    made.close()


def reader(**more):
    """As much of a twin that begins as reading its past needs."""
    return SimpleNamespace(snapshot=None, discrete_tags=frozenset(), **more)


def seconds(samples, tag):
    times = samples.source_time_ns[np.array(samples.names)[samples.tag] == tag]
    return (times // NS_PER_S).tolist()


def test_of_a_meter_the_first_and_the_newest_sample_of_each_step_are_read_and_the_last_step_whole(store):
    twin = reader(tags=("heat", "state"), meter_tags={"heat"}, past_step_s=60.0)
    found = read_past(store, twin, 0, 290 * NS_PER_S)
    assert seconds(found, "heat") == [0, 59, 119, 179, *range(230, 290)]
    assert seconds(found, "state") == [*range(290)]
    assert (np.diff(found.source_time_ns) >= 0).all()


def test_a_twin_without_such_steps_reads_all(store):
    twin = reader(tags=("heat",), meter_tags=frozenset(), past_step_s=0.0)
    assert seconds(read_past(store, twin, 10 * NS_PER_S, 20 * NS_PER_S), "heat") == [*range(10, 20)]


@pytest.mark.parametrize("past_step_s", [0.0, 60.0])
def test_a_state_that_was_told_last_before_the_past_is_known_from_its_beginning_on(store, past_step_s):
    twin = reader(tags=("heat", "state"), meter_tags={"heat"}, past_step_s=past_step_s)
    twin.discrete_tags = frozenset({"state"})
    found = read_past(store, twin, 295 * NS_PER_S, 400 * NS_PER_S)
    rows = [row for row in found.rows() if row[0] == "state"]
    assert rows[0] == ("state", 295 * NS_PER_S - 1, 294.0, GOOD)
    assert seconds(found, "heat")[0] == 295
    twin.snapshot = "one that knows"
    assert seconds(read_past(store, twin, 295 * NS_PER_S, 400 * NS_PER_S), "state") == [*range(295, 300)]


async def test_a_twin_that_is_started_again_while_a_machine_is_in_its_state_for_longer_than_its_past(
    make_site, recorded
):
    rows = [*recorded("washer", 0, 400).rows()]
    state = PONGAU.asset("washer").state_tag
    first_ns = rows[0][1]
    told = Samples.from_rows(row for row in rows if row[0] != state or row[1] == first_ns)
    site = await make_site([brief()])
    await asyncio.wrap_future(site.store.append("p", 1, told))
    site = await make_site([brief()])
    await site.until(lambda: site.states.latest("washer"))
    assert site.states.latest("washer").snapshot.plant_time_ns > first_ns + 100 * NS_PER_S


class Brief(MachineFollower):
    """A machine of whose past little is read."""

    def __init__(self, machine):
        super().__init__(machine)
        self.patience = replace(self.patience, warm_up_s=60.0)


def brief():
    return AssetTwin(Brief(PONGAU.asset("washer")))


class Coarse(MachineFollower):
    """A machine whose past may be followed minute by minute."""

    past_step_s = 60.0
    meter_tags = ()


def coarse():
    return AssetTwin(Coarse(PONGAU.asset("washer")))


def steps(snapshots):
    return np.diff([s.plant_time_ns for s in snapshots]) / NS_PER_S


def test_coarse_steps_are_whole_and_what_is_left_is_followed_as_live(recorded):
    twin = coarse()
    twin.take(recorded("washer", 0, 400))
    old = twin.advance(coarsely=True)
    assert steps(old).tolist() == [60.0] * 6
    rest = steps([old[-1], *twin.advance()])
    assert set(rest) == {1.0}
    assert rest.sum() < 60.0


def test_a_twin_without_such_steps_makes_its_own(recorded):
    twin = make_twin(PONGAU.asset("washer"))
    twin.take(recorded("washer", 0, 100))
    assert set(steps(twin.advance(coarsely=True))) == {1.0}


async def test_a_restarted_worker_follows_such_a_past_coarsely_and_what_comes_each_second(make_site, recorded):
    def twins():
        return [twin for twin in make_twins(PONGAU) if twin.name != "washer"] + [coarse()]

    first, rest = recorded("washer", 0, 400), recorded("washer", 400, 420)
    site = await make_site(twins())
    await asyncio.wrap_future(site.store.append("p", 1, first))
    site = await make_site(twins())

    async def at(time_ns):
        await site.until(lambda: (newest := site.states.latest("washer")) and newest.snapshot.plant_time_ns == time_ns)
        return site.states.latest("washer").snapshot

    old = await at(first.source_time_ns.max())
    whole, left = divmod((old.plant_time_ns - old.ledger_since_ns) // NS_PER_S, 60)
    assert old.tick == 1 + whole + left
    site.bus.publish(rest)
    new = await at(rest.source_time_ns.max())
    assert new.tick == old.tick + (new.plant_time_ns - old.plant_time_ns) // NS_PER_S
