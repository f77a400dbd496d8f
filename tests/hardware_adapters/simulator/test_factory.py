"""Factories as they really are: what they tell, what their twins make of it, and machines that are stopped."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pytest
from shipped import shipped

from uem.hardware_adapters.simulator.factory import EXACT, SCAN_S, FactoryTruth, Unlike, unlike
from uem.twin_core.errors import UnknownName
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.plant.factory import slots_apart
from uem.twin_core.production.indicators import PackML
from uem.twin_core.twin import make_twin, make_twins

VALLEY = shipped("vallee")
SITES = {site.name: site for site in VALLEY.factories}
SENSORS = {binding.column: [binding.tag.name] for binding in VALLEY.tags if binding.column}
BEGIN_NS = round(datetime(2026, 1, 14, 5, tzinfo=UTC).timestamp()) * NS_PER_S  # a Wednesday
SHIFT_S = 8 * 3600
EVERY_S = 10  # what is told is taken in
STEP_S = 20.0  # of twins over shifts; each sample counts at its own time, whatever the step
AT_ITS_OWN_STEP = "chemical-site"
SILENT_FROM = 150  # minutes of the night
EVERY = pytest.mark.parametrize("name", SITES)


def truth_of(name, seed=1, how=None):
    truth = FactoryTruth(SITES[name], SENSORS, seed=seed, how=how)
    truth.begin(BEGIN_NS)
    return truth


class Followed:
    """A factory and the twin that follows it."""

    def __init__(self, name, how=None, step_s=None):
        self.truth, self.twin = truth_of(name, how=how), make_twin(SITES[name], step_s, forecasts=False)
        self.time_ns, self.snapshots, self.rows = BEGIN_NS, [], []
        self.heat_w, self.shown = [], [(BEGIN_NS, self.truth.shown())]
        self._take()

    def _take(self):
        rows = [*self.truth.rows(self.time_ns)]
        self.rows += rows
        self.twin.take(Samples.from_rows(rows))
        self.snapshots += self.twin.advance()

    def go_on(self, seconds):
        for _ in range(seconds // EVERY_S):
            self.truth.step(EVERY_S)
            self.time_ns += EVERY_S * NS_PER_S
            self._take()
            self.heat_w.append([*self.truth.heat_w().values()])
            self.shown.append((self.time_ns, self.truth.shown()))

    def column(self, name):
        k = [signal.name for signal in self.twin.signals].index(name)
        return np.array([snapshot.value[k] for snapshot in self.snapshots])

    def deviation(self, name):
        k = [signal.name for signal in self.twin.signals].index(name)
        return np.array([snapshot.standard_deviation[k] for snapshot in self.snapshots])

    def times_s(self):
        return np.array([(snapshot.plant_time_ns - BEGIN_NS) / NS_PER_S for snapshot in self.snapshots])

    def true_heat_w(self, stream):
        """Means between the snapshots."""
        total_j = np.concatenate([[0.0], np.cumsum([EVERY_S * watts[stream] for watts in self.heat_w])])
        at_s = self.times_s()
        return np.diff(np.interp(at_s, EVERY_S * np.arange(len(total_j)), total_j)) / np.diff(at_s)

    def shown_at(self, tag):
        """What controllers showed at the snapshots."""
        return np.array([self.shown[round(second / EVERY_S)][1][tag] for second in self.times_s()])


@cache
def a_shift(name):
    found = Followed(name, step_s=None if name == AT_ITS_OWN_STEP else STEP_S)
    found.go_on(SHIFT_S)
    return found


# --- what it tells ---


@EVERY
def test_every_tag_of_the_plant_is_told_and_within_its_range(name):
    told = {}
    for tag, _, value, _ in a_shift(name).rows:
        told.setdefault(tag, []).append(value)
    ranges = {binding.tag.name: binding.tag for binding in VALLEY.tags if binding.plant == name}
    assert set(told) == set(ranges)
    for tag, values in told.items():
        assert ranges[tag].low <= min(values)
        assert max(values) <= ranges[tag].high


def test_times_go_forward_and_a_change_has_the_time_of_its_scan():
    last_ns = {}
    truth = truth_of("dairy")
    rows = [*truth.rows(BEGIN_NS)]
    for minute in range(1, 61):
        truth.step(60.0)
        rows += truth.rows(BEGIN_NS + minute * 60 * NS_PER_S)
    for tag, time_ns, _, _ in rows:
        assert time_ns > last_ns.get(tag, 0)
        last_ns[tag] = time_ns
    seconds = {(time_ns - BEGIN_NS) % (60 * NS_PER_S) for _, time_ns, _, _ in rows}
    assert len(seconds) > 10
    assert all(part % round(SCAN_S * NS_PER_S) == 0 for part in seconds)


def test_one_seed_is_one_factory_and_another_is_another():
    def rows(seed):
        truth = truth_of("machining-shop", seed)
        truth.step(3600.0)
        return [*truth.rows(BEGIN_NS)]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_a_longer_step_is_the_same_factory():
    one, many = truth_of("chemical-site"), truth_of("chemical-site")
    one.step(600.0)
    for _ in range(600):
        many.step(1.0)
    assert one.shown() == many.shown()


def test_it_differs_by_no_more_than_it_says_and_with_nothing_different_by_nothing():
    how, factory = Unlike(), slots_apart(SITES["graphite-works"]).factory
    pairs = list(zip(factory.machines, unlike(factory, how, np.random.default_rng(1)).machines, strict=True))
    paces = [b.cycle.mean / a.cycle.mean for a, b in pairs if a.furnace is None]
    assert 0.0 < max(abs(pace - 1.0) for pace in paces) <= how.cycle
    lasts = [b.failures[0].to_fail.mean / a.failures[0].to_fail.mean for a, b in pairs]
    assert 0.1 < max(abs(last - 1.0) for last in lasts) <= how.failures
    assert all(b.furnace.recipe == a.furnace.recipe for a, b in pairs if a.furnace is not None)
    same = unlike(factory, EXACT, np.random.default_rng(1))
    assert [replace(m, failures=m.failures[:-1]) for m in same.machines] == [*factory.machines]


# --- its twin ---


@EVERY
def test_the_twin_of_a_shift_has_the_states_and_counts_that_were_told(name):
    followed = a_shift(name)
    assert followed.twin.failure_count == 0
    assert followed.twin.late_count == 0
    assert followed.times_s()[-1] > SHIFT_S - 60
    for machine, tags in slots_apart(SITES[name]).machine_tags.items():
        np.testing.assert_array_equal(followed.column(f"machine/{machine}/state"), followed.shown_at(tags.state_tag))
        np.testing.assert_array_equal(followed.column(f"machine/{machine}/good"), followed.shown_at(tags.good_tag))
        predicted = followed.column(f"machine/{machine}/state/twin")
        assert (predicted == followed.shown_at(tags.state_tag)).mean() > 0.97, machine


@EVERY
def test_the_waste_heat_of_the_twin_is_within_what_it_says(name):
    followed = a_shift(name)
    for k, stream in enumerate(SITES[name].heat):
        mine, sd = (f(f"heat/{stream.name}")[1:] for f in (followed.column, followed.deviation))
        off = np.abs(mine - followed.true_heat_w(k))
        assert (off <= sd).mean() > 0.68
        assert (off <= 2.0 * sd).mean() > 0.95


# --- who is silent ---

MINUTE_NS = 60 * NS_PER_S
EVENING_NS = BEGIN_NS + 15 * 3600 * NS_PER_S  # an hour before the shop is left for the night


@cache
def a_night():
    """By minute, what the machining shop told in five hours from the evening on."""
    truth, told = truth_of("machining-shop"), []
    truth.begin(EVENING_NS)
    for minute in range(5 * 60):
        told.append([*truth.rows(EVENING_NS + minute * MINUTE_NS)])
        truth.step(60.0)
    return told


def doubted(is_silent=None):
    """Signals that are not Good, by minute, in the twin of the territory; tags fall silent after SILENT_FROM."""
    twin, found = next(twin for twin in make_twins(VALLEY) if twin.name == "machining-shop"), {}
    names = np.array([signal.name for signal in twin.signals])
    for minute, rows in enumerate(a_night()):
        told = rows if is_silent is None else [row for row in rows if not is_silent(row[0], minute)]
        twin.take(Samples.from_rows(told))
        for snapshot in twin.advance(coarsely=is_silent is not None and minute < SILENT_FROM):
            found[(snapshot.plant_time_ns - EVENING_NS) // MINUTE_NS] = {*names[snapshot.quality >> 30 > 0]}
    assert (twin.failure_count, twin.late_count) == (0, 0)
    return found


def test_in_the_night_nothing_of_a_shop_that_stands_is_in_doubt():
    told = [tag for rows in a_night()[150:] for tag, *_ in rows]
    assert not any(tag.endswith(("/state", "/good", "/level")) for tag in told)
    found = doubted()
    assert max(found) > 290
    assert not set.union(*(some for minute, some in found.items() if minute > 15))


@pytest.mark.parametrize("silent", ["machining-shop/mills/2/", "machining-shop/mills/2/power"])
def test_a_machine_that_is_dead_and_a_meter_that_is_are_found_within_the_hour(silent):
    found = doubted(lambda tag, minute: tag.startswith(silent) and minute > 150)
    assert not found[209]
    assert {"machine/mills-2/state", "machine/mills-2/power", "power"} <= found[211]
    assert {name for name in found[290] if name.endswith("/state")} == {"machine/mills-2/state"}


def test_a_plant_that_is_away_for_longer_than_an_hour_is_missed_from_then_on_until_it_is_back():
    found = doubted(lambda tag, minute: 150 < minute < 230)
    assert not found[209]
    states = {f"machine/{name}/state" for name in slots_apart(SITES["machining-shop"]).machine_tags}
    assert all(states < found[minute] for minute in range(211, 230))
    after = set.union(*(found[minute] for minute in range(231, 290)))
    assert all(name.endswith("energy") for name in after)  # of which more than a hundredth was not measured


# --- stops ---


def test_a_stop_is_in_the_state_within_a_step_and_lowers_the_heat_until_it_ends():
    followed = Followed("graphite-works")
    followed.go_on(300)
    fuel_w = {name: watts for name, watts in followed.truth.metered().items() if "/fuel/" in name}
    furnace = max(fuel_w, key=fuel_w.__getitem__).rsplit("/", 1)[1]
    before_w, stopped_s = followed.column("heat/fumes")[-1], 300
    followed.truth.stop(furnace)
    followed.go_on(300)
    assert followed.shown[stopped_s // EVERY_S + 1][1][f"graphite-works/{furnace}/state"] == PackML.CLEARING
    at_s, state = followed.times_s(), followed.column(f"machine/{furnace}/state")
    first = np.flatnonzero(at_s > stopped_s)[0]
    assert (state[first:] == PackML.CLEARING).all()
    heat_w = followed.column("heat/fumes")
    assert heat_w[first + 1 :].max() < before_w - 400e3
    followed.truth.resume(furnace)
    followed.go_on(300)
    assert followed.column(f"machine/{furnace}/state")[-1] == PackML.EXECUTE
    assert followed.column("heat/fumes")[-1] > heat_w[-1] + 400e3


def test_second_by_second_a_stop_is_in_the_twin_of_a_territory_within_three_seconds():
    truth, time_ns = truth_of("chemical-site"), BEGIN_NS
    twin = next(twin for twin in make_twins(VALLEY) if twin.name == "chemical-site")
    names = [signal.name for signal in twin.signals]
    k, power = (names.index(f"machine/electrolysis/{what}") for what in ("state", "power"))
    twin.take(Samples.from_rows(truth.rows(time_ns)))
    for second in range(64):
        if second == 60:
            assert twin.snapshot.value[k] == PackML.EXECUTE
            truth.stop("electrolysis")
        truth.step(1.0)
        time_ns += NS_PER_S
        twin.take(Samples.from_rows(truth.rows(time_ns)))
        twin.advance()
    assert twin.snapshot.value[k] == PackML.CLEARING
    assert twin.snapshot.value[power] < 200e3  # of 9.5 MW


def test_all_slots_of_a_machine_are_stopped_or_one():
    truth = truth_of("dairy")
    truth.stop("chillers-2")
    truth.step(1.0)
    down = [k for k in (1, 2, 3) if truth.shown()[f"dairy/chillers/{k}/state"] == PackML.CLEARING]
    assert down == [2]
    truth.stop("chillers")
    truth.step(1.0)
    assert all(truth.shown()[f"dairy/chillers/{k}/state"] == PackML.CLEARING for k in (1, 2, 3))
    truth.resume("chillers")
    truth.step(1.0)
    down = [k for k in (1, 2, 3) if truth.shown()[f"dairy/chillers/{k}/state"] == PackML.CLEARING]
    assert down == [2]  # which was stopped by itself as well
    truth.resume("chillers-2")
    truth.step(1.0)
    assert all(truth.shown()[f"dairy/chillers/{k}/state"] != PackML.CLEARING for k in (1, 2, 3))
    with pytest.raises(UnknownName, match="chiller-9"):
        truth.stop("chiller-9")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_twin_that_has_just_begun_foresees_the_fumes_of_batches_that_were_begun_before(seed):
    # Of furnaces whose batches last for two days nobody saw the beginning: the chamber tells how far they are.
    truth, time_ns = truth_of("graphite-works", seed=seed), BEGIN_NS
    twin = make_twin(SITES["graphite-works"], forecasts=False)
    twin.take(Samples.from_rows([*truth.rows(time_ns)]))
    for _ in range(30):
        truth.step(60.0)
        time_ns += 60 * NS_PER_S
        twin.take(Samples.from_rows([*truth.rows(time_ns)]))
        twin.advance()
    (fumes,) = [series for series in twin.forecast(3 * 3600.0).series if series.signal == "heat/fumes"]
    true_w = []
    for _ in fumes.value:
        means_w = []
        for _ in range(15):
            truth.step(60.0)
            means_w.append(truth.heat_w()["fumes"])
        true_w.append(np.mean(means_w))
    assert fumes.value == pytest.approx(true_w, rel=0.2)
