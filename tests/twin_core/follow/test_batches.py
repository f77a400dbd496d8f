"""Batches, slots and a furnace, followed by states, counters, parts of the batch and the chamber's temperature."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.factory import MachineTags, slots_apart
from uem.twin_core.production.heat import HeatMeter
from uem.twin_core.twin import make_twin

_HERE = Path(__file__).parent
_SHOPS = runpy.run_path(str(_HERE / "shops.py"))
_HARDENING = runpy.run_path(str(_HERE / "hardening.py"))
samples, value, columns = (_SHOPS[k] for k in ("samples", "value", "columns"))
shop, site, plant, FURNACE, replace = (_HARDENING[k] for k in ("shop", "site", "plant", "FURNACE", "replace"))
HOURS = 8.0


@pytest.fixture(scope="module")
def followed():
    """(twin, snapshots, plan and run of the true plant): slower ovens, a leakier furnace, other random numbers."""
    truth = shop(oven_s=1300.0, furnace=replace(FURNACE, wall_w_per_k=80.0))
    rows, plan, run = plant(truth, seed=5, until_s=HOURS * 3600.0)
    twin = make_twin(site())
    twin.take(samples(rows))
    snapshots = twin.advance()
    assert twin.failure is None
    return twin, snapshots, plan, run


def true_run(plan, seed, until_s):
    run = plan.initial_run(seed=seed)
    plan.run(run, until_s)
    return run


def seconds(snapshots):
    return (snapshots[-1].plant_time_ns - snapshots[0].plant_time_ns) / 1e9


def test_parts_levels_and_energy_are_those_of_the_plant(followed):
    twin, snapshots, plan, _ = followed
    assert seconds(snapshots) > HOURS * 3600.0 - 120.0
    ledger = plan.ledger(true_run(plan, 5, seconds(snapshots)))
    for m, name in enumerate(plan.machines):
        assert value(twin, f"machine/{name}/good") == ledger.made[0, m]
        # The furnace is told to lose a quarter less through its walls than it does.
        error = 0.06 if name == "furnace" else 0.001
        assert value(twin, f"machine/{name}/energy") == pytest.approx(ledger.energy_j[0, m].sum(), rel=error)
    for b, name in enumerate(plan.buffers):
        assert abs(value(twin, f"buffer/{name}/level/twin") - ledger.level_now[0, b]) <= 1
    assert value(twin, "resyncs") == 0.0
    for name in plan.machines:
        seen, predicted = (columns(snapshots, twin, f"machine/{name}/state{end}") for end in ("", "/twin"))
        assert (seen == predicted).mean() > 0.98, name


def test_the_time_of_a_batch_is_learned_from_its_count(followed):
    twin, *_ = followed
    for k in (1, 2):  # from 1,200 s, which count as ten batches
        assert 1240.0 < value(twin, f"machine/ovens-{k}/cycle_time") < 1300.0
    assert value(twin, "machine/furnace/cycle_time") == pytest.approx(FURNACE.seconds(), rel=0.01)


def test_batches_have_the_parts_of_the_plant_and_the_chamber_its_temperature(followed):
    twin, snapshots, *_ = followed
    predicted, measured = (columns(snapshots, twin, f"machine/furnace/batch{end}") for end in ("/twin", ""))
    state = columns(snapshots, twin, "machine/furnace/state")
    assert (predicted == measured)[state == 4.0].mean() > 0.99
    error_k = columns(snapshots, twin, "machine/furnace/temperature/twin") - columns(
        snapshots, twin, "machine/furnace/temperature"
    )
    assert np.abs(np.median(error_k)) < 1.0
    k = [s.name for s in twin.signals].index("machine/furnace/temperature/twin")
    assert 0.0 < twin.snapshot.standard_deviation[k] < 10.0


def test_without_the_measured_temperature_the_colder_furnace_is_not_seen():
    truth = shop(furnace=replace(FURNACE, power_w=120e3))  # it does not reach the temperature of its recipe
    rows, plan, _ = plant(truth, seed=5, until_s=2 * 3600.0)
    blind = site()
    tags = replace(blind.machine_tags["furnace"], temperature_tag="")
    off_k = {}
    for name, described in (
        ("seen", site()),
        ("blind", replace(blind, machine_tags=blind.machine_tags | {"furnace": tags})),
    ):
        twin = make_twin(described)
        twin.take(samples(rows))
        last = twin.advance()[-1]
        run = true_run(plan, 5, (last.plant_time_ns - rows_epoch_ns()) / 1e9)
        true_k = plan.ledger(run).furnaces.temperature_k[0, 0, 0]
        off_k[name] = abs(value(twin, "machine/furnace/temperature/twin") - true_k)
    # Between two samples, a minute, the twin heats with 180 kW too much: 27 K of its chamber.
    assert off_k["seen"] < 27.0
    assert off_k["blind"] > 2.0 * off_k["seen"]


@pytest.fixture(scope="module")
def untroubled():
    """Two hours of a plant, and what a twin tells at their end."""
    rows, _, _ = plant(shop(), seed=5, until_s=2 * 3600.0)
    return rows, chamber_and_energy(rows)


def chamber_and_energy(rows):
    twin = make_twin(site())
    twin.take(samples(rows))
    snapshots = twin.advance()
    assert twin.failure_count == 0
    return [columns(snapshots, twin, name)[-1] for name in ("machine/furnace/temperature/twin", "energy")]


@pytest.mark.parametrize("wrong_k", [1e300, 1e6, -5.0])
@pytest.mark.parametrize("wrong_s", [0.0, 3600.0])
def test_a_sample_that_no_chamber_can_have_does_not_heat_its_lining(wrong_k, wrong_s, untroubled):
    rows, right = untroubled
    told = [
        (time_s, values | ({"furnace/temperature": wrong_k} if wrong_s <= time_s < wrong_s + 60.0 else {}))
        for time_s, values in rows
    ]
    temperature_k, energy_j = chamber_and_energy(told)
    assert temperature_k == pytest.approx(right[0], abs=5.0)
    assert energy_j == pytest.approx(right[1], rel=0.02)


def test_a_batch_that_was_begun_before_takes_nothing_of_what_is_in_the_buffers():
    rows, *_ = plant(shop(), seed=5, until_s=9_000.0)
    rows = [(time_s, values | {"annealed/level": 20.0}) for time_s, values in rows[-50:]]
    assert rows[0][1]["furnace/batch"] > 10.0
    twin = make_twin(site(level_tags={"annealed": "annealed/level"}))
    twin.take(samples(rows))
    snapshots = twin.advance()
    assert columns(snapshots, twin, "buffer/annealed/level/twin")[0] == 20.0
    assert columns(snapshots, twin, "machine/furnace/batch/twin")[0] == rows[0][1]["furnace/batch"]


def rows_epoch_ns():
    return _SHOPS["EPOCH_NS"]


def test_heat_by_stream_is_that_of_the_plant_when_the_furnace_is_as_described():
    rows, plan, _ = plant(shop(), seed=8, until_s=4 * 3600.0)
    twin = make_twin(site())
    twin.take(samples(rows))
    snapshots = twin.advance()
    meter = HeatMeter(plan, slots_apart(site()).heat)
    true_j = meter.advance(plan.initial_run(seed=8), seconds(snapshots))
    dt_s = np.diff([s.plant_time_ns for s in snapshots]) / 1e9
    for k, name in enumerate(("jackets", "exhaust")):
        given_j = columns(snapshots, twin, f"heat/{name}")[1:] @ dt_s
        assert given_j == pytest.approx(true_j[k], rel=0.01), name


def test_a_batch_that_another_slot_took_is_handed_over():
    rows, _, _ = plant(shop(), seed=3, until_s=3 * 3600.0)
    other = {"1": "2", "2": "1"}
    swapped = []
    for time_s, values in rows:
        renamed = {
            "/".join(other.get(part, part) if tag.startswith("ovens") else part for part in tag.split("/")): v
            for tag, v in values.items()
        }
        swapped.append((time_s, {tag: renamed[tag] for tag in values}))
    twin = make_twin(site())
    twin.take(samples(swapped))
    snapshots = twin.advance()
    assert value(twin, "resyncs") == 0.0
    for k in (1, 2):
        seen, predicted = (columns(snapshots, twin, f"machine/ovens-{k}/state{end}") for end in ("", "/twin"))
        assert (seen == predicted).mean() > 0.98


def test_a_forecast_ends_the_batches_that_are_in_work(followed):
    twin, *_ = followed
    found = {series.signal: series for series in twin.forecast(2 * 3600.0).series}
    assert 0.3 * 50e3 < found["power"].value.mean() < 500e3
    assert 0.0 < found["output"].value.sum() * 900.0 < 2 * 90  # the grinder makes a part in 40 s


def test_tags_of_slots_and_batches_that_cannot_be_are_refused():
    lone = MachineTags(state_tag="ovens/state")
    with pytest.raises(InvalidTerritory, match=r"2 slots; each of its tags needs \{slot\}"):
        replace(site(), machine_tags={"ovens": lone})
    with pytest.raises(InvalidTerritory, match="temperature_tag is for a machine with a furnace"):
        replace(site(), machine_tags={"saw": MachineTags(state_tag="s", temperature_tag="t")})
    with pytest.raises(InvalidTerritory, match="batch_tag is for a machine that takes more than one"):
        replace(site(), machine_tags={"saw": MachineTags(state_tag="s", batch_tag="t")})
