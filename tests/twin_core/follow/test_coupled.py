"""The district and its hardening shop, followed together: heat goes into the network, alarms come back."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shipped import shipped

from uem.twin_core.errors import ModelFailure, NotConverged
from uem.twin_core.measurements import Samples
from uem.twin_core.twin import make_twins

_RECORDED = runpy.run_path(str(Path(__file__).with_name("recorded.py")))
rows, samples = _RECORDED["rows"], _RECORDED["samples"]
QUARTIER = shipped("quartier")
EPOCH_NS = QUARTIER.plants[0].recording.epoch_ns
STREAM = "heat/hardening-shop/quench-loop"
FURNACES = ("furnaces-1", "furnaces-2")
HOURS, STOPPED_S = 1.0, 1200.0


def followed(told, territory=QUARTIER):
    """(twins of network and factory, their snapshots) after the samples."""
    ring, shop = make_twins(territory)
    ring.take(told)
    led = ring.advance(), shop.advance()
    assert (ring.failure, shop.failure, ring.forecast_failure, shop.forecast_failure) == (None,) * 4
    return (ring, shop), led


def column(twin, snapshots, name):
    k = [signal.name for signal in twin.signals].index(name)
    return np.array([snapshot.value[k] for snapshot in snapshots])


@pytest.fixture(scope="module")
def told():
    """(samples of an hour, the same hour with both furnaces stopped after 20 minutes)."""
    stopped = rows(HOURS, stops=FURNACES, stopped_after_s=STOPPED_S)
    return samples(rows(HOURS), EPOCH_NS), samples(stopped, EPOCH_NS)


@pytest.fixture(scope="module")
def works(told):
    return followed(told[0])


@pytest.fixture(scope="module")
def stops(told):
    return followed(told[1])


def test_both_assets_are_published_at_the_same_times(works):
    (ring, shop), (of_ring, of_shop) = works
    assert (ring.name, shop.name) == ("ring", "hardening-shop")
    assert [s.plant_time_ns for s in of_ring] == [s.plant_time_ns for s in of_shop]
    assert len(of_ring) > HOURS * 360 - 10
    assert (ring.snapshot.asset, shop.snapshot.asset) == ("ring", "hardening-shop")


def test_the_network_gets_what_the_factory_gives_to_the_joule(works):
    (ring, shop), (of_ring, of_shop) = works
    np.testing.assert_allclose(
        column(ring, of_ring, f"{STREAM}/produced"), column(shop, of_shop, "heat/quench-loop"), rtol=1e-12
    )
    dt_s = np.diff([s.plant_time_ns for s in of_ring], prepend=of_ring[0].plant_time_ns) / 1e9
    produced_j, taken_j, dumped_j = (
        column(ring, of_ring, f"{STREAM}/{kind}") @ dt_s for kind in ("produced", "taken", "dumped")
    )
    loop = QUARTIER.factories[0].heat[0].loop
    temp_k = column(ring, of_ring, f"{STREAM}/temperature/twin")
    stored_j = loop.content_j_k * (temp_k[-1] - temp_k[0])
    assert produced_j == pytest.approx(taken_j + dumped_j + stored_j, rel=1e-9)
    assert column(ring, of_ring, f"{STREAM}/energy")[-1] == pytest.approx(taken_j, rel=1e-9)
    imbalance_j, into_j = (column(ring, of_ring, f"energy/{part}")[-1] for part in ("imbalance", "in"))
    assert abs(imbalance_j) < 1e-9 * into_j


def test_a_stop_in_the_plant_lowers_the_heat_into_the_network(works, stops):
    (ring, _), (of_ring, _) = works
    (_, shop), (stopped, of_shop) = stops
    produced = [column(ring, snapshots, f"{STREAM}/produced") for snapshots in (of_ring, stopped)]
    taken = [column(ring, snapshots, "unit/waste-heat/heat") for snapshots in (of_ring, stopped)]
    n = round(STOPPED_S / 10.0)
    np.testing.assert_array_equal(produced[0][: n - 1], produced[1][: n - 1])
    assert produced[1][n + 3 :].max() < 0.3 * produced[0][n + 3 :].min()
    assert taken[1][-1] < 0.5 * taken[0][-1]  # the loop cools first
    for name in FURNACES:
        assert column(shop, of_shop, f"machine/{name}/state/twin")[-1] == 10.0


def test_what_is_published_carries_uncertainty_quality_and_age(works):
    (ring, shop), _ = works
    for twin in (ring, shop):
        snapshot = twin.snapshot
        estimated = np.array([signal.source.value != "measured" for signal in twin.signals])
        assert np.isfinite(snapshot.standard_deviation[estimated]).all()
        assert np.isfinite(snapshot.age_s).all()
        assert not (snapshot.quality >> 30 == 2).any()  # none is Bad
    k = [signal.name for signal in ring.signals].index("unit/waste-heat/heat")
    assert ring.snapshot.standard_deviation[k] > 0.0


def test_the_same_samples_give_the_same_snapshots_however_they_are_cut(told, works):
    ring, shop = make_twins(QUARTIER)
    of_ring, of_shop = [], []
    table = told[0]
    for begin in range(0, len(table), 97):
        ring.take(table.take(slice(begin, begin + 97)))
        shop.take(table.take(slice(begin, begin + 97)))
        of_ring += ring.advance()
        of_shop += shop.advance()
    for cut, whole in zip((of_ring, of_shop), works[1], strict=True):
        assert len(cut) == len(whole)
        for one, other in zip(cut, whole, strict=True):
            np.testing.assert_array_equal(one.value, other.value)


def test_an_alarm_of_the_loop_takes_the_cooling_of_what_nobody_watches(told):
    site, network = QUARTIER.factories[0], QUARTIER.networks[0]
    stream = site.heat[0]
    hot = replace(stream.loop, recool_w=0.0, alarm_temp_k=359.15, clear_temp_k=358.15)
    tags = {name: tags for name, tags in site.machine_tags.items() if name != "furnaces"}
    shop = replace(site, heat=(replace(stream, loop=hot),), machine_tags=tags)
    (ring, shop), (of_ring, of_shop) = followed(told[0], replace(QUARTIER, networks=(network,), factories=(shop,)))
    alarm, power = column(ring, of_ring, f"{STREAM}/alarm"), column(shop, of_shop, "power")
    assert {0.0, 1.0} <= set(alarm)
    first = int(np.argmax(alarm))
    assert power[first + 2] < power[first] - 100e3  # one or two furnaces less from the next step on


@pytest.mark.parametrize("error", [ModelFailure("no flows fit"), NotConverged("no flows fit", "pipe", 50)])
def test_a_step_that_fails_leaves_both_as_they_were(told, monkeypatch, error):
    ring, shop = make_twins(QUARTIER)
    table = told[0]
    half = int(np.searchsorted(table.source_time_ns, EPOCH_NS + 600 * 10**9))
    ring.take(table.take(slice(0, half)))
    ring.advance()
    before = shop.advance()[-1], ring.snapshot

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(type(ring._follower._plan), "take", fails)
    ring.take(table.take(slice(half, half + 40)))
    assert ring.advance()
    after = shop.advance()
    assert after
    assert "no flows fit" in str(ring.failure)
    assert "no flows fit" in str(shop.failure)
    np.testing.assert_array_equal(ring.snapshot.value, before[1].value)
    np.testing.assert_array_equal(after[-1].value, before[0].value)
    monkeypatch.undo()
    rest = table.take(slice(half + 40, len(table)))
    ring.take(rest)
    ring.advance()
    assert (ring.failure, shop.failure) == (None, None)


@pytest.mark.parametrize("error", [ModelFailure("no flows fit"), NotConverged("no flows fit", "pipe", 50)])
def test_a_network_that_cannot_settle_yet_is_tried_again_with_the_next_measurements(told, monkeypatch, error):
    def fails(*_, **__):
        raise error

    ring, shop = make_twins(QUARTIER)
    table = told[0]
    monkeypatch.setattr(type(ring._follower._plan.network), "step", fails)
    ring.take(table.take(slice(0, 60)))
    assert ring.advance() == shop.advance() == []
    assert "cannot start" in str(ring.failure)
    monkeypatch.undo()
    ring.take(table.take(slice(60, len(table))))
    assert ring.advance()
    assert shop.advance()
    assert (ring.failure, shop.failure) == (None, None)


def test_a_network_without_factories_to_follow_says_what_to_do():
    with pytest.raises(Exception, match="uem run"):
        make_twins(replace(QUARTIER, factories=()))


def test_an_empty_table_changes_nothing():
    ring, shop = make_twins(QUARTIER)
    ring.take(Samples.from_rows([]))
    assert ring.advance() == shop.advance() == []


def test_the_energies_of_all_units_add_up_to_what_came_in_and_went_out(works):
    (ring, _), (of_ring, _) = works
    last = {name.name: value for name, value in zip(ring.signals, of_ring[-1].value.tolist(), strict=True)}
    of_units_j = sum(value for name, value in last.items() if name.startswith("unit/") and name.endswith("/energy"))
    rest_j = of_units_j + last["energy/expansion"] - last["energy/loss"] - last["energy/stored_change"]
    assert abs(rest_j) < 1e-9 * last["energy/in"]
    # What water that warms up displaces through the pressure holding is little.
    assert abs(last["energy/expansion"]) < 0.01 * last["energy/in"]
    dt_s = np.diff([s.plant_time_ns for s in of_ring], prepend=of_ring[0].plant_time_ns) / 1e9
    by_power_j = column(ring, of_ring, "unit/waste-heat/heat") @ dt_s
    assert last["unit/waste-heat/energy"] == pytest.approx(by_power_j, rel=0.05)
    assert last["unit/waste-heat/energy"] == pytest.approx(last[f"{STREAM}/energy"], rel=1e-9)


def test_indicators_follow_from_the_energies_of_the_units(works):
    (ring, _), (of_ring, _) = works
    last = {name.name: value for name, value in zip(ring.signals, of_ring[-1].value.tolist(), strict=True)}
    produced_j = last["unit/boiler/energy"] + last["unit/waste-heat/energy"]
    assert last["indicator/produced"] == pytest.approx(produced_j, rel=1e-12)
    assert last["indicator/recovered_share"] == pytest.approx(last["unit/waste-heat/energy"] / produced_j, rel=1e-12)
    assert last["indicator/delivered"] > 0.0
    assert last["indicator/co2_avoided"] > 0.0
    since = np.array([snapshot.ledger_since_ns for snapshot in of_ring])
    assert (since == since[0]).all()


def test_without_the_furnaces_less_is_recovered(works, stops):
    shares = [column(twins[0], led[0], "indicator/recovered_share")[-1] for twins, led in (works, stops)]
    assert shares[1] < shares[0]
