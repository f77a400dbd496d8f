from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shipped import shipped

from uem.twin_core.errors import InvalidInput, ModelFailure, NotReady
from uem.twin_core.follow.machine import MachineFollower
from uem.twin_core.follow.network import NetworkFollower
from uem.twin_core.measurements import GOOD, NS_PER_S, UNCERTAIN, Samples
from uem.twin_core.state import Source
from uem.twin_core.twin import AssetTwin, make_twin, make_twins

PONGAU = shipped("pongau")


def same(a, b):
    """Bit for bit, NaN equal to NaN."""
    return len(a) == len(b) and all(
        (x.tick, x.plant_time_ns) == (y.tick, y.plant_time_ns)
        and x.value.tobytes() == y.value.tobytes()
        and x.standard_deviation.tobytes() == y.standard_deviation.tobytes()
        and x.quality.tobytes() == y.quality.tobytes()
        and x.age_s.tobytes() == y.age_s.tobytes()
        for x, y in zip(a, b, strict=True)
    )


def rows_of(samples, asset, keep):
    """The first `keep` rows of a recording, with some samples lost, bad and late."""
    rows = list(samples(asset).rows())[:keep]
    broken = []
    for k, (tag, time, value, quality) in enumerate(rows):
        if k % 17 == 5:
            continue
        if k % 29 == 3:
            quality = 0x80000000
        broken.append((tag, time, value, quality))
        if k % 31 == 7:
            broken.append((tag, time - 10 * NS_PER_S, value, quality))
    return broken


@pytest.mark.parametrize(("asset", "keep"), [("branch", 180), ("washer", 600)])
def test_the_same_samples_give_the_same_states_bit_for_bit_in_any_batches(recorded, asset, keep):
    rows = rows_of(recorded, asset, keep)
    again = [(tag, time - 40 * 3600 * NS_PER_S, value, quality) for tag, time, value, quality in rows[:100]]
    rows += again  # the plant starts anew
    whole = make_twin(PONGAU.asset(asset))
    whole.take(Samples.from_rows(rows))
    expected = whole.advance()
    assert whole.restart_count == 1
    assert whole.late_count > 0
    expected_forecast = whole.forecast()

    @settings(max_examples=8, deadline=None)
    @given(cuts=st.lists(st.integers(0, len(rows)), max_size=40))
    def check(cuts):
        twin, found = make_twin(PONGAU.asset(asset)), []
        for begin, end in pairwise([0, *sorted(cuts), len(rows)]):
            twin.take(Samples.from_rows(rows[begin:end]))
            found += twin.advance()
        assert same(found, expected)
        for a, b in zip(twin.forecast().series, expected_forecast.series, strict=True):
            assert a.quantile.tobytes() == b.quantile.tobytes()

    check()


def test_ticks_count_up_by_one_and_time_goes_on_by_the_step(recorded):
    twin = make_twin(PONGAU.asset("branch"), forecasts=False)
    twin.take(recorded("branch"))
    snapshots = twin.advance()
    assert [s.tick for s in snapshots] == list(range(1, len(snapshots) + 1))
    assert set(np.diff([s.plant_time_ns for s in snapshots])) == {60 * NS_PER_S}
    assert twin.advance() == []


def test_without_forecasts_the_snapshots_are_the_same_and_no_band_learns(recorded):
    samples = Samples.from_rows(rows_of(recorded, "branch", 360))
    with_them, without = (make_twin(PONGAU.asset("branch"), forecasts=forecasts) for forecasts in (True, False))
    for twin in (with_them, without):
        twin.take(samples)
    assert same(with_them.advance(), without.advance())
    assert {series.residual_count for series in without.forecast().series} == {0}
    assert {series.residual_count for series in with_them.forecast().series} != {0}


def test_a_twin_without_measurements_says_what_it_waits_for(recorded):
    twin = make_twin(PONGAU.asset("washer"))
    assert twin.advance() == []
    with pytest.raises(NotReady, match="washer/tank/temperature"):
        twin.forecast()
    twin.take(Samples.from_rows([("washer/state", 0, 2.0, GOOD)]))
    assert twin.advance() == []
    assert "washer/state" not in twin.waits_for
    assert twin.newest_ns == 0


