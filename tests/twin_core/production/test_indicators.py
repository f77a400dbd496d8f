"""Indicators from the ledger: identities of ISO 22400, PackML, heat by sink."""

import math
import runpy
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.production import deterministic, exponential
from uem.twin_core.production.indicators import INJECTED, PACKML, SINKS, HeatSplit, PackML, heat_j, indicators
from uem.twin_core.production.plan import STATES, FactoryPlan

_LINES = runpy.run_path(str(Path(__file__).with_name("lines.py")))
breaks, series = _LINES["breaks"], _LINES["series"]


@pytest.fixture(scope="module")
def line():
    factory = series(
        [deterministic(10.0), exponential(10.0)],
        [3],
        [(breaks(100.0, 20.0),), (breaks(100.0, 20.0),)],
        scrap=0.1,
        power_w={"busy": 10e3, "down": 1.5e3, "starved": 4e3, "blocked": 4e3},
    )
    return factory, FactoryPlan(factory).replicate(20, 36_000.0, warmup_s=3600.0, seed=1)


def test_the_identities_of_the_standard_hold(line):
    factory, ledger = line
    found = indicators(factory, ledger)
    np.testing.assert_allclose(found.oee, found.availability * found.effectiveness * found.quality_ratio, rtol=1e-12)
    np.testing.assert_allclose(found.quality_ratio + found.scrap_ratio, 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.allocation_efficiency, found.availability, rtol=1e-12)  # without setup
    assert (found.utilisation_efficiency == 1.0).all()
    np.testing.assert_allclose(found.throughput_rate, ledger.made / 32_400.0, rtol=1e-12)
    # A fixed cycle is as fast as planned, but for the part in work at either end.
    np.testing.assert_allclose(found.effectiveness[:, 0], 1.0, atol=10.0 / ledger.time_s[:, 0].max())
    assert found.mean_time_between_failures_s.mean() == pytest.approx(100.0, rel=0.1)
    assert found.mean_time_to_repair_s.mean() == pytest.approx(20.0, rel=0.1)


def test_energy_is_power_times_time_and_all_of_it_becomes_heat_somewhere(line):
    factory, ledger = line
    expected = sum(
        ledger.time_s[:, :, STATES.index(state)] * power for state, power in factory.machines[0].power_w.items()
    )
    np.testing.assert_allclose(ledger.energy_j.sum(axis=2), expected, rtol=1e-12)
    heat = heat_j(ledger, {"busy": HeatSplit(part=0.2, coolant=0.5, hall=0.1, exhaust=0.2)})
    assert heat.shape == (20, 2, len(SINKS))
    np.testing.assert_allclose(heat.sum(axis=2), ledger.energy_j.sum(axis=2), rtol=1e-12)
    busy_j = ledger.energy_j[:, :, STATES.index("busy")]
    np.testing.assert_allclose(heat[:, :, SINKS.index("coolant")], 0.5 * busy_j, rtol=1e-12)


def test_every_state_of_the_engine_has_one_of_packml():
    assert set(PACKML) == set(STATES)
    assert [state.value for state in PackML] == list(range(17))
    assert set(INJECTED.values()) <= {"busy", "down", "starved", "blocked"}


def test_without_a_part_there_is_no_ratio():
    factory = series([deterministic(math.inf)], [])
    found = indicators(factory, FactoryPlan(factory).replicate(1, 10.0))
    for name in ("quality_ratio", "mean_time_between_failures_s", "energy_per_good_part_j"):
        assert math.isnan(getattr(found, name)[0, 0])
    assert {field.name for field in fields(found)} >= {"oee", "nee"}


def test_what_does_not_belong_together_is_refused(line):
    _, ledger = line
    with pytest.raises(InvalidInput, match="a ledger of machines"):
        indicators(series([deterministic(1.0)], []), ledger)
    with pytest.raises(InvalidInput, match="add up to 1"):
        HeatSplit(part=0.5)
