"""The validation of waste-heat forecasts, on a few days of one factory."""

from dataclasses import fields, replace

import numpy as np
import pytest
from shipped import shipped

from uem.offline.validate import waste_heat
from uem.offline.validate.case import EVERY_FIGURE


@pytest.fixture(scope="module")
def site():
    return next(site for site in shipped("vallee").factories if site.name == "chemical-site")


@pytest.fixture(scope="module")
def recorded():
    """What the plant of `judged` told, by days and seed."""
    return {}


@pytest.fixture(scope="module")
def judged(site, recorded):
    record = waste_heat.record

    def kept(site, days, seed):
        recorded[days, seed] = record(site, days, seed)
        return recorded[days, seed]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(waste_heat, "record", kept)
        return waste_heat.judge(site, learning_days=7, judged_days=3, seed=1)


def test_every_issue_is_judged_at_every_lead_and_beats_nothing_by_chance(judged):
    assert judged.value.shape == judged.low.shape == judged.measured.shape == (12, 96, 1)
    for field in fields(judged):
        assert np.isfinite(getattr(judged, field.name)).all()
    assert judged.coverage() > 0.6
    assert judged.error() < 0.3
    assert np.mean(judged.value) == pytest.approx(np.mean(judged.measured), rel=0.1)


def test_the_plant_is_the_same_for_a_seed_and_another_one_than_the_file_tells(site):
    first, again, other = (waste_heat.record(waste_heat.tagged(site), 1, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.value, again.value)
    assert len(other) != len(first) or (other.value != first.value).any()
    powers = [machine.power_w["busy"] for machine in site.factory.machines]
    different = waste_heat.perturbed(site, np.random.default_rng(3))
    assert all(a != b.power_w["busy"] for a, b in zip(powers, different.factory.machines, strict=True))


def test_no_forecast_knows_what_the_plant_tells_after_its_issue(site, judged, recorded, monkeypatch):
    def later_warmer(site, days, seed):
        samples = recorded[days, seed]
        heat = np.array([name.startswith("heat/") for name in samples.names])[samples.tag]
        after = samples.source_time_ns > site.calendar_epoch_ns + 8 * 86_400 * 10**9
        return replace(samples, value=np.where(heat & after, 2.0 * samples.value, samples.value))

    monkeypatch.setattr(waste_heat, "record", later_warmer)
    changed = waste_heat.judge(site, learning_days=7, judged_days=3, seed=1)
    np.testing.assert_array_equal(judged.value[:5], changed.value[:5])
    assert (judged.value[5:] != changed.value[5:]).any()


@pytest.mark.parametrize(("every", "days", "band"), [(False, 7, (0.65, 0.95)), (True, 60, (0.76, 0.84))])
def test_60_days_are_judged_by_the_narrow_bar_when_every_figure_is_asked_for(judged, monkeypatch, every, days, band):
    asked = []

    def judge(site, *, learning_days, judged_days, seed):
        asked.append(judged_days)
        return judged

    monkeypatch.setattr(waste_heat, "judge", judge)
    token = EVERY_FIGURE.set(every)
    results = list(waste_heat.valley())
    EVERY_FIGURE.reset(token)
    assert asked == 4 * [days]
    bands = [result for result in results if "band" in result.metric]
    assert len(bands) == 4
    for result in bands:
        assert f"{days} simulated days" in result.case
        assert (result.least, result.bar) == pytest.approx(band)


def test_orders_come_again_until_the_judged_time_ends():
    shop = next(site for site in shipped("vallee").factories if site.name == "machining-shop")
    orders = next(m for m in waste_heat.goes_on(shop, 11).factory.machines if m.orders).orders
    assert max(order.release_s for order in orders) >= 10 * waste_heat.WEEK_S
    assert len({order.name for order in orders}) == len(orders)