def test_samples_of_other_assets_are_not_looked_at(recorded):
    twin = make_twin(PONGAU.asset("washer"))
    twin.take(recorded("branch"))
    assert twin.newest_ns is None


def test_advancing_stops_where_it_is_told_and_goes_on_from_there(recorded):
    twin, begin = make_twin(PONGAU.asset("branch")), int(recorded("branch").source_time_ns[0])
    twin.take(recorded("branch"))
    assert twin.advance(begin - 1) == []
    assert [s.plant_time_ns - begin for s in twin.advance(begin + 90 * NS_PER_S)] == [0, 60 * NS_PER_S, 90 * NS_PER_S]
    assert [s.plant_time_ns - begin for s in twin.advance(begin + 120 * NS_PER_S)] == [120 * NS_PER_S]


def test_after_a_jump_back_the_twin_begins_anew_at_the_new_time(recorded):
    twin, rows = make_twin(PONGAU.asset("washer")), list(recorded("washer").rows())
    twin.take(Samples.from_rows(rows[2000:2400]))
    first = twin.advance()
    twin.take(Samples.from_rows(rows[:400]))
    again = twin.advance()
    assert twin.restart_count == 1
    assert again[0].plant_time_ns < first[0].plant_time_ns
    assert again[0].tick == first[-1].tick + 1
    energy = [s.name for s in twin.signals].index("energy")
    assert again[0].value[energy] == 0.0
    assert {s.ledger_since_ns for s in first} == {first[0].plant_time_ns}
    assert {s.ledger_since_ns for s in again} == {again[0].plant_time_ns}


class Failing(MachineFollower):
    """Refuses steps that end in the given seconds."""

    broken = range(10, 15)

    def step(self, intake, begin_ns, end_ns):
        super().step(intake, begin_ns, end_ns)
        if end_ns // NS_PER_S in self.broken:
            self._run.power_w[:] = np.nan
            self._run.tank_temp_k[:] = np.nan
            raise InvalidInput("no such temperature")


class Nonsense(MachineFollower):
    """Gives NaN without noticing."""

    def write(self, intake, time_ns, columns):
        super().write(intake, time_ns, columns)
        if time_ns // NS_PER_S == 10:
            columns.put("power/twin", np.nan, 0.0, GOOD, 0.0)


def steady_washer(seconds):
    columns = {
        "washer/state": 9.0,
        "washer/power": 181.0,
        "washer/tank/temperature": 333.0,
        "washer/hall/temperature": 293.0,
    }
    return Samples.from_rows((tag, s * NS_PER_S, v, GOOD) for s in seconds for tag, v in columns.items())


@pytest.mark.parametrize(("kind", "failures"), [(Failing, 5), (Nonsense, 1)])
def test_a_step_that_fails_keeps_the_last_good_state_and_marks_it(kind, failures):
    twin = AssetTwin(kind(PONGAU.asset("washer")))
    twin.take(steady_washer(range(11)))
    snapshots = twin.advance()
    assert twin.failure is not None
    assert snapshots[-1].value.tobytes() == snapshots[-2].value.tobytes()
    assert (snapshots[-1].quality >= UNCERTAIN).all()
    twin.take(steady_washer(range(11, 30)))
    snapshots += twin.advance()
    assert twin.failure is None
    assert twin.failure_count == failures
    assert all(np.isfinite(s.value).all() for s in snapshots)
    ledger = np.array([s.source is Source.LEDGER for s in twin.signals])
    assert (snapshots[-1].quality[~ledger] == GOOD).all()
    assert (snapshots[-1].quality[ledger] == UNCERTAIN).all()
    assert [s.tick for s in snapshots] == list(range(1, 31))


