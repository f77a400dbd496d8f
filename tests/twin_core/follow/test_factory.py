"""A factory is followed by what its machines tell: states, counters, levels; what is learned; when both part."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput, InvalidTerritory, ModelFailure
from uem.twin_core.follow.factory import FactoryFollower
from uem.twin_core.follow.learned import Learned
from uem.twin_core.measurements import GOOD, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE, Samples, is_good
from uem.twin_core.plant.factory import MachineTags
from uem.twin_core.plant.production import Crew, exponential
from uem.twin_core.production.indicators import PackML
from uem.twin_core.production.plan import STATES
from uem.twin_core.twin import AssetTwin, make_twin

_SHOPS = runpy.run_path(str(Path(__file__).with_name("shops.py")))
line, plant, samples, site, value, columns = (
    _SHOPS[name] for name in ("line", "plant", "samples", "site", "value", "columns")
)
NAMES, EPOCH_NS = _SHOPS["NAMES"], _SHOPS["EPOCH_NS"]
SIX_HOURS_S = 21_600.0
# Other times than the file tells, other random numbers.
TRUTH = line(cycles_s=(50.0, 66.0, 55.0, 52.0), to_fail_s=3000.0, to_repair_s=600.0, scrap=0.05)


def follow(described, rows, batch=200):
    twin = make_twin(described)
    arrived, snapshots = samples(rows), []
    for first in range(0, len(arrived), batch):
        twin.take(arrived.take(slice(first, first + batch)))
        snapshots += twin.advance()
    return twin, snapshots


def signal_quality(twin, name):
    return int(twin.snapshot.quality[[s.name for s in twin.signals].index(name)])


@pytest.fixture(scope="module")
def six_hours():
    """(rows of the true plant, its plan, its run), and the twin that followed them from the empty start."""
    rows, plan, run = plant(TRUTH, seed=7, until_s=SIX_HOURS_S)
    return rows, plan, run, *follow(site(line(scrap=0.05)), rows)


def test_states_parts_and_levels_are_those_of_the_plant_and_nothing_has_to_be_resynced(six_hours):
    rows, plan, _, twin, snapshots = six_hours
    assert twin.failure is None
    assert value(twin, "resyncs") == 0.0
    # Levels of the plant at the times of the snapshots, by a run of its own.
    run = plan.initial_run(seed=7)
    levels = []
    for snapshot in snapshots:
        plan.run(run, (snapshot.plant_time_ns - EPOCH_NS) / 1e9 + 1e-3)
        levels.append(run.view["buffer"]["level"].copy())
    for b, name in enumerate(("b1", "b2", "b3")):
        mine = columns(snapshots, twin, f"buffer/{name}/level/twin")
        agree = mine == np.array(levels)[:, b]
        assert agree.mean() > 0.98, (name, agree.mean())
    for name in NAMES:
        seen, predicted = (columns(snapshots, twin, f"machine/{name}/state{end}") for end in ("", "/twin"))
        assert (seen == predicted).mean() > 0.95
        end_s = (twin.snapshot.plant_time_ns - EPOCH_NS) / 1e9
        counted = [values[f"{name}/good"] for seconds, values in rows if seconds <= end_s]
        assert value(twin, f"machine/{name}/good") == counted[-1]


def test_output_is_of_the_time_that_was_counted_and_uncertain_until_that_is_a_whole_step():
    rows, *_ = plant(TRUTH, seed=7, until_s=9000.0, begin_s=5400.0)
    described = site(line(scrap=0.05))
    twin, snapshots = follow(described, rows)
    since_s = np.array([s.plant_time_ns - snapshots[0].plant_time_ns for s in snapshots]) / 1e9
    output, k = columns(snapshots, twin, "output"), [s.name for s in twin.signals].index("output")
    good = np.array([is_good(int(s.quality[k])) for s in snapshots])
    np.testing.assert_array_equal(good, since_s >= described.forecast_step_s)
    early = (since_s > 0.0) & ~good
    made = columns(snapshots, twin, f"machine/{NAMES[-1]}/good")
    np.testing.assert_allclose(output[early] * since_s[early], made[early] - made[0], atol=1e-9)
    assert made[early][-1] > made[0]


def test_energy_by_machine_is_that_of_the_states_seen(six_hours):
    _, plan, _, twin, snapshots = six_hours
    end_s = (snapshots[-1].plant_time_ns - EPOCH_NS) / 1e9
    run = plan.initial_run(seed=7)
    plan.run(run, end_s)
    true_j = plan.ledger(run).energy_j[0].sum(axis=1)
    for m, name in enumerate(NAMES):
        assert value(twin, f"machine/{name}/energy") == pytest.approx(true_j[m], rel=0.002)
    assert value(twin, "energy") == pytest.approx(true_j.sum(), rel=0.002)
    busy_w = columns(snapshots, twin, "heat/hall")
    busy_j = plan.ledger(run).energy_j[0, :, STATES.index("busy")].sum()
    assert busy_w[1:].sum() * 10.0 == pytest.approx(0.5 * busy_j, rel=0.002)


def test_the_energies_of_all_machines_add_up_to_that_of_the_factory_and_to_its_power(six_hours):
    _, _, _, twin, snapshots = six_hours
    for snapshot in snapshots[::50]:
        now = dict(zip((s.name for s in twin.signals), snapshot.value.tolist(), strict=True))
        of_machines_j = sum(v for name, v in now.items() if name.startswith("machine/") and name.endswith("/energy"))
        assert of_machines_j == pytest.approx(now["energy"], rel=1e-9)
    dt_s = np.diff([snapshot.plant_time_ns for snapshot in snapshots]) / 1e9
    total_j, power_w = columns(snapshots, twin, "energy"), columns(snapshots, twin, "power")
    np.testing.assert_allclose(np.diff(total_j), power_w[1:] * dt_s, rtol=1e-9, atol=1e-9 * total_j[-1])


def test_times_are_learned_and_only_the_machine_that_is_slower_has_an_alarm(six_hours):
    _, plan, run, twin, _ = six_hours
    ledger = plan.ledger(run)
    for m, name in enumerate(NAMES):
        true_s = TRUTH.machines[m].cycle.mean
        assert value(twin, f"machine/{name}/cycle_time") == pytest.approx(true_s, rel=0.02)
        assert (int(value(twin, f"machine/{name}/drift")) & 1) == (name == "mill")
        # Means between the ten failures that the file is worth and those that were seen.
        failures, busy_s = ledger.failures[0, m], ledger.time_s[0, m, STATES.index("busy")]
        expected_s = (10 * 3600.0 + busy_s) / (10 + failures)
        assert value(twin, f"machine/{name}/time_to_failure") == pytest.approx(expected_s, rel=0.05)
        down_s = ledger.time_s[0, m, STATES.index("down")]
        expected_s = (10 * 300.0 + down_s) / (10 + failures)
        assert value(twin, f"machine/{name}/time_to_repair") == pytest.approx(expected_s, rel=0.1)


def test_repairs_that_take_longer_give_an_alarm():
    slow = line(to_fail_s=1200.0, to_repair_s=1500.0)
    rows, *_ = plant(slow, seed=3, until_s=SIX_HOURS_S)
    twin, _ = follow(site(), rows)
    codes = [int(value(twin, f"machine/{name}/drift")) for name in NAMES]
    assert any(code & 4 for code in codes), codes
    assert not any(code & 1 for code in codes), codes


@pytest.mark.parametrize("waits", [True, False])
def test_a_twin_that_joins_knows_who_takes_parts_that_cool_or_have_cooled(waits):
    buffers = tuple(replace(b, capacity=200, delay_s=1800.0 * (b.name == "b1")) for b in line().buffers)
    cooling = replace(line((50.0, 70.0 - 30.0 * waits, 55.0, 52.0), to_fail_s=1e9), buffers=buffers)
    rows, *_ = plant(cooling, seed=3, until_s=12_000.0, begin_s=7_000.0, levels=("b1",))
    described = site(cooling, levels=("b1",))
    twin, snapshots = follow(described, rows)
    assert rows[0][1]["b1/level"] > 30.0
    assert rows[0][1]["mill/state"] == PackML.EXECUTE
    assert value(twin, "resyncs") <= 1.0
    told, believed = (columns(snapshots, twin, f"buffer/b1/level{end}") for end in ("", "/twin"))
    assert np.abs(told - believed).max() <= 1.0


def test_what_was_in_the_buffers_is_found_out_by_resyncs_that_are_counted_and_shown():
    rows, _, run = plant(TRUTH, seed=5, until_s=SIX_HOURS_S, begin_s=3600.0)
    described = site(replace(line(scrap=0.05), buffers=tuple(replace(b, initial=3) for b in line().buffers)))
    twin, snapshots = follow(described, rows)
    resyncs, parted = columns(snapshots, twin, "resyncs"), columns(snapshots, twin, "parted")
    assert resyncs[-1] > 0
    assert twin.contradiction_count == resyncs[-1]
    jumps = np.flatnonzero(np.diff(resyncs)) + 1
    assert (parted[jumps] == 1.0).all()
    later = resyncs[len(resyncs) // 2]
    assert resyncs[-1] - later <= 1, resyncs
    np.testing.assert_allclose(
        [value(twin, f"buffer/{b}/level/twin") for b in ("b1", "b2", "b3")], run.view["buffer"]["level"], atol=1
    )


def test_counted_levels_are_believed():
    rows, *_ = plant(TRUTH, seed=5, until_s=7200.0, begin_s=3600.0, levels=("b1", "b2", "b3"))
    twin, snapshots = follow(site(line(scrap=0.05), levels=("b1", "b2", "b3")), rows)
    assert value(twin, "resyncs") == 0.0
    for b in ("b1", "b2", "b3"):
        seen, mine = (columns(snapshots, twin, f"buffer/{b}/level{end}") for end in ("", "/twin"))
        assert (np.abs(seen - mine) <= 1).all()
        assert (seen == mine).mean() > 0.95


@pytest.mark.parametrize("tag", ["saw/good", "b1/level"])
@pytest.mark.parametrize("follows", [False, True])
def test_a_reading_that_no_factory_could_hold_fails_a_step_and_not_the_twin(tag, follows):
    buffers = tuple(replace(buffer, capacity=None) for buffer in line().buffers)
    shop = replace(line(scrap=0.05), buffers=buffers, follows=follows)
    rows, *_ = plant(TRUTH, seed=5, until_s=3600.0, levels=("b1", "b2", "b3"))
    arrived, twin = samples(rows), make_twin(site(shop, levels=("b1",) if tag == "b1/level" else ()))
    half = len(arrived) // 2
    twin.take(arrived.take(slice(0, half)))
    twin.advance()
    twin.take(Samples.from_rows([(tag, twin.newest_ns + 10**8, 1e300, 0)]))
    twin.take(arrived.take(slice(half, len(arrived))))
    twin.advance()
    assert twin.failure is None
    assert twin.failure_count >= 1
    end_s = (twin.snapshot.plant_time_ns - EPOCH_NS) / 1e9
    assert end_s > 3500.0
    counted = [values["saw/good"] for seconds, values in rows if seconds <= end_s]
    assert value(twin, "machine/saw/good") == counted[-1]


def test_a_count_of_two_parts_at_once_is_no_cycle():
    learned = Learned.from_prior(line().machines[1], 10.0).saw_state(0.0, PackML.EXECUTE)
    learned = learned.saw_parts(60.0, 1).saw_parts(120.0, 1)
    for k in range(100):
        learned = learned.saw_parts(240.0 + 120.0 * k, 2)
    assert learned.belief.cycle.mean_s == pytest.approx(60.0, rel=0.01)
    assert not learned.drifted


def test_samples_that_were_lost_part_observation_and_prediction_and_both_come_together_again(six_hours):
    rows = six_hours[0]
    lost = [row for row in rows if not 7200.0 <= row[0] < 9000.0]
    twin, snapshots = follow(site(line(scrap=0.05)), lost)
    resyncs = columns(snapshots, twin, "resyncs")
    seconds = np.array([(s.plant_time_ns - EPOCH_NS) / 1e9 for s in snapshots])
    assert resyncs[seconds < 7200.0].max() == 0
    assert 1 <= resyncs[-1] <= 2 * len(NAMES)  # each machine tells by itself that parts were missed
    assert resyncs[-1] == resyncs[seconds < 12_000.0].max()
    last = [values for time_s, values in rows if time_s <= seconds[-1]][-1]
    for name in NAMES:
        assert value(twin, f"machine/{name}/state") == last[f"{name}/state"]


def test_a_counter_that_begins_anew_is_no_part(six_hours):
    rows = [
        (
            seconds,
            {tag: v if seconds < 5000.0 or tag != "drill/good" else max(v - 40.0, 0.0) for tag, v in values.items()},
        )
        for seconds, values in six_hours[0]
    ]
    twin, _ = follow(site(line(scrap=0.05)), rows)
    assert value(twin, "resyncs") <= 2
    assert value(twin, "machine/drill/cycle_time") == pytest.approx(55.0, rel=0.03)


def test_a_machine_that_tells_states_alone_is_predicted_to_make_parts_at_its_mean_cycle():
    rows, plan, run = plant(line(to_fail_s=1e7), seed=2, until_s=3600.0)
    tags = {m: t if m != "mill" else MachineTags(state_tag="mill/state") for m, t in site().machine_tags.items()}
    without = [(t, {k: v for k, v in row.items() if k not in ("mill/good", "mill/scrap")}) for t, row in rows]
    twin, _ = follow(replace(site(line(to_fail_s=1e7)), machine_tags=tags), without)
    assert value(twin, "resyncs") < 10
    assert value(twin, "energy") == pytest.approx(plan.ledger(run).energy_j.sum(), rel=0.02)


def test_batches_do_not_change_a_bit(six_hours):
    rows = [row for row in six_hours[0] if row[0] < 7200.0]
    _, first = follow(site(line(scrap=0.05)), rows, batch=7)
    _, second = follow(site(line(scrap=0.05)), rows, batch=1000)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
        np.testing.assert_array_equal(a.quality, b.quality)


def test_a_step_that_fails_is_undone_and_the_next_one_goes_on(six_hours, monkeypatch):
    rows = [row for row in six_hours[0] if row[0] < 3600.0]
    twin = make_twin(site(line(scrap=0.05)))
    arrived = samples(rows)
    half = len(arrived) // 2
    twin.take(arrived.take(slice(0, half)))
    twin.advance()
    before = twin.snapshot
    with monkeypatch.context() as broken:

        def fails(*_):
            raise ModelFailure("on purpose")

        broken.setattr("uem.twin_core.follow.shadow.Shadow.check", fails)
        twin.take(arrived.take(slice(half, half + 40)))
        twin.advance()
        assert twin.failure is not None
    assert not is_good(int(twin.snapshot.quality[-1]))
    np.testing.assert_array_equal(before.value, twin.snapshot.value)
    twin.take(arrived.take(slice(half + 40, len(arrived))))
    twin.advance()
    assert twin.failure is None
    assert value(twin, "machine/saw/good") == rows[-1][1]["saw/good"]


def test_published_values_carry_source_quality_and_age(six_hours):
    rows = [row for row in six_hours[0] if row[0] < 1800.0]
    twin, _ = follow(site(line(scrap=0.05)), rows)
    assert signal_quality(twin, "machine/mill/state") == GOOD
    assert np.isnan(twin.snapshot.standard_deviation[[s.name for s in twin.signals].index("machine/mill/state")])
    last_ns = twin.snapshot.plant_time_ns
    bad = [("mill/state", last_ns + 10**10, float("nan"), 0x80000000)]
    others = [(f"{name}/good", last_ns + 2 * 10**10, 500.0, 0) for name in NAMES]
    twin.take(Samples.from_rows(bad + others))
    twin.advance()
    assert signal_quality(twin, "machine/mill/state") == UNCERTAIN_LAST_USABLE_VALUE
    assert not is_good(signal_quality(twin, "power"))
    assert is_good(signal_quality(twin, "machine/saw/energy")) or signal_quality(twin, "machine/saw/energy")
    index = [s.name for s in twin.signals].index("machine/mill/state")
    assert twin.snapshot.age_s[index] > 10.0


def test_forecasts_of_output_and_power_come_from_the_present_state_with_what_was_learned(six_hours):
    *_, twin, _ = six_hours
    forecast = twin.forecast(4 * 3600.0)
    power, output, heat = forecast.series
    assert (power.signal, output.signal, heat.signal) == ("power", "output", "heat/hall")
    assert 0.0 < heat.value.mean() < 0.5 * power.value.mean()
    # The slow mill makes a part in 66 s while it works, and its neighbours fail too.
    assert 0.5 / 66.0 < output.value.mean() < 0.95 / 66.0
    assert 15e3 < power.value.mean() < 35e3
    again = twin.forecast(4 * 3600.0)
    np.testing.assert_array_equal(again.series[1].value, output.value)


def test_heat_is_forecast_as_its_meter_shows_it_and_judged_by_it(six_hours):
    rows, *_ = six_hours
    described, sensors = site(line(scrap=0.05)), {"heat/line/hall/produced": "hall/heat"}
    twins = AssetTwin(FactoryFollower(described)), AssetTwin(FactoryFollower(described, sensors))
    metered = [("hall/heat", EPOCH_NS + second * 10**9, 24e3, 0) for second in range(0, round(SIX_HOURS_S), 60)]
    metered += [(tag, time_ns, number, 0) for _, tag, time_ns, number in named_rows(samples(rows))]
    arrived = Samples.from_rows(sorted(metered, key=lambda row: row[1]))
    for twin in twins:
        for first in range(0, len(arrived), 200):
            twin.take(arrived.take(slice(first, first + 200)))
            twin.advance()
    plain, heat = (twin.forecast(4 * 3600.0).series[2] for twin in twins)
    assert heat.value.mean() == pytest.approx(24e3, rel=0.15)
    assert plain.value.mean() < 0.9 * heat.value.mean()
    assert plain.quality == UNCERTAIN


def named_rows(taken):
    tags = [taken.names[k] for k in taken.tag.tolist()]
    return zip(range(len(tags)), tags, taken.source_time_ns.tolist(), taken.value.tolist(), strict=True)


def test_a_factory_without_states_is_not_followed_and_says_what_to_do():
    with pytest.raises(InvalidInput, match="uem run"):
        FactoryFollower(replace(site(), machine_tags={}))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"slots": 2}, "2 slots; each of its tags needs {slot}"),
        ({"defects": 0.1}, "cannot be followed yet"),
    ],
)
def test_machines_that_cannot_be_followed_are_refused_by_name(change, text):
    factory = line()
    machines = (factory.machines[0], replace(factory.machines[1], **change), *factory.machines[2:])
    with pytest.raises(InvalidTerritory, match=text):
        site(replace(factory, machines=machines))
    with pytest.raises(InvalidTerritory, match="together with a state_tag"):
        replace(site(), machine_tags={"mill": MachineTags(good_tag="mill/good")})


def test_waiting_for_a_crew_is_no_repair():
    def crewed(factory):
        machines = tuple(
            replace(m, failures=(replace(m.failures[0], crews=("crew",), to_repair=exponential(600.0)),))
            for m in factory.machines
        )
        return replace(factory, machines=machines, crews=(Crew(name="crew"),))

    truth = crewed(line(to_fail_s=900.0))
    rows, plan, run = plant(truth, seed=4, until_s=SIX_HOURS_S)
    twin, _ = follow(site(crewed(line(to_fail_s=900.0))), rows)
    ledger = plan.ledger(run)
    assert ledger.time_s[0, :, STATES.index("waiting_for_crew")].sum() > 3600.0
    for m, name in enumerate(NAMES):
        failures, down_s = ledger.failures[0, m], ledger.time_s[0, m, STATES.index("down")]
        expected_s = (10 * 600.0 + down_s) / (10 + failures)
        assert value(twin, f"machine/{name}/time_to_repair") == pytest.approx(expected_s, rel=0.1)