def test_a_step_that_fails_leaves_no_residual_and_its_time_in_the_uncertainty_of_the_ledgers():
    twin = AssetTwin(Failing(PONGAU.asset("washer")))
    twin.take(steady_washer(range(30)))
    last = twin.advance()[-1]
    assert twin._follower._power_error.count == 29 - 5
    at = {s.name: i for i, s in enumerate(twin.signals)}
    assert last.value[at["energy"]] == 24 * 181.0
    largest_w = twin._follower._largest_w
    assert last.standard_deviation[at["energy"]] == pytest.approx(0.01 * 24 * 181.0 + 5 * largest_w)
    assert last.standard_deviation[at["state/9/time"]] == 1.0 + 5.0


def test_a_fault_that_nobody_foresaw_is_undone_and_booked_too():
    class Faulty(MachineFollower):
        def write(self, intake, time_ns, columns):
            super().write(intake, time_ns, columns)
            if time_ns == 10 * NS_PER_S:
                raise ZeroDivisionError("a fault of ours")

    twin = AssetTwin(Faulty(PONGAU.asset("washer")))
    twin.take(steady_washer(range(12)))
    with pytest.raises(ZeroDivisionError):
        twin.advance()
    last = twin.advance()[-1]
    at = {s.name: i for i, s in enumerate(twin.signals)}
    assert last.value[at["energy"]] == 10 * 181.0  # of 11 s
    assert last.quality[at["energy"]] == UNCERTAIN


class Blind(MachineFollower):
    """Cannot forecast from the plant times in `blind` (s)."""

    blind, error = range(30, 31), ZeroDivisionError("a fault of ours")

    def project(self, intake, time_ns, step_s, count):
        if time_ns // NS_PER_S in self.blind:
            raise self.error
        return super().project(intake, time_ns, step_s, count)


def test_a_forecast_that_fails_harms_neither_the_twin_nor_its_ledgers():
    healthy, blind = (AssetTwin(kind(PONGAU.asset("washer"))) for kind in (MachineFollower, Blind))
    for twin in (healthy, blind):
        twin.take(steady_washer(range(61)))
    assert same(blind.advance(35 * NS_PER_S), healthy.advance(35 * NS_PER_S))
    assert (blind.failure, blind.failure_count, blind.forecast_failure_count) == (None, 0, 1)
    assert "a fault of ours" in str(blind.forecast_failure)
    assert all(series.quality >= UNCERTAIN for series in blind.forecast().series)
    assert same(blind.advance(), healthy.advance())
    assert blind.forecast_failure is None


def test_a_model_that_cannot_go_on_is_no_fault_of_who_asks_for_a_forecast():
    class Refusing(Blind):
        error = InvalidInput("too hot for the model")

    twin = AssetTwin(Refusing(PONGAU.asset("washer")))
    twin.take(steady_washer(range(31)))
    twin.advance()
    with pytest.raises(ModelFailure, match="washer: too hot"):
        twin.forecast()


def test_a_twin_that_cannot_begin_tries_again_with_the_next_measurements(recorded):
    twin = make_twin(PONGAU.asset("branch"))
    rows = list(recorded("branch").rows())[:400]
    frozen = [(t, s, 200.0 if t == "branch/1/temperature" and s == rows[0][1] else v, q) for t, s, v, q in rows]
    twin.take(Samples.from_rows(frozen[:9]))
    assert twin.advance() == []
    assert "cannot start" in str(twin.failure)
    twin.take(Samples.from_rows(frozen[9:]))
    assert len(twin.advance()) > 100
    assert twin.failure is None


@pytest.mark.parametrize("step_s", [0.0, -1.0, float("nan"), 1e9])
def test_a_step_out_of_range_is_refused(step_s):
    with pytest.raises(InvalidInput, match="step"):
        AssetTwin(NetworkFollower(PONGAU.asset("branch")), step_s)


def test_every_asset_of_a_territory_gets_a_twin():
    twins = make_twins(PONGAU)
    assert [twin.name for twin in twins] == ["branch", "washer"]
    for twin in twins:
        names = [signal.name for signal in twin.signals]
        assert len(set(names)) == len(names)
        assert all(not s.compared_with or s.compared_with in names for s in twin.signals)
        assert set(twin.required_tags) <= set(twin.tags)
